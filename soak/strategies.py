"""Inputs for hypothesis: mutations of a target's seeds, and text that is built like YAML, JSON or CSV and is hostile.

Shared by the tests and by the soak without atheris. Strategies only; nothing is run here.
"""

import json
from typing import Any

from hypothesis import strategies as st

from soak.damage import ODD
from soak.targets import Target

_CHUNK = st.binary(min_size=1, max_size=12)
_BY_DAMAGE = 20  # a target with more seeds than this reads its bytes as choices, where any bytes are as good

SCALARS = st.one_of(
    st.sampled_from(ODD),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=12),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
# What YAML makes more of than text: tags, anchors, merge keys, numbers of many kinds, dates, and what breaks off.
YAML_SCALARS = st.sampled_from(
    (
        "!!python/object/apply:os.system ['touch pwned']", "!!python/name:os.system", "!!python/module:os", "!!int ''",
        "!!float ''", "!!bool maybe", "!!timestamp x", "!!binary '*'", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]",
        "!!str 5", "!<tag:yaml.org,2002:int> x", ".inf", "-.inf", ".nan",
        "0o17", "0b1", "1_000", "1e400", "2020-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "&a x", "*a",
        "&a [*a]", "{<<: *a}", "'", "|", ">", "? x", "- - - x", "~", "yes", "{text}", "%YAML 9.9", "---",
        "...", "\t", "\u2028", "{a: 1, a: 2}", "[", "}", "#", "\ufeff",
    )
)  # fmt: skip


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Bytes for a target: a seed with pieces cut out, put in and overwritten, or, where bytes are choices, any bytes."""
    seeds = st.sampled_from(target.seeds)
    if len(target.seeds) > _BY_DAMAGE and target.group != "data":
        return st.binary(min_size=1, max_size=24) | seeds
    edits = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 24), _CHUNK | st.just(b"")), max_size=5)
    return st.builds(_edited, seeds, edits)


def _edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    data = seed
    for at, cut, put in edits:
        at %= len(data) + 1
        data = data[:at] + put + data[at + cut :]
    return data


def as_yaml(value: Any) -> str:
    """A value as YAML that is JSON, surrogates and infinities and all."""
    return json.dumps(value, default=str)


@st.composite
def yaml_texts(draw: st.DrawFn, keys: tuple[str, ...]) -> str:
    """Settings text: known and unknown keys, some twice, with values of any kind, YAML's own tricks among them."""
    lines = []
    for _ in range(draw(st.integers(0, 6))):
        key = draw(st.sampled_from(keys) | SCALARS.map(as_yaml))
        value = draw(YAML_SCALARS | VALUES.map(as_yaml))
        lines.append(f"{key}: {value}")
        if draw(st.booleans()):
            inner = draw(st.sampled_from(("name", "n", "steps", "template", "form", "columns", "dtype", "count")))
            lines[-1] = f"{key}:\n  {inner}: {value}"
    return "\n".join(lines)


@st.composite
def records(draw: st.DrawFn, columns: tuple[str, ...]) -> list[Any]:
    """Rows of a data set with values of the wrong type, columns missing or strange, and things that are no rows."""
    row = st.dictionaries(st.sampled_from(columns) | st.text(max_size=6), VALUES, max_size=5)
    return draw(st.lists(row | VALUES, min_size=1, max_size=5))
