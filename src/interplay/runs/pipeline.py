"""The main job, in order: data, training, checkpoints, units, trajectory, verdict, report.

The same command goes on where an earlier one was cut off and recomputes nothing that is valid.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.report import write
from interplay.runs.about import about_run
from interplay.runs.conditions import Measured, offsets
from interplay.runs.extraction import Extraction, label_rows, prepare_one
from interplay.runs.folder import RunFolder
from interplay.runs.inputs import read_inputs
from interplay.runs.payload import build_payload
from interplay.runs.progress import Progress
from interplay.runs.results import churn_floor, summary_table, write_results
from interplay.runs.settings import Settings
from interplay.runs.stages import (
    Context,
    choose_device,
    find_states,
    quiet_libraries,
    refuse_noise_before_training,
    train,
)
from interplay.runs.task_tables import task_frame
from interplay.runs.tasks import measure_tasks, read_extra
from interplay.scoring.models import load_tokenizer
from interplay.verdict import Recommendation


@dataclass(frozen=True)
class RunResult:
    """Where the run lies and what it came to: one dict per step and the churn floor for the terminal, the verdict, notes."""

    folder: Path
    report: Path
    recommendation: Recommendation
    table: list[dict[str, Any]]
    floor: dict[str, float] | None
    notes: tuple[str, ...]
    omitted: int


def run(settings: Settings, path: Path, progress: Progress | None = None) -> RunResult:
    """Make, or finish, the run of `settings` in the folder `path`.

    Raises InterplayError for anything the user can mend; what was finished by then stays and is used again.
    """
    folder = RunFolder(path)
    context = Context(settings, folder, progress or Progress(), choose_device(settings.model.device))
    with folder.opened(settings), quiet_libraries():
        return _run(context)


def _run(context: Context) -> RunResult:
    settings, folder = context.settings, context.folder
    with context.progress.phase("finding the models (a GGUF file is converted once)"):
        tokenizer = load_tokenizer(settings.model.name, revision=settings.model.revision)
        for baseline in settings.baseline:  # a misspelt name must not cost a training first
            load_tokenizer(baseline.name, revision=baseline.revision)
    with context.progress.phase("reading data"):
        inputs = read_inputs(settings, usable=lambda s: prepare_one(s, tokenizer, settings, settings.template(), None))
        read_extra(settings, inputs.template)  # a file that is missing must not cost a training first
    context.notes += inputs.notes
    context.omitted += inputs.omitted
    folder.claim_data(inputs.fingerprint(), inputs.describe())

    if settings.training is not None:
        among = label_rows(
            inputs.probes, inputs.labels, settings.scoring.among_labels or settings.controls.labels is True
        )
        among = among if settings.scoring.among_labels else None
        probes = tuple(prepare_one(s, tokenizer, settings, inputs.template, among) for s in inputs.probes)
        refuse_noise_before_training(context, probes)
        train(context, inputs, tokenizer)
    states = find_states(context)
    extracted = Extraction(context, states, inputs).run()
    task = measure_tasks(context, states, inputs)

    with context.progress.phase("trajectory and report"):
        measured = Measured(
            steps=tuple(c.step for c in states.checkpoints),
            reference=states.reference.step,
            units=extracted.units,
            task=task,
            second_reference=extracted.second_reference,
            baselines=extracted.baselines,
            words={1: offsets(inputs.probes)}
            | {draw: offsets(variant.samples) for draw, variant in enumerate(inputs.draws, start=2)},
        )
        about = about_run(context, inputs, states, measured, extracted.delta, tokenizer, extracted.mask_id)
        track, verdict = write_results(settings, folder.path, measured, about)
        report = folder.path / "report.html"
        write(build_payload(folder), report)
    folder.finish(context.progress.seconds)
    table = summary_table(track, task_frame(folder.path, measured.task, settings))
    return RunResult(
        folder.path, report, verdict, table, churn_floor(track), tuple(context.notes), len(context.omitted)
    )
