"""What an audit is about: the model, its base, the rows it was trained on, and held-out rows; from a run, or from names."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.auditing.rows import trained_rows
from interplay.config.settings import Settings
from interplay.data.rows import Row
from interplay.data.sources import ReadResult, read_rows
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models.adapters import named_base
from interplay.models.layouts import Checkpoint, classify, find_layout
from interplay.models.placement import choose_device
from interplay.pipeline.inputs import read_inputs
from interplay.pipeline.stages import models_of
from interplay.pipeline.states import Models, ModelState, Source
from interplay.store.folder import RunFolder
from interplay.text import short, spelt_alike

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Subject:
    """A base and the states of one training, ascending by step, with their rows. `train` is empty where there are none."""

    models: Models
    base: ModelState
    states: tuple[tuple[int, ModelState], ...]
    template: PromptTemplate
    train: tuple[Row, ...]
    held: tuple[Row, ...]
    labels: tuple[str, ...]
    name: str  # of the tuned model
    run: Path | None = None  # a run folder it comes from
    against: str | None = None  # what the base is called, None: by its own name
    records: Callable[[], ReadResult] | None = None  # the training rows as the user has them
    rephrased: PromptTemplate | None = None  # another wording, for the floor

    @property
    def tuned(self) -> ModelState:
        return self.states[-1][1]


def subject_of_run(path: Path, step: int | None = None) -> Subject:
    """Of a run folder: the checkpoint of `step`, None: the last one whose weights are there."""
    from interplay.runfolder import Run

    run = Run(path)
    settings: Settings = RunFolder(path).settings()
    saved = run.checkpoints
    if not saved.paths:
        reason = saved.problem or f"none is whole in {str(saved.where)!r} any more: copy one back"
        raise InterplayError(f"{str(path)!r} has no checkpoint to audit: {reason}")
    last = max(saved.paths) if step is None else step
    if last not in saved.paths:
        raise InterplayError(
            f"step {step} of {str(path)!r} is not on disk: there are {', '.join(map(str, saved.paths))}"
        )
    inputs = read_inputs(settings, usable=lambda sample: None)
    models = models_of(settings)
    layout = {c.step: c for c in find_layout(saved.where).checkpoints}
    held = {spelt_alike(row.text): row for row in (*inputs.fillers, *inputs.eval, *(s.row for s in inputs.prompts))}
    known = {spelt_alike(row.text) for row in inputs.train}
    return Subject(
        models,
        ModelState(models.main),
        tuple((s, ModelState(models.main, layout[s])) for s in sorted(saved.paths) if s <= last),
        inputs.template,
        inputs.train,
        tuple(row for text, row in held.items() if text not in known),
        inputs.labels or (),
        f"{path.name}@{last}",
        path,
        records=(lambda: trained_rows(settings)) if inputs.train else None,
        rephrased=inputs.rephrased[0].template if inputs.rephrased else None,
    )


def subject_of(
    model: AnyPath | None,
    checkpoints: AnyPath | None,
    base: AnyPath | None,
    train: AnyPath | None,
    prompts: AnyPath | None,
    template: PromptTemplate,
    *,
    form: str = "auto",
    columns: Mapping[str, str] | None = None,
    step: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> Subject:
    """Of one fine-tuned model, or a folder of checkpoints, with the files of its rows.

    base: None: the one that an adapter names. prompts: held-out rows; None: a tenth of the training rows, which the model has seen.
    """
    if (model is None) == (checkpoints is None):
        raise InterplayError(
            "give one of a run folder, --model (a fine-tuned model) and --checkpoints (a folder of them)"
        )
    rows = read_files(train, prompts, template, form, columns)
    found: list[tuple[int, Checkpoint]] = []
    if checkpoints is not None:
        layout = find_layout(Path(checkpoints), None if step is None else [step])
        found = [(c.step, c) for c in layout.checkpoints if c.path is not None]
    else:
        path = Path(os.fspath(model or ""))
        kind = classify(path) if path.is_dir() else None
        if kind is None:
            raise InterplayError(f"{short(path)} is no folder of a model or an adapter: give one that training saved")
        found = [(1, Checkpoint(1, path, kind))]
    path = found[-1][1].path
    assert path is not None
    named = os.fspath(base) if base is not None else named_base(path)
    if not named:
        raise InterplayError(f"{short(path)} does not name what it was trained from: give --base")
    models = Models(choose_device(device), Source(named, dtype=dtype), os.fspath(checkpoints or path))
    return Subject(
        models,
        ModelState(models.main),
        tuple((s, ModelState(models.main, checkpoint)) for s, checkpoint in found),
        template,
        *rows,
        str(model or path),
        records=None if train is None else lambda: read_rows(os.fspath(train), form, columns=columns, part="train"),
    )


def read_files(
    train: AnyPath | None,
    prompts: AnyPath | None,
    template: PromptTemplate,
    form: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> tuple[tuple[Row, ...], tuple[Row, ...], tuple[str, ...]]:
    """Training rows, held-out rows whose text is none of theirs, and the labels, from files."""
    if train is None and prompts is None:
        raise InterplayError(
            "no rows are given: --train FILE (rows it was trained on) and --prompts FILE (held-out rows)"
        )
    how: dict[str, Any] = {"form": form, "columns": columns, "template": template}
    trained = read_rows(os.fspath(train), part="train", **how) if train is not None else None
    held = read_rows(os.fspath(prompts), part="prompts", **how) if prompts is not None else None
    labels = next((r.labels for r in (trained, held) if r is not None and r.labels), None) or ()
    known = {spelt_alike(row.text) for row in trained.rows} if trained else set()
    texts = [row for row in (held.rows if held else ()) if spelt_alike(row.text) not in known]
    if held is None and trained is not None:
        texts = list(trained.rows[::10])
    return trained.rows if trained else (), tuple(texts), labels
