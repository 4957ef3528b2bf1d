"""The main job, in order: data, training, checkpoints, units, trajectory, verdict, report.

The same command goes on where an earlier one was cut off and recomputes nothing that is valid.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.report import write
from interplay.runs.about import about_run
from interplay.runs.folder import RunFolder
from interplay.runs.inputs import read_inputs
from interplay.runs.payload import build_payload
from interplay.runs.progress import Progress
from interplay.runs.results import Measured, churn_floor, summary_table, task_frame, write_results
from interplay.runs.settings import Settings
from interplay.runs.stages import (
    Context,
    calibrate_model,
    choose_device,
    extract_units,
    find_states,
    label_rows,
    measure_baseline,
    measure_tasks,
    prepare_one,
    prepare_probes,
    quiet_libraries,
    refuse_noise_before_training,
    train,
)
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
        if settings.baseline is not None:  # a misspelt name must not cost a training first
            load_tokenizer(settings.baseline.name, revision=settings.baseline.revision)
    with context.progress.phase("reading data"):
        inputs = read_inputs(settings, usable=lambda s: prepare_one(s, tokenizer, settings, settings.template(), None))
    context.notes += inputs.notes
    context.omitted += inputs.omitted
    folder.claim_data(inputs.fingerprint(), inputs.describe())

    among = label_rows(inputs.probes, inputs.labels, settings)
    probes = tuple(prepare_one(s, tokenizer, settings, inputs.template, among) for s in inputs.probes)
    if settings.training is not None:
        refuse_noise_before_training(context, probes)
        train(context, inputs, tokenizer)
    states = find_states(context)
    rephrased = None
    if inputs.rephrased is not None and inputs.rephrased_template is not None:
        template = inputs.rephrased_template
        among = label_rows(inputs.rephrased, inputs.labels, settings)
        rephrased = prepare_probes(context, inputs.rephrased, tokenizer, template, among, "rephrased")
    else:
        context.notes.append(
            "prompt.rephrased is null, so there is no churn floor: removed and emerged stand without it."
        )
    delta = calibrate_model(context, states, probes)
    units = extract_units(context, states, delta.tolerance, probes, rephrased)
    task = measure_tasks(context, states, inputs)
    baseline = measure_baseline(context, inputs)
    if baseline is not None:
        units["baseline"] = baseline[0]

    with context.progress.phase("trajectory and report"):
        measured = Measured(tuple(c.step for c in states.checkpoints), states.reference.step, units, task)
        about = about_run(
            context, inputs, states, measured, delta, tokenizer, probes[0].mask_id, baseline and baseline[1]
        )
        track, verdict = write_results(settings, folder.path, measured, about)
        report = folder.path / "report.html"
        write(build_payload(folder), report)
    folder.finish(context.progress.seconds)
    table = summary_table(track, task_frame(folder.path, measured))
    return RunResult(
        folder.path, report, verdict, table, churn_floor(track), tuple(context.notes), len(context.omitted)
    )
