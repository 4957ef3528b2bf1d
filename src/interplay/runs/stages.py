"""The stages of a run, one function each; `pipeline.py` says in which order they come.

Each leaves its result in the run folder and finds it there the next time.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interplay.data.rows import Row, Sample
from interplay.data.template import PromptTemplate
from interplay.data.words import short
from interplay.errors import InterplayError, SkipSample
from interplay.runs.folder import RunFolder
from interplay.runs.inputs import Inputs, Omitted
from interplay.runs.measure import Calibration, Condition, calibrate, measure, measure_task, refuse_noise, survey
from interplay.runs.progress import Progress
from interplay.runs.results import rephrased_name, step_name
from interplay.runs.settings import Settings
from interplay.runs.units import Unit
from interplay.scoring.checkpoints import (
    Checkpoint,
    base_name_note,
    checkpoint_hash,
    comparable_hashes,
    find_checkpoints,
    find_twins,
    model_at,
)
from interplay.scoring.models import LoadedModel, load_model
from interplay.scoring.noise import NARROW
from interplay.scoring.score import Prepared, prepare
from interplay.training.sft import SftPlan, finetune, settle, tokenise
from interplay.training.task_metrics import prepare_eval

OpenModel = Callable[[], AbstractContextManager[Any]]


@dataclass
class Context:
    """What every stage needs, and the two lists they add to for the report."""

    settings: Settings
    folder: RunFolder
    progress: Progress
    device: str
    omitted: list[Omitted] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class States:
    """The checkpoints of a run on their base model, and the SHA-256 of each one's weights."""

    base: LoadedModel
    checkpoints: tuple[Checkpoint, ...]
    hashes: dict[int, str]
    reference: Checkpoint

    def opener(self, checkpoint: Checkpoint, dtype: str) -> OpenModel:
        """A function that gives the model at a checkpoint, to be entered only when it is needed."""
        return lambda: model_at(checkpoint, self.base, dtype=dtype)


def choose_device(wanted: str) -> str:
    """The device to run on; InterplayError when the one asked for is not there."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InterplayError(f"model.device {wanted!r} cannot be used here ({reason}): set it to auto") from error
    return wanted


def prepare_one(
    sample: Sample, tokenizer, settings: Settings, template: PromptTemplate, among: Sequence[Row] | None
) -> Prepared:
    """A probe tokenised under the run's scoring settings; SkipSample where it cannot be, or a word cannot be masked."""
    scoring = settings.scoring
    ready = prepare(sample, tokenizer, template, mask=scoring.mask, target_tokens=scoring.target_tokens, among=among)
    for word, span in zip(sample.words, ready.spans, strict=True):
        if any(ready.input_ids[position] == ready.mask_id for position in span):
            raise SkipSample(f"word {short(word.text)} holds the mask token (id {ready.mask_id}) already")
    return ready


def prepare_probes(
    context: Context, samples: Sequence[Sample], tokenizer, template: PromptTemplate, among, stage: str
) -> tuple[Prepared | None, ...]:
    """Probes for one wording and tokenizer; None, with the reason noted, where one cannot be served."""
    prepared: list[Prepared | None] = []
    for sample in samples:
        try:
            prepared.append(prepare_one(sample, tokenizer, context.settings, template, among))
        except SkipSample as reason:
            context.omitted.append(Omitted(stage, sample.id, str(reason)))
            prepared.append(None)
    return tuple(prepared)


def label_rows(samples: Sequence[Sample], labels: Sequence[str] | None, settings: Settings) -> list[Row] | None:
    """One row per label in the wording of `samples`, when scores are among labels only.

    A label is what it is behind this prompt, cut to scoring.target_tokens tokens: "sad" and " sad" are different tokens.
    """
    if not settings.scoring.among_labels:
        return None
    if not labels:
        raise InterplayError("scoring.among_labels needs text-label data, these rows have no labels: set it to false")
    return [replace(samples[0].row, target=label, label=label) for label in labels]


