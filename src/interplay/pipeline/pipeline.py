"""The main job, in order: data, training, checkpoints, units, trajectory, verdict, report.

The same command goes on where an earlier one was cut off and recomputes nothing that is valid.
"""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.analysis.about import about_run
from interplay.analysis.payload import build_payload
from interplay.analysis.results import write_results
from interplay.analysis.summary import Summary, summarise
from interplay.analysis.task_tables import task_frame
from interplay.config.settings import Settings
from interplay.data.rows import Sample
from interplay.data.template import PromptTemplate
from interplay.models.loading import load_tokenizer
from interplay.pipeline.extraction import Extracted, Extraction, label_rows, prepare_one
from interplay.pipeline.identity import claim_data, claim_parts
from interplay.pipeline.inputs import Inputs, read_inputs
from interplay.pipeline.jobs import Engine, Here
from interplay.pipeline.progress import Progress
from interplay.pipeline.requirements import refuse_missing
from interplay.pipeline.shards import Shard
from interplay.pipeline.sharing import Together
from interplay.pipeline.stages import (
    Context,
    States,
    find_states,
    models_of,
    quiet_libraries,
    refuse_noise_before_training,
    train,
)
from interplay.pipeline.tasks import answered_rows, measure_tasks, read_extra
from interplay.recommendation import Recommendation
from interplay.report import write
from interplay.scoring.scores import Prepared
from interplay.store.claims import Owner
from interplay.store.conditions import Measured, offsets
from interplay.store.folder import RunFolder
from interplay.task.generation import require_rouge
from interplay.task.measured import TaskMeasured


@dataclass(frozen=True)
class RunResult:
    """Where the run lies and what it came to: the terminal's table, the recommendation, notes."""

    folder: Path
    report: Path
    recommendation: Recommendation
    summary: Summary
    notes: tuple[str, ...]
    omitted: int


@dataclass(frozen=True)
class Unfinished:
    """A share that is done while others are not: where the run lies, and how many units and task measurements are missing."""

    folder: Path
    shard: Shard
    missing: int


def run(
    settings: Settings,
    path: Path,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    ray: str | None = None,
) -> RunResult:
    """Make, or finish, the run of `settings` in the folder `path`, beside any other process that does the same.

    Args:
        workers: processes on this machine that score, None: one (`interplay.parallel.workers`); with `ray`, actors.
        ray: address of a Ray cluster whose actors compute the units (`interplay.parallel.cluster`).

    Raises InterplayError for anything the user can mend; what was finished by then stays and is used again.
    """
    with _at_work(settings, path, progress or Progress(), None) as context:
        result = _run(context, workers, ray)
        assert isinstance(result, RunResult)
        return result


def run_shard(settings: Settings, path: Path, shard: Shard, progress: Progress | None = None) -> RunResult | Unfinished:
    """One of n shares of a run, without waiting for the others; the last of them to finish finishes the run."""
    with _at_work(settings, path, progress or Progress(), shard) as context:
        return _run(context)


def help_run(path: Path, progress: Progress | None = None) -> None:
    """Work on a run that another process makes, as long as there is something to do. It writes units, no tables."""
    folder = RunFolder(path)
    with _at_work(folder.settings(), path, progress or Progress(), None) as context:
        inputs, _ = _read(context)
        _measure(context, inputs, Here(context.models))


@contextlib.contextmanager
def _at_work(settings: Settings, path: Path, progress: Progress, shard: Shard | None) -> Generator[Context]:
    refuse_missing(settings, path)
    folder = RunFolder(path)
    models = models_of(settings)

    told = set()

    def waiting(owner: Owner) -> None:
        if owner.id not in told:
            told.add(owner.id)
            who = "a helper to finish its part" if owner.is_child() else f"{owner}, which works on {str(path)!r} too"
            progress.say(f"waiting for {who}")

    with folder.opened(settings, waiting) as claims, quiet_libraries():
        yield Context(settings, folder, progress, models, Together(claims, shard, waiting))


