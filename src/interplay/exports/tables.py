"""Tables of an export: which there are, what their columns mean, and CSV that a spreadsheet does not execute."""

import io
import itertools
import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interplay.atomic import replacing, write_bytes
from interplay.dynamics.sets import DEFINITIONS, SETS
from interplay.exports.card import fill, inert
from interplay.store.reader import RunReader
from interplay.task.metrics import METRICS

ARRAYS = ("scores", "and_effects", "or_effects")
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")  # a cell that begins so is a formula to a spreadsheet
# Full-width signs are formulas in East Asia; with the apostrophe guarded too, removing one always gives the text back.
_GUARDED = (*DANGEROUS, "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")

_SAID = tomllib.loads(
    resources.files("interplay.exports").joinpath("templates", "meanings.toml").read_text(encoding="utf-8")
)
PER_SAMPLE, FIGURES, ABOUT = (_SAID[part] for part in ("per_sample", "figures", "tables"))
COLUMNS: dict[str, str] = {
    **_SAID["columns"],
    "code": f"sets as bits: {', '.join(SETS)}",
    **{key: metric.meaning for key, metric in METRICS.items()},
    **{name: f"whether the interaction is in the set {name!r} at this step" for name in SETS},
}


class Exported(NamedTuple):
    """One table of an export; `source` is its parquet file in the run, None if the table is made here."""

    name: str
    frame: pd.DataFrame
    source: Path | None = None

    def kinds(self, asked: Sequence[str]) -> list[str]:
        """In which of these kinds it is written: the codes of the sets are too many for CSV."""
        return [kind for kind in asked if kind == "parquet" or self.name != "trajectory_sets"]

    def columns(self) -> list[tuple[str, str]]:
        """Every column with its meaning, as plain words."""
        rows = []
        for column in map(_plain, map(str, self.frame.columns)):
            only = " (parquet only)" if self.name == "units" and column in ARRAYS else ""
            per_sample = PER_SAMPLE.get(column) if self.name.endswith("_samples") else None
            rows.append((column, (per_sample or meaning(column)) + only))
        return rows


def all_tables(run: RunReader) -> list[Exported]:
    """Every table of a run, the long tidy ones made from it included."""
    made = {
        "trajectory": run.trajectory.summary,
        "trajectory_samples": run.trajectory.per_sample,
        "interactions": interactions(run),
        "prompts": prompts(run.inputs["prompts"]),
        "recommendation": recommendation(run.recorded),
    }
    frames = {name: made[name] if name in made else run.table(name) for name in ABOUT}
    sources = {name: f"{name}.parquet" for name in frames}
    return [Exported(n, f, run.path / sources[n] if run.has(sources[n]) else None) for n, f in frames.items()]


def interactions(run: RunReader) -> pd.DataFrame:
    """One row per definition x step x prompt x interaction that is in any set there, with its words and its effect."""
    track = run.trajectory
    keys = itertools.product(track.sample_ids, DEFINITIONS, track.steps)
    every = pd.concat([run.listed(sample, step, name) for sample, name, step in keys], ignore_index=True)
    others = [other and json.dumps(other, ensure_ascii=False) for other in every.pop("exchangeable_with")]
    words = [json.dumps(words, ensure_ascii=False) for words in every["words"]]
    return every.drop(columns="instead").assign(words=words, exchangeable_with=others)