def train(context: Context, inputs: Inputs, tokenizer) -> None:
    """Fine-tune, unless the run folder holds the whole training already."""
    settings, folder = context.settings, context.folder.checkpoints
    wanted, schedule = settings.training, settings.schedule()
    assert wanted is not None
    assert schedule is not None
    examples, skipped = tokenise(inputs.train, tokenizer, inputs.template, wanted.max_length)
    context.omitted += [Omitted("train", *pair) for pair in skipped]
    if not (folder / "training_log.json").exists():
        fields: dict[str, Any] = wanted.model_dump() | {
            "bf16": use_bf16(wanted.bf16, context.device),
            "seed": settings.seed,
        }
        plan = SftPlan(**fields, save_at=tuple(step for step in schedule if step))
        model = settings.model
        own = load_model(model.name, dtype="float32", device=context.device, revision=model.revision)
        with context.progress.phase("fine-tuning", plan.steps) as advance:
            finetune(
                own,
                examples,
                plan,
                folder,
                device=context.device,
                on_step=lambda step, total, loss: advance(step, note=f"loss {loss:.3f}"),
            )
    settle(folder)


def use_bf16(wanted: bool | str, device: str) -> bool:
    """Whether to train under bfloat16 autocast; auto: where the hardware multiplies bfloat16 faster than float32."""
    if wanted != "auto":
        return bool(wanted)
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


def find_states(context: Context) -> States:
    """Find the checkpoints, load the base, hash every one of them; refuse what does not fit before anything is computed."""
    settings = context.settings
    model = settings.model
    outside = settings.checkpoints.folder
    checkpoints = find_checkpoints(Path(outside) if outside else context.folder.checkpoints, settings.schedule())
    step = settings.dynamics.reference
    chosen = [c for c in checkpoints if c.step == (checkpoints[0].step if step is None else step)]
    if not chosen:
        raise InterplayError(
            f"dynamics.reference is {step}, no measured step: choose one of {[c.step for c in checkpoints]}"
        )
    with context.progress.phase("loading the model"):
        base = load_model(model.name, dtype=model.dtype, device=context.device, revision=model.revision)
        hashes = {c.step: checkpoint_hash(c, base) for c in checkpoints}
        for c in checkpoints:
            if outside and c.kind == "adapter":  # a stranger's adapter is tried on now, not after an hour of scoring
                with model_at(c, base):
                    pass
    context.folder.claim_weights(base.sha256, hashes)
    for earlier, later in find_twins(comparable_hashes(checkpoints, hashes, base)):
        _note(
            context,
            f"Steps {earlier} and {later} have identical weights, so one of them is not what its name says: "
            "read every change between them as none.",
        )
    context.notes += list(dict.fromkeys(note for c in checkpoints if (note := base_name_note(c, base))))
    return States(base, tuple(checkpoints), hashes, chosen[0])


def calibrate_model(context: Context, states: States, probes: Sequence[Prepared | None]) -> Calibration:
    """Tolerance and noise, at the first checkpoint."""
    settings, first = context.settings, states.checkpoints[0]
    file = context.folder.path / "calibration.json"
    with context.progress.phase("calibrating"):
        opener = states.opener(first, settings.model.dtype)
        found = calibrate(file, opener, probes, settings, states.hashes[first.step])
    refuse_noise(found, settings, lambda line: _note(context, line))
    return found


def refuse_noise_before_training(context: Context, probes: Sequence[Prepared]) -> None:
    """A 16-bit evaluation that means nothing is refused before hours go into training, and leaves nothing behind."""
    model = context.settings.model
    if context.settings.training is None or model.dtype not in NARROW:
        return
    with context.progress.phase("measuring the noise of 16-bit scores"):
        base = load_model(model.name, dtype=model.dtype, device=context.device, revision=model.revision)
        found = survey(base.model, probes, context.settings)
    refuse_noise(found, context.settings, lambda line: None)  # what is only noted is noted with the calibration


def _note(context: Context, line: str) -> None:
    context.notes.append(line)
    context.progress.say(f"warning: {line}")


