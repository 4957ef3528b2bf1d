"""A first settings file: what a data set turns out to hold, written down with what each setting means."""

import shlex
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from interplay.atomic import write_text
from interplay.config.loading import commented, load_settings, override
from interplay.data.sources import read_rows
from interplay.data.splits import PARTS, data_settings, split_rows
from interplay.errors import InterplayError
from interplay.text import ascii_safe, printable, short

_EMBEDDED = {"train": "emotions:train", "eval": "emotions:dev", "prompts": "emotions:test"}
_PASSES, _STEPS = 3, (20, 200)  # passes over the training rows, in at least and at most so many steps [ours]


class Started(NamedTuple):
    """The settings file `path` and what was recognised: rows of each part, the form, column of the form -> the one in the
    data, labels if there are any, notes. As `str` what `interplay init` prints."""

    path: Path
    rows: Mapping[str, int]
    form: str
    columns: Mapping[str, str]
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]

    def recognised(self) -> list[str]:
        rows = ", ".join(f"{count} to {part}" for part, count in self.rows.items()).replace("to prompts", "for prompts")
        columns = ", ".join(role if role == name else f"{role}: {name}" for role, name in self.columns.items())
        labels = (
            f"{len(self.labels)} labels: {short(', '.join(self.labels), 200)[1:-1]}" if self.labels else "no labels"
        )
        return [f"Rows: {rows}", f"Form: {self.form} ({columns}), {labels}"]

    def __str__(self) -> str:
        return "\n".join(
            map(printable, [*self.recognised(), *self.notes, f"Next: interplay run {shlex.quote(str(self.path))}"])
        )


def start(data: str | None, model: str, overrides: Iterable[Any], out: Path, force: bool) -> Started:
    """Read the rows of `data` (None: the embedded sentences), and write settings of a run of `model` on them into `out`.

    Errors: InterplayError for a file that is there unless `force`, for rows and for settings that cannot be used.
    """
    if out.exists() and not force:
        raise InterplayError(f"{str(out)!r} is there already: --force overwrites it, --out writes another file")
    raw: dict[str, Any] = {
        "name": Path(data or "emotions").stem,
        "model": {"name": model},
        "data": {key: value for key, value in (data_settings(data) if data else _EMBEDDED).items() if value},
        "prompt": {"template": "{text}"},
        "prompts": {"count": 12, "n": 8},
        "training": {"method": "lora"},
        "checkpoints": {"steps": "0, 10, 20, 40, ..."},
    }
    for assignment in overrides:
        raw = override(raw, assignment)
    if counts := isinstance(raw["training"], Mapping) and "steps" not in raw["training"]:
        raw = override(raw, ("training.steps", _STEPS[1]))
    settings = load_settings(raw)
    given = settings.data
    read = partial(read_rows, form=given.form, columns=given.columns, join=given.join)
    sources = {part: getattr(given, part) for part in PARTS if getattr(given, part) is not None}
    found = {
        part: read(source, part=part) for part, source in ({"file": given.file} if given.file else sources).items()
    }
    first = next(iter(found.values()))
    rows = {part: len(read.rows) for part, read in found.items()}
    if given.file is not None:
        rows = {part: len(kept) for part, kept in zip(PARTS, split_rows(first.rows, settings.seed), strict=True)}
    if counts and settings.training is not None:
        wanted = -(-_PASSES * rows["train"] // settings.training.batch_size)
        raw = override(raw, ("training.steps", min(max(wanted, _STEPS[0]), _STEPS[1])))
    skipped = [skip for read in found.values() for skip in read.skipped]
    left_out = [f"Left out: {len(skipped)} rows; {skipped[0].reason}"] if skipped else []
    notes = dict.fromkeys([*left_out, *(note for read in found.values() for note in read.notes)])
    made = Started(out, rows, first.form, first.columns, first.labels, tuple(notes))
    head = [f"# {ascii_safe(line)}" for line in (f"interplay run {out}", *made.recognised())]
    write_text(out, "\n".join(head) + "\n" + commented(raw), folders=None)
    return made