def prompts(given: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a prompt: its text, target, label and chosen words."""
    words = [json.dumps([word["text"] for word in prompt["words"]], ensure_ascii=False) for prompt in given]
    table = pd.DataFrame(list(given)).rename(columns={"id": "sample"})
    return table.reindex(columns=["sample", "text", "target", "label"]).assign(words=words)


def recommendation(recorded: Mapping[str, Any]) -> pd.DataFrame:
    """The answer, its evidence and what other rules recommend, as rows."""
    rows = [{"part": "answer", "name": recorded.get("basis"), "step": recorded["step"]}]
    rows += [{"part": "evidence", **evidence} for evidence in recorded["evidence"]]
    rows += [{"part": "rival", "name": name, "step": step} for name, step in recorded["rivals"].items()]
    frame = pd.DataFrame(rows).reindex(columns=["part", "name", "step", "value", "lo", "hi"])
    return frame.astype({"step": "Int64", "value": float, "lo": float, "hi": float})


def write_table(table: Exported, folder: Path, kind: str) -> None:
    """Write one table as `csv` or `parquet`, whole or not at all."""
    path = folder / f"{table.name}.{kind}"
    if kind == "csv":
        lists = ARRAYS if table.name == "units" else ()
        write_bytes(path, csv_bytes(table.frame.drop(columns=list(lists))), folders=None)
    elif table.source is not None:
        write_bytes(path, table.source.read_bytes(), folders=None)
    else:
        with replacing(path, folders=None) as temporary:
            frame = pa.Table.from_pandas(table.frame, preserve_index=False).replace_schema_metadata(None)
            pq.write_table(frame, temporary, compression="zstd")


def csv_bytes(frame: pd.DataFrame) -> bytes:
    r"""A frame as UTF-8 CSV. Text that a spreadsheet would run gets an apostrophe in front; numbers stay numbers.

    >>> csv_bytes(pd.DataFrame({"word": ["=1+1", "ok", "a\r=1", None], "x": [-1.5, 2.0, 0.0, float("nan")]}))
    b'word,x\n\'=1+1,-1.5\nok,2.0\n"a\r=1",0.0\n,\n'
    """
    safe = frame.copy()
    for column in frame.columns:
        kind = frame[column].dtype
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)):
            # As objects, since pandas' own strings refuse half of a surrogate pair, which is written as ? below.
            safe[column] = pd.Series([_cell(value) for value in frame[column]], index=frame.index, dtype=object)
    safe.columns = [harmless(str(column)) for column in frame.columns]
    buffer = io.StringIO(newline="")
    # Python quotes a carriage return only if lines end in one: lines end in both here, and in line feeds afterwards.
    safe.to_csv(buffer, index=False, lineterminator="\r\n")
    text = re.sub(r'("[^"]*")|\r\n', lambda found: found[1] or "\n", buffer.getvalue())
    return text.encode("utf-8", errors="replace")


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        value = json.dumps([v.item() if isinstance(v, np.generic) else v for v in value], ensure_ascii=False)
    return harmless(value) if isinstance(value, str) else value


def harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula; `text.removeprefix("'")` gives it back.

    Spaces and characters without width before the sign are ignored, since some programs strip them.

    >>> harmless("=HYPERLINK(1)"), harmless(" =1"), harmless("'tis"), harmless("joy")
    ("'=HYPERLINK(1)", "' =1", "''tis", 'joy')
    """
    seen = next((i for i, c in enumerate(text) if not c.isspace() and unicodedata.category(c)[0] != "C"), len(text))
    return f"'{text}" if text.startswith(_GUARDED) or text[seen:].startswith(_GUARDED[:-1]) else text


def readme(
    run: RunReader, tables: Sequence[Exported], figures: Sequence[str], formats: Sequence[str], kinds: Sequence[str]
) -> str:
    """What every file is and what every column of every table means, as Markdown."""
    title = " ".join("".join(c if c.isalnum() or c in " .,:()+/-" else " " for c in run.settings.name).split())[:120]
    about = {"about_figures": FIGURES, "about_tables": ABOUT, "score": inert(run.score)}
    return fill("readme.md.j2", title=title, tables=tables, figures=figures, formats=formats, kinds=kinds, **about)


def _plain(column: str) -> str:
    """A column's name in our Markdown; a run from elsewhere may have columns of any name.

    >>> _plain("accuracy_lo"), _plain("a`|<b>[c](x)"), _plain("`|`")
    ('accuracy_lo', 'a b c x', '(no name)')
    """
    return " ".join(re.sub(r"[^\w -]", " ", column).split())[:80] or "(no name)"


def meaning(column: str) -> str:
    """
    >>> meaning("accuracy_lo")
    'lower end of the 95 % interval of accuracy'
    """
    stem, _, end = column.rpartition("_")
    if column not in COLUMNS and end in ("lo", "hi"):
        return f"{'lower' if end == 'lo' else 'upper'} end of the 95 % interval of {stem}"
    return COLUMNS.get(column, column.replace("_", " "))