def extract_units(
    context: Context,
    states: States,
    tolerance: float,
    probes: tuple[Prepared | None, ...],
    rephrased: tuple[Prepared | None, ...] | None,
) -> dict[str, list[Unit | None]]:
    """Units of all checkpoints, and of the reference in its other wording."""
    dtype = context.settings.model.dtype

    def condition(name: str, c: Checkpoint, which: tuple[Prepared | None, ...]) -> Condition:
        weights = (states.base.sha256, states.hashes[c.step])
        return Condition(name, c.step, *weights, which, tolerance, states.opener(c, dtype))

    conditions = [condition(step_name(c.step), c, probes) for c in states.checkpoints]
    if rephrased is not None:
        conditions.append(condition(rephrased_name(states.reference.step), states.reference, rephrased))
    with context.progress.phase("extracting interactions", len(conditions) * len(probes)) as advance:
        return {c.name: measure(context.folder.path, c, context.settings, advance) for c in conditions}


def measure_tasks(context: Context, states: States, inputs: Inputs) -> tuple[dict[str, Any], ...]:
    """Eval loss and label accuracy at every checkpoint; empty when there is nothing to evaluate on."""
    if not inputs.eval:
        context.notes.append("No eval rows were given (data.eval), so eval loss and accuracy were not measured.")
        return ()
    data = prepare_eval(inputs.eval, inputs.labels, states.base.tokenizer, inputs.template)
    context.omitted += [Omitted("eval", *pair) for pair in data.skipped]
    if not data.encoded:
        context.notes.append("No eval row could be used, so eval loss and accuracy were not measured.")
        return ()
    if data.label_ids is None:
        context.notes.append("The eval rows have no labels, so accuracy was not measured.")
    results = []
    with context.progress.phase("eval loss and accuracy", len(states.checkpoints) * len(data.encoded)) as advance:
        for done, c in enumerate(states.checkpoints):
            file = context.folder.path / "task" / f"{step_name(c.step)}.json"
            opener = states.opener(c, context.settings.model.dtype)
            weights = (states.base.sha256, states.hashes[c.step])
            results.append(measure_task(file, data, weights, c.step, opener, context.settings, advance, done))
    return tuple(results)


def measure_baseline(context: Context, inputs: Inputs) -> tuple[list[Unit | None], str] | None:
    """Units of the baseline LLM v' on the same words, with a tolerance from its own scores, and its weights' hash."""
    settings, wanted = context.settings, context.settings.baseline
    if wanted is None:
        context.notes.append(
            "No baseline LLM was given, so generalizability (gamma) is left out: set baseline.name "
            "(the demo: make demo BASELINE=1, or interplay demo --baseline)."
        )
        return None
    assert inputs.baseline is not None
    assert inputs.baseline_template is not None
    with context.progress.phase("loading the baseline LLM"):
        other = load_model(wanted.name, dtype=settings.model.dtype, device=context.device, revision=wanted.revision)
        among = label_rows(inputs.baseline, inputs.labels, settings)
        probes = prepare_probes(context, inputs.baseline, other.tokenizer, inputs.baseline_template, among, "baseline")
    if not any(probes):
        raise InterplayError(
            f"baseline {wanted.name!r} can serve none of the probes (first: {context.omitted[-1].reason})"
        )

    def opener() -> AbstractContextManager[Any]:
        return contextlib.nullcontext(other.model)

    delta = calibrate(context.folder.path / "calibration-baseline.json", opener, probes, settings, other.sha256)
    refuse_noise(delta, settings, lambda line: _note(context, f"baseline {wanted.name}: {line}"))
    condition = Condition("baseline", 0, other.sha256, other.sha256, probes, delta.tolerance, opener)
    with context.progress.phase("baseline LLM", len(probes)) as advance:
        return measure(context.folder.path, condition, settings, advance), other.sha256


@contextlib.contextmanager
def quiet_libraries() -> Generator[None]:
    """Keep loading bars and deprecation talk of the libraries off the terminal while our own progress is on it."""
    import warnings

    import datasets
    import transformers

    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", message="The PEFT config's `base_model_name_or_path`")
            yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()
        datasets.enable_progress_bars()
