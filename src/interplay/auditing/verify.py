"""The proof of a fix: train again on the mended rows, by the same recipe and seed, and ask both models the same."""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interplay.analysis.measured import read_task
from interplay.auditing.checks import Tested, Tests, aligned, asking, check, finite, told
from interplay.auditing.counts import words_of
from interplay.auditing.rows import trained_rows
from interplay.config.settings import Settings
from interplay.data.sources import read_rows
from interplay.dynamics.stats import Figure, wilson
from interplay.errors import InterplayError
from interplay.models.layouts import Checkpoint, find_layout
from interplay.models.placement import choose_device
from interplay.pipeline.inputs import Inputs, read_inputs
from interplay.pipeline.progress import Progress
from interplay.pipeline.stages import models_of, plan_training, quiet_libraries, use_bf16
from interplay.pipeline.states import ModelState
from interplay.store.conditions import Record
from interplay.store.files import read_json, sha256_json
from interplay.store.folder import RunFolder
from interplay.task.labels import prepare_eval, score_eval
from interplay.training.methods import load_for_training
from interplay.training.sft import finetune, settle

Accuracy = dict[str, Figure]  # by the rows it is of


@dataclass(frozen=True)
class Verified:
    """The tests and the accuracy before and after a fix; `str` is a table. `checkpoint`: the weights that it gave.

    accuracy: of each, on the eval rows, and on those without a word of the rules; empty where they have no labels.
    """

    before: Tested
    after: Tested
    accuracy: tuple[Accuracy, Accuracy]
    checkpoint: Path

    @property
    def passed(self) -> bool:
        """Whether no rule is back after the fix."""
        return self.after.passed

    def to_dict(self) -> dict[str, Any]:
        accuracy = [{name: finite(figure) for name, figure in one.items()} for one in self.accuracy]
        tests = {"before": self.before.to_dict(), "after": self.after.to_dict()}
        return {"passed": self.passed, **tests, "accuracy": accuracy, "checkpoint": str(self.checkpoint)}

    def __str__(self) -> str:
        rows = [("", "before", "after the fix", "")]
        for old, new in zip(self.before.rows, self.after.rows, strict=True):
            a, b = (f"{r.effect.value:+.1f} nats, turns {r.flips} of {r.tried}" for r in (old, new))
            rows.append((new.name, a, b, "still there" if new.back else "gone" if old.back else "passed"))
        first, second = self.accuracy
        rows += [(f"accuracy on {name}", told(first[name]), told(second[name]), "") for name in first]
        return aligned(rows)


def verify(run: Path, fixes: Path, step: int | None = None, progress: Progress | None = None) -> Verified:
    """Train a run again on `fixes`/mended.jsonl; ask the model before and after `fixes`/tests.jsonl and the run's eval rows.

    The recipe stays: base, method, rate, steps, batch, seed, wording. A training that was cut off goes on, and one that is there
    for the same rows is used; the checkpoints are in `fixes`/retrained-HASH.

    Args:
        run: a run folder of `interplay run`, which trained.
        fixes: a folder of `write_fixes`.
        step: the step to compare; None: the last.

    Raises InterplayError where the run tracked another training, a file or a checkpoint is missing, and for what `run` refuses.
    """
    progress, folder = progress or Progress(quiet=True), RunFolder(run)
    settings, file = folder.settings(), fixes / "tests.jsonl"
    if settings.training is None:
        yourself = f"train on {str(fixes / 'mended.jsonl')!r} yourself, then interplay test MODEL {str(file)!r}"
        raise InterplayError(f"{str(run)!r} tracks another training, whose recipe it does not have: {yourself}")
    tests, inputs = Tests.read(file), read_inputs(settings, usable=lambda sample: None)
    step = settings.training.steps if step is None else step
    [old] = find_layout(folder.checkpoints, [step]).checkpoints
    if old.path is None:
        raise InterplayError("step 0 is the base, which learnt nothing from the rows: name a step after it")
    with quiet_libraries():
        before = _measured(f"{run}@{step}", settings, old, inputs, tests, progress, _recorded(folder, inputs, step))
        where = _train(settings, inputs, fixes, progress)
        [new] = find_layout(where, [step]).checkpoints
        assert new.path is not None
        after = _measured(str(new.path), settings, new, inputs, tests, progress)
    return Verified(before[0], after[0], (before[1], after[1]), new.path)


def _train(settings: Settings, inputs: Inputs, fixes: Path, progress: Progress) -> Path:
    """The folder with the checkpoints of the training on the mended rows."""
    model, wanted, device = settings.model, settings.training, choose_device(settings.model.device)
    assert wanted is not None
    form, columns, join = trained_rows(settings).form, settings.data.columns, settings.data.join
    rows = read_rows(fixes / "mended.jsonl", form, columns=columns, template=inputs.template, join=join).rows
    bf16 = use_bf16(wanted.bf16, device)
    with progress.phase("loading the model to train"):
        own = load_for_training(model.name, wanted.method, device=device, revision=model.revision, bf16=bf16)
    examples, _, plan = plan_training(settings, rows, own.tokenizer, inputs.template, device)
    where = fixes / f"retrained-{sha256_json([examples, plan.model_dump(mode='json'), own.sha256])[:8]}"
    with progress.phase("fine-tuning on the mended rows", plan.steps) as advance:

        def on_step(step: int, total: int, loss: float) -> None:
            advance(step, note=f"loss {loss:.3f}")

        finetune(own, examples, plan, where, device=device, on_step=on_step)
    settle(where)
    return where


def _recorded(folder: RunFolder, inputs: Inputs, step: int) -> np.ndarray | None:
    """The label that a run found likeliest for each of its eval rows at a step; None where it did not, or its data changed since."""
    try:
        if read_json(folder.path / "inputs.json")["fingerprint"] != inputs.fingerprint():
            return None
        rows = {task.step: task.labels for task in read_task(folder.path, Record.read(folder.path)).checkpoints}
    except InterplayError:
        return None
    return None if (found := rows.get(step)) is None else found.predicted


def _measured(
    name: str,
    settings: Settings,
    checkpoint: Checkpoint,
    inputs: Inputs,
    tests: Tests,
    progress: Progress,
    predicted: np.ndarray | None = None,
) -> tuple[Tested, Accuracy]:
    """What a checkpoint does with the tests, and its accuracy; `predicted`: what it is known to answer to the eval rows.

    No model stays loaded: another one is trained next.
    """
    models, accuracy = models_of(settings), {}
    tokenizer = models.base(models.main).tokenizer
    asked, data = asking(tests, tokenizer), prepare_eval(inputs.eval, inputs.labels, tokenizer, inputs.template)
    state = ModelState(models.main, checkpoint)
    with progress.phase(f"asking {name}") as advance, models.at(state) as asked.model:
        asked.progress = advance
        checked = Tested(name, check(asked, tests))
        if data.gold:
            if predicted is None or len(predicted) != len(data.gold):
                predicted = score_eval(asked.model, data, progress=advance).predicted
            right = np.asarray(predicted) == np.asarray(data.gold)
            words = {word for rule in tests.rules for word in rule.words}
            free = right[[not words & words_of(row.text).keys() for row in data.rows]]
            accuracy[f"{len(right)} eval rows"] = wilson(int(right.sum()), len(right))
            if 0 < len(free) < len(right):
                accuracy[f"the {len(free)} without these words"] = wilson(int(free.sum()), len(free))
    asked.model = None
    del models
    gc.collect()
    return checked, accuracy
