"""What the JSON files and the tables of a run must hold for those who read them, and the refusal of what does not.

A run folder is handed on, and disks flip bits, so a file may hold anything. Only what readers rely on is checked; more keys
and columns are fine, and so are older runs, which have fewer.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NotRequired

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from interplay.data.words import short


class _Word(TypedDict):
    text: str


class _Probe(TypedDict):
    id: str
    text: str
    words: list[_Word]


class _Inputs(TypedDict):
    probes: NotRequired[list[_Probe]]  # written last
    labels: NotRequired[list[str] | None]
    rows: NotRequired[dict[str, Any]]


class _Recommendation(TypedDict):
    step: int | None
    sentence: str
    basis: NotRequired[str | None]
    rule: str
    provisional: bool
    evidence: list[dict[str, Any]]
    rivals: dict[str, int | None]


class _View(TypedDict):
    name: str
    title: str


class _Controls(TypedDict):
    views: NotRequired[list[_View]]


class _Report(TypedDict):
    title: str
    subtitle: str
    version: str
    method: list[Any]
    notes: list[str]
    skipped: list[Any]


class _Weights(TypedDict):
    base: str
    checkpoints: dict[str, str]


_JSON: Mapping[str, Any] = {
    "inputs.json": _Inputs,
    "recommendation.json": _Recommendation,
    "controls.json": _Controls,
    "report.json": _Report,
    "weights.json": _Weights,
}

# Columns by kind: i whole numbers, f numbers, s text, F lists of numbers, S lists of text.
_KEY = {"reading": "s", "set": "s", "measure": "s"}
_CURVE = {
    **_KEY,
    "step": "i",
    "order": "i",
    "value": "f",
    "lo": "f",
    "hi": "f",
    "null": "f",
    "null_lo": "f",
    "null_hi": "f",
}
_TABLES: Mapping[str, Mapping[str, str]] = {
    "task.parquet": {"step": "i"},
    "units.parquet": {
        "condition": "s", "sample_id": "s", "step": "i", "words": "S", "target": "s",
        "tau": "f", "scores": "F", "and_effects": "F", "or_effects": "F",
    },
    "views.parquet": {"view": "s", **_CURVE},
    "views_samples.parquet": {"view": "s", **_KEY, "step": "i", "order": "i", "sample": "s", "value": "f", "null": "f"},
    "baselines.parquet": {"baseline": "s", **_CURVE},
    "floors.parquet": {"reference": "i", "floor": "s", **_KEY, "value": "f", "lo": "f", "hi": "f"},
    "multiples.parquet": {"reference": "i", "floor": "s", **_KEY, "step": "i", "ratio": "f", "lo": "f", "hi": "f"},
    "correlations.parquet": {"interaction": "s", "task": "s", "rho": "f", "lo": "f", "hi": "f"},
}  # fmt: skip


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_JSON[name])


def json_problem(name: str, value: Any) -> str | None:
    """What is wrong with the JSON of a run's file, or None; files that are not known here hold what they like.

    >>> json_problem("weights.json", {"base": "0", "checkpoints": {"4": 1}})
    "at 'checkpoints.4': Input should be a valid string"
    """
    if name not in _JSON:
        return None
    try:
        _adapter(name).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = short(".".join(map(str, first["loc"])) or "the top")
        return f"at {where}: {short(first['msg'], 120)[1:-1]}"
    if name == "weights.json" and not all(
        key.isascii() and key.isdigit() and len(key) < 13 for key in value["checkpoints"]
    ):
        return "at 'checkpoints': a key that is no step"
    return None


def table_problem(name: str, table: pa.Table) -> str | None:
    """What is wrong with the columns of a run's table, or None. A table without rows has columns of no type.

    >>> table_problem("task.parquet", pa.table({"step": ["1"]}))
    "its column 'step' holds string"
    """
    schema = table.schema
    if len(set(schema.names)) < len(schema.names):
        return "two of its columns have the same name"
    if not table.num_rows:
        return None
    for column, kind in _TABLES.get(name, {}).items():
        if column not in schema.names:
            return f"it has no column {column!r}"
        given = schema.field(column).type
        if not _is(kind, given):
            return f"its column {column!r} holds {short(given, 80)[1:-1]}"
    return None


def _is(kind: str, given: pa.DataType) -> bool:
    types = pa.types
    if kind in "FS":
        return (types.is_list(given) or types.is_large_list(given)) and _is(kind.lower(), given.value_type)
    if kind == "s":
        return types.is_string(given) or types.is_large_string(given)
    if kind == "i":
        return types.is_integer(given)
    return types.is_floating(given) or types.is_integer(given) or types.is_null(given)
