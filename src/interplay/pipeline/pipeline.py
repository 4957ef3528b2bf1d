"""The main job, in order: data, training, checkpoints, units, trajectory, recommendation, report."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from interplay.analysis.measured import control_settings, further, second_mask
from interplay.analysis.payload import build_payload
from interplay.analysis.results import analyse
from interplay.analysis.task_tables import logged_losses
from interplay.config.settings import Settings
from interplay.data.prompts import template_hash, template_notes, uses_chat, wording_notes
from interplay.models.layouts import find_layout
from interplay.models.loading import load_tokenizer
from interplay.models.vocabulary import adopt_template
from interplay.pipeline.extraction import Extraction, answers_of, preparing
from interplay.pipeline.identity import check_data, check_parts
from interplay.pipeline.inputs import Inputs, read_inputs
from interplay.pipeline.jobs import Engine, in_this_process
from interplay.pipeline.measure import refuse_noise, survey
from interplay.pipeline.progress import Progress
from interplay.pipeline.requirements import refuse_missing
from interplay.pipeline.shards import EVERYTHING, Shard
from interplay.pipeline.stages import Context, States, find_states, models_of, note, quiet_libraries, train
from interplay.pipeline.states import Models
from interplay.pipeline.tasks import answered_rows, measure_tasks, read_task_data
from interplay.report import write
from interplay.scoring.absence import absence_notes
from interplay.scoring.precision import NARROW
from interplay.scoring.scores import Prepared
from interplay.store.conditions import Record, offsets
from interplay.store.folder import RunFolder
from interplay.task.generation import require_rouge


@dataclass(frozen=True)
class Unfinished:
    """A shard that is done while others are not; how many units and task measurements are missing."""

    folder: Path
    shard: Shard
    missing: int


# What scores the units of a run, opened when the training is done and closed before the tables are written.
Scoring = Callable[[Context], contextlib.AbstractContextManager[Engine]]
Early = Callable[[Models], None]
Measured = tuple[States, Extraction, dict[str, Any]]
_UNAUDITED = "Not audited: that comes next."  # which the audit takes away


def run(
    settings: Settings,
    path: Path,
    progress: Progress | None = None,
    *,
    shard: Shard = EVERYTHING,
    scoring: Scoring | None = None,
    early: Early | None = None,
) -> Unfinished | None:
    """Make, or finish, the run of `settings` in the folder `path`, as other processes may at the same time; None: it is finished.

    Args:
        shard: one of n parts of the run, done without waiting for the others; the last to finish finishes the run.
        scoring: what scores the units; by default this process.
        early: called with the models when the checkpoints are measured and a page is there, before the controls.

    Raises InterplayError for anything the user can correct; what is finished stays and is used again.
    """
    folder = RunFolder(path)
    with _at_work(settings, folder, progress or Progress(), shard, make=True) as context:
        inputs, prompts, tokenizer = _read(context)
        _refuse_noise(context, prompts)
        if settings.training is not None:
            with context.alone():
                train(context, inputs, tokenizer)
        here = contextlib.nullcontext(in_this_process(context.models))
        with here if scoring is None else scoring(context) as engine:
            measured, missing = _measure(context, inputs, engine, early or (lambda models: None))
        if missing:
            return Unfinished(path, shard, missing)
        with context.alone():
            _remove_unused(path, _write(context, inputs, measured))
            folder.finish(context.progress.seconds)  # the manifest last
    return None


def help_run(path: Path, shard: Shard, progress: Progress | None = None) -> None:
    """Write units of a run that another process makes, as long as there is something to do."""
    folder = RunFolder(path)
    with _at_work(folder.settings(), folder, progress or Progress(), shard, make=False) as context:
        inputs, _, _ = _read(context)
        _measure(context, inputs, in_this_process(context.models))


@contextlib.contextmanager
def _at_work(
    settings: Settings, folder: RunFolder, progress: Progress, shard: Shard, *, make: bool
) -> Generator[Context]:
    refuse_missing(settings, folder.path)
    models = models_of(settings)
    if make:
        folder.make()
    told = set()

    def waiting(owner: str) -> None:
        if owner not in told:
            told.add(owner)
            progress.say(f"waiting for {owner}, which works on {str(folder.path)!r} too")

    with folder.opened(settings, waiting) as lock, quiet_libraries(progress):
        yield Context(settings, folder, progress, models, lock, shard, waiting)


def _read(context: Context) -> tuple[Inputs, list[Prepared], Any]:
    """The data, compared with what the folder was made from; the prompts as the model reads them; and its tokenizer."""
    settings = context.settings

    @cache
    def tokenizer() -> Any:
        """First asked for when all files are read: a broken one must not cost a model first."""
        with context.progress.phase("finding the models (a GGUF file is converted once)"):
            name, trained = settings.model.name, context.models.trained
            found = load_tokenizer(name, revision=settings.model.revision, trained=trained)
            for baseline in settings.baseline:  # a misspelt name must not cost a training first
                load_tokenizer(baseline.name, revision=baseline.revision)
        if settings.checkpoints.folder and settings.prompt.chat is not False:
            layout = find_layout(Path(settings.checkpoints.folder), settings.schedule())
            if said := adopt_template(found, (c.path for c in layout.checkpoints if c.path is not None)):
                note(context, said)
            context.chat_template = found.chat_template
        return found

    with context.progress.phase("reading data"):
        extra = read_task_data(settings, settings.template())
        ready = cache(lambda: preparing(settings, tokenizer(), settings.template()))
        inputs = read_inputs(settings, usable=lambda sample: ready()(sample))
        if answered_rows(settings, inputs) and not (context.folder.path / "task").exists():
            require_rouge()
        among = settings.scoring.among_labels
        answers = answers_of(inputs, inputs.prompts, tokenizer(), inputs.template, among)
        how = settings, tokenizer(), inputs.template, answers
        prepared = [*map(preparing(*how, inputs.fillers), inputs.prompts)]
        if (other := second_mask(settings)) is not None:
            preparing(*how, mask=other)  # a token that is not in the vocabulary must not cost a training first
    for line in dict.fromkeys([*inputs.notes, *extra.notes]):
        note(context, line)
    context.omitted += inputs.omitted
    first = inputs.prompts[0].row, tokenizer(), inputs.template
    absent = absence_notes([p.absence for p in prepared])
    said = template_notes(*first) + [f"{line[:1].upper()}{line[1:]}." for line in absent]
    for line in said + ([] if settings.training else wording_notes(*first)):
        note(context, line)
    with context.alone():
        anew = context.folder.is_bare()
        check_data(context.folder.path, inputs, prepared, anew=anew)
        context.folder.stand_on("inputs.json")
        if further := extra.hashes():
            check_parts(context.folder.path, "task", further, "restore the file", anew=anew)
    return inputs, prepared, tokenizer()


def _refuse_noise(context: Context, prompts: Sequence[Prepared]) -> None:
    """Before hours go into training and scoring: refuse 16-bit scores that mean nothing."""
    settings, models = context.settings, context.models
    if settings.model.dtype in NARROW and not (context.folder.path / "units").exists():
        with context.progress.phase("measuring the noise of 16-bit scores", len(prompts)) as advance:
            # No model stays loaded while one is trained.
            own = models if settings.training is None else models_of(settings)
            found = survey(own.base(own.main).model, prompts, settings, advance)
        refuse_noise(found, settings, lambda line: None)  # what is only noted is noted with the calibration


def _measure(context: Context, inputs: Inputs, engine: Engine, early: Early | None = None) -> tuple[Measured, int]:
    """Every unit and every task metric, and how many are other shards' and missing. early: None: no page is made on the way."""
    states = find_states(context)
    pending = tuple(part for part, wanted in further(context.settings).items() if wanted)
    known = len(context.notes), len(context.omitted)
    # A shard looks a second time, so that the last of them finds everything and finishes the run.
    for look in range(1 if context.shard.helps else 2):
        if look:
            context.progress.say("looking once more for what other shards did meanwhile")
        del context.notes[known[0] :], context.omitted[known[1] :]
        extracted = Extraction(context, states, inputs, engine)
        extracted.checkpoints()
        task, lacking = measure_tasks(context, states, inputs)
        if early is not None and not extracted.missing + lacking and pending:
            with context.alone():
                if not (context.folder.path / "report.html").exists():
                    _write(context, inputs, (states, extracted, task), pending)
            early(context.models)
        extracted.controls()
        missing = extracted.missing + lacking
        if not missing:
            break
    return (states, extracted, task), missing


