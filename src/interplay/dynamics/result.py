"""Trajectory: the interactions over the checkpoints as tidy tables, in memory and as three parquet files.

Columns and measures: docs/design/architecture.md. The same trajectory gives the same bytes.
"""

import json
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interplay.atomic import replacing
from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import DEFINITIONS, MAIN_DEFINITION, SETS, Partition, unpack
from interplay.errors import InterplayError

_TEXT, _WHOLE, _NUMBER = pa.large_string(), pa.int64(), pa.float64()  # the text of pandas: no copies
_KEY = [("definition", _TEXT), ("step", _WHOLE), ("set", _TEXT), ("measure", _TEXT), ("order", _WHOLE)]
_FIGURES = ("value", "lo", "hi", "null", "null_lo", "null_hi")
SUMMARY = pa.schema([*_KEY, *((name, _NUMBER) for name in _FIGURES), ("samples", _WHOLE)])
PER_SAMPLE = pa.schema([*_KEY, ("sample", _TEXT), ("value", _NUMBER), ("null", _NUMBER)])
_SETS = pa.schema([("sample", _TEXT), *_KEY[:2], ("kind", pa.int8()), ("coalition", _WHOLE), ("code", pa.uint8())])
_FILES = ("trajectory_samples.parquet", "trajectory_sets.parquet", "trajectory.parquet")  # the last one says: complete
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Sets and measures of interactions over checkpoints, relative to a reference step.

    steps       optimiser steps, ascending
    reference   the step that preserved, emerged and removed are relative to
    sample_ids  sorted
    summary     one row per definition x step x set x measure x order, means over samples with intervals and nulls
    per_sample  the same keys, one row a sample
    sets        sets[sample][definition]: uint8 `[T, 2, 2^n]`, bit j = member of the j-th of `SETS`; see `membership`
    settings    ratio, draws, seed as given
    """

    steps: tuple[int, ...]
    reference: int
    sample_ids: tuple[str, ...]
    summary: pd.DataFrame
    per_sample: pd.DataFrame
    sets: Mapping[str, Mapping[str, np.ndarray]]
    settings: Mapping[str, float] = field(default_factory=dict)

    def get(self, measure: str, set: str = "all", definition: str = MAIN_DEFINITION, order: int = 0) -> pd.DataFrame:
        """One curve: value, lo, hi, null, null_lo, null_hi, samples, indexed by step.

        Empty where the measure was not computed (gamma without a baseline LLM) or is not defined for that set. Raises
        InterplayError on a name that no trajectory has.
        """
        table = self._rows(self.summary, measure, set, definition, order)
        return table.set_index("step")[[*_FIGURES, "samples"]]

    def samples(
        self, measure: str, set: str = "all", definition: str = MAIN_DEFINITION, order: int = 0
    ) -> pd.DataFrame:
        """The same measure sample by sample: a frame indexed by step, one column a sample."""
        table = self._rows(self.per_sample, measure, set, definition, order)
        return table.pivot(index="step", columns="sample", values="value").rename_axis(index="step", columns="sample")

    def membership(self, sample: str, step: int, definition: str = MAIN_DEFINITION) -> Partition:
        """Boolean masks `[2, 2^n]` by set: `membership(id, 40).emerged[1, 6]` is OR over words 1 and 2, at step 40."""
        _known("sample", sample, self.sample_ids)
        _known("step", step, self.steps)
        _known("definition", definition, DEFINITIONS)
        return unpack(self.sets[sample][definition][self.steps.index(step)])

    def _rows(self, table: pd.DataFrame, measure: str, set: str, definition: str, order: int) -> pd.DataFrame:
        _known("measure", measure, MEASURES)
        _known("set", set, SETS)
        _known("definition", definition, DEFINITIONS)
        chosen = (table["measure"] == measure) & (table["set"] == set)
        return table[chosen & (table["definition"] == definition) & (table["order"] == order)]

    def save(self, folder: str | Path) -> Path:
        """Write the three parquet files into `folder` (made if missing) and return it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "format": _FORMAT,
            "steps": self.steps,
            "reference": self.reference,
            "samples": {name: self.sets[name][DEFINITIONS[0]].shape[-1] for name in self.sample_ids},
            "settings": dict(sorted(self.settings.items())),
        }
        tables = (
            pa.Table.from_pandas(self.per_sample, PER_SAMPLE, preserve_index=False),
            _sets_table(self),
            pa.Table.from_pandas(self.summary, SUMMARY, preserve_index=False),
        )
        for name, table in zip(_FILES, tables, strict=True):
            with replacing(folder / name) as temporary:
                table = table.replace_schema_metadata({"interplay": json.dumps(about)})
                pq.write_table(table, temporary, row_group_size=1 << 17, compression="zstd")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "Trajectory":
        """Read what `save` wrote. Raises InterplayError where a file is missing, torn or of another format."""
        folder = Path(folder)
        per_sample, sets, summary = (
            _read(folder / name, schema) for name, schema in zip(_FILES, (PER_SAMPLE, _SETS, SUMMARY), strict=True)
        )
        abouts = {(table.schema.metadata or {}).get(b"interplay") for table in (per_sample, sets, summary)}
        raw = abouts.pop()
        if abouts or raw is None:
            raise InterplayError(f"{folder}: the trajectory files do not belong together; compute the trajectory again")
        about = json.loads(raw)
        if about["format"] != _FORMAT:
            raise InterplayError(
                f"{folder}: trajectory format {about['format']!r:.40}, expected {_FORMAT}; compute it again"
            )
        steps, samples = tuple(about["steps"]), about["samples"]
        return cls(
            steps=steps,
            reference=about["reference"],
            sample_ids=tuple(sorted(samples)),
            summary=frame(summary),
            per_sample=frame(per_sample),
            sets=_sets_from(sets, steps, samples),
            settings=about["settings"],
        )


def frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame with plain columns, whether the table comes from memory or from disk."""
    made = table.replace_schema_metadata(None).to_pandas(split_blocks=True)
    pa.default_memory_pool().release_unused()
    return made


def _known(what: str, given: object, names: Collection[object]) -> None:
    if given not in names:
        known = textwrap.shorten(", ".join(map(str, names)), 400, placeholder=" ...")
        raise InterplayError(f"{what} {given!r} is not known; choose one of {known}")


def _sets_table(trajectory: Trajectory) -> pa.Table:
    """Only the coalitions that belong to some set."""
    tables = []
    for sample in trajectory.sample_ids:
        for definition in DEFINITIONS:
            code = trajectory.sets[sample][definition]
            at, kind, coalition = np.nonzero(code)
            columns = {
                "sample": [sample] * len(at),
                "definition": [definition] * len(at),
                "step": np.array(trajectory.steps)[at],
                "kind": kind,
                "coalition": coalition,
                "code": code[at, kind, coalition],
            }
            tables.append(pa.table(columns, schema=_SETS))
    return pa.concat_tables(tables).combine_chunks()


def _sets_from(table: pa.Table, steps: tuple[int, ...], sizes: dict[str, int]) -> dict[str, dict[str, np.ndarray]]:
    sets = {
        name: {definition: np.zeros((len(steps), 2, sizes[name]), np.uint8) for definition in DEFINITIONS}
        for name in sorted(sizes)
    }
    rows = frame(table)
    at = np.searchsorted(steps, rows["step"])
    kind, coalition, code = (rows[name].to_numpy() for name in ("kind", "coalition", "code"))
    for name, ours in rows.groupby(["sample", "definition"], sort=False).indices.items():
        sample, definition = cast("tuple[str, str]", name)
        sets[sample][definition][at[ours], kind[ours], coalition[ours]] = code[ours]
    return sets


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    if not path.exists():
        raise InterplayError(f"{path} is missing; a saved trajectory has {', '.join(_FILES)}: compute it again")
    try:
        table = pq.read_table(path, partitioning=None)  # no columns out of folders that are called name=value
    except (OSError, pa.ArrowException) as error:
        raise InterplayError(f"{path} cannot be read as parquet; delete it and compute the trajectory again") from error
    texts = pa.schema([(f.name, _TEXT if f.type == pa.string() else f.type) for f in table.schema])
    if not texts.equals(schema):
        raise InterplayError(f"{path} has other columns than a trajectory; delete it and compute the trajectory again")
    return table.cast(texts.with_metadata(table.schema.metadata))
