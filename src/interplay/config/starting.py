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
        rows = ", ".join(f"{count} {part}" for part, count in self.rows.items())
        columns = ", ".join(role if role == name else f"{role}: {name}" for role, name in self.columns.items())
        labels = f"{len(self.labels)} labels: {', '.join(self.labels)}" if self.labels else "no labels"
        return [f"Rows: {rows}", f"Form: {self.form} ({columns}), {short(labels, 200)[1:-1]}", *self.notes]

    def __str__(self) -> str:
        following = f"Next: interplay run {shlex.quote(str(self.path))}"
        return "\n".join(map(printable, [*self.recognised(), following]))


def start(data: str, model: str, overrides: Iterable[Any], out: Path, force: bool) -> Started:
    """Read the rows of `data`, and write settings of a run of `model` on them into `out`.

    Errors: InterplayError for a file that is there unless `force`, for rows and for settings that cannot be used.
    """
    if out.exists() and not force:
        raise InterplayError(f"{str(out)!r} is there already: --force overwrites it, --out writes another file")
    sources = _EMBEDDED if data == "emotions" else data_settings(data)
    raw: dict[str, Any] = {
        "name": Path(data).stem,
        "model": {"name": model},
        "data": {key: value for key, value in sources.items() if value},
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
    if given.file is not None:
        found = [read(given.file)]
        rows = dict(zip(PARTS, map(len, split_rows(found[0].rows, settings.seed)), strict=True))
    else:
        parts = {part: source for part in PARTS if (source := getattr(given, part)) is not None}
        found = [read(source, part=part) for part, source in parts.items()]
        rows = {part: len(one.rows) for part, one in zip(parts, found, strict=True)}
    if counts and settings.training is not None:
        wanted = -(-_PASSES * rows["train"] // settings.training.batch_size)
        raw = override(raw, ("training.steps", min(max(wanted, _STEPS[0]), _STEPS[1])))
    skipped = [skip.reason for one in found for skip in one.skipped]
    notes = [f"Left out: {len(skipped)}; {skipped[0]}"] if skipped else []
    notes = (*notes, *dict.fromkeys(note for one in found for note in one.notes))
    made = Started(out, rows, found[0].form, found[0].columns, found[0].labels, notes)
    head = "".join(f"# {ascii_safe(line)}\n" for line in (f"interplay run {out}", *made.recognised()))
    write_text(out, head + commented(raw), folders=None)
    return made