def _write(context: Context, inputs: Inputs, measured: Measured, pending: tuple[str, ...] = ()) -> Record:
    """Write the record, then tables, recommendation and page from the folder. pending: what they are made without."""
    states, extracted, task = measured
    mode = context.settings.audit.mode
    audited = mode is True or (mode == "auto" and len(inputs.labels or ()) > 1)
    folder, settings = context.folder, context.settings.without_controls() if pending else context.settings
    tokenizer, draws = states.base.tokenizer, [variant.samples for variant in inputs.draws]
    served = {name: tuple(i for i, u in enumerate(units) if u is not None) for name, units in extracted.units.items()}
    with context.progress.phase("trajectory and report", 1 + len(inputs.prompts)) as advance:
        record = Record(
            base_sha256=states.base.sha256,
            weights=states.hashes,
            conditions=served,
            words={draw: offsets(samples) for draw, samples in enumerate([inputs.prompts, *draws], start=1)},
            mask=extracted.absent,
            chat=uses_chat(tokenizer, inputs.template),
            template_hash=template_hash(tokenizer, inputs.template),
            among=extracted.among,
            controls=control_settings(settings),
            baselines=extracted.baselines,
            losses=logged_losses(folder.path, tuple(states.hashes), settings.checkpoints.folder),
            pending=pending,
            notes=(*context.notes, *([_UNAUDITED] if pending and audited else [])),
            omitted=tuple(context.omitted),
            **task,
        )
        record.write(folder.path)
        if not pending:
            extracted.units.clear()  # the analysis reads them from the folder
        analyse(folder.path, settings)
        advance()
        write(build_payload(folder), folder.path / "report.html", folders=0, advance=advance)
    return record


def _remove_unused(folder: Path, record: Record) -> None:
    """Remove the units that earlier settings of the analysis asked for and these do not."""
    for place in (folder / "units").iterdir():
        served = {f"prompt-{index:04d}.safetensors" for index in record.conditions.get(place.name, ())}
        for file in place.glob("prompt-*.safetensors"):
            if file.name not in served:
                file.unlink(missing_ok=True)
        if not served:
            with contextlib.suppress(OSError):  # files that are not ours stay
                place.rmdir()