def _run(context: Context, workers: int | None = None, ray: str | None = None) -> RunResult | Unfinished:
    settings, folder, claims = context.settings, context.folder, context.together.claims
    inputs, tokenizer = _read(context)
    if settings.training is not None:
        if ray is not None:
            from interplay.parallel.cluster import refuse_unreachable

            refuse_unreachable(ray)
        _refuse_noise(context, inputs, tokenizer)
        with claims.alone("training", context.together.waiting):
            train(context, inputs, tokenizer)
    with contextlib.ExitStack() as stack:
        engine: Engine = Here(context.models)
        if ray is not None:
            from interplay.parallel.cluster import Cluster

            engine = stack.enter_context(Cluster(ray, settings, context.progress.say, actors=workers))
        elif workers is not None and workers > 1:
            from interplay.parallel.workers import helpers

            stack.enter_context(helpers(folder.path, workers - 1, context.progress.say))
        states, extracted, task, missing = _measure(context, inputs, engine)
    if missing:
        assert context.together.shard is not None
        return Unfinished(folder.path, context.together.shard, missing)
    with claims.alone("results", context.together.waiting):
        return _finish(context, inputs, states, extracted, task)


def _read(context: Context) -> tuple[Inputs, Any]:
    """The data and the prompts, held against what the folder was made from; and the model's tokenizer."""
    settings = context.settings
    with context.progress.phase("finding the models (a GGUF file is converted once)"):
        tokenizer = load_tokenizer(settings.model.name, revision=settings.model.revision)
        for baseline in settings.baseline:  # a misspelt name must not cost a training first
            load_tokenizer(baseline.name, revision=baseline.revision)
    with context.progress.phase("reading data"):

        def ready(sample: Sample, template: PromptTemplate) -> Prepared:
            return prepare_one(sample, tokenizer, settings, template, None)

        inputs = read_inputs(settings, usable=lambda s: ready(s, settings.template()))
        extra = read_extra(settings, inputs.template)  # a file that is missing must not cost a training first
        if answered_rows(settings, inputs) and not (context.folder.path / "task").exists():
            require_rouge()
        prepared = [ready(s, inputs.template) for s in inputs.prompts]
    context.notes += inputs.notes
    context.omitted += inputs.omitted
    with context.together.claims.alone("folder", context.together.waiting):
        claim_data(context.folder.path, inputs, prepared)
        if further := extra.hashes():
            claim_parts(context.folder.path, "task", further, "restore the file")
    return inputs, tokenizer


def _refuse_noise(context: Context, inputs: Inputs, tokenizer) -> None:
    """Before hours go into training: whether the scores would mean anything in the precision asked for."""
    settings = context.settings
    among = label_rows(inputs.prompts, inputs.labels, settings.scoring.among_labels or settings.controls.labels is True)
    among = among if settings.scoring.among_labels else None
    prompts = tuple(prepare_one(s, tokenizer, settings, inputs.template, among) for s in inputs.prompts)
    refuse_noise_before_training(context, prompts)


def _measure(context: Context, inputs: Inputs, engine: Engine) -> tuple[States, Extracted, TaskMeasured, int]:
    """Every unit and every task metric, and how many are other shares' and missing."""
    states = find_states(context)
    known = len(context.notes), len(context.omitted)
    # A share looks a second time: of all shares, the last to come to this point then finds everything and finishes the run.
    for look in range(1 if context.together.shard is None else 2):
        if look:
            context.progress.say("looking once more for what other shares did meanwhile")
        del context.notes[known[0] :], context.omitted[known[1] :]
        extracted = Extraction(context, states, inputs, engine).run()
        task, lacking = measure_tasks(context, states, inputs)
        missing = len(extracted.missing) + len(lacking)
        if not missing:
            break
    return states, extracted, task, missing


def _finish(context: Context, inputs: Inputs, states: States, extracted: Extracted, task: TaskMeasured) -> RunResult:
    """Tables, verdict and page; the manifest last."""
    settings, folder = context.settings, context.folder
    with context.progress.phase("trajectory and report"):
        measured = Measured(
            steps=tuple(c.step for c in states.checkpoints),
            reference=states.reference.step,
            units=extracted.units,
            task=task,
            second_reference=extracted.second_reference,
            baselines=extracted.baselines,
            words={1: offsets(inputs.prompts)}
            | {draw: offsets(variant.samples) for draw, variant in enumerate(inputs.draws, start=2)},
        )
        tokenizer = states.base.tokenizer
        about = about_run(context, inputs, states, measured, extracted.delta, tokenizer, extracted.mask_id)
        track, verdict = write_results(settings, folder.path, measured, about)
        report = folder.path / "report.html"
        write(build_payload(folder), report)
    folder.finish(context.progress.seconds)
    table = summarise(track, task_frame(folder.path, measured.task, settings))
    return RunResult(folder.path, report, verdict, table, tuple(context.notes), len(context.omitted))
