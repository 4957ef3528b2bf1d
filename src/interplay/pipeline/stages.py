"""Stages of a run, one function each. Each leaves its result in the run folder and finds it there the next time."""

import contextlib
import gc
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interplay.analysis.measured import reference_of
from interplay.config.settings import Settings
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models.adapters import base_name_note
from interplay.models.checkpoints import checkpoint_hash, comparable_hashes, find_twins, model_at
from interplay.models.layouts import Checkpoint, find_layout, newest
from interplay.models.length import length_of
from interplay.models.loading import LoadedModel, resolve
from interplay.models.placement import choose_device
from interplay.pipeline.identity import IDENTITY, check_parts, check_weights, config_hash
from interplay.pipeline.inputs import Inputs
from interplay.pipeline.progress import Progress
from interplay.pipeline.shards import Shard
from interplay.pipeline.states import Models, ModelState, Source
from interplay.store.conditions import Omitted
from interplay.store.folder import RunFolder
from interplay.store.lock import Lock
from interplay.text import short
from interplay.training.methods import SftPlan, load_for_training, method_notes
from interplay.training.sft import finetune, settle, tokenise


@dataclass
class Context:
    """What every stage needs, and two lists they add to for the report."""

    settings: Settings
    folder: RunFolder
    progress: Progress
    models: Models
    lock: Lock
    shard: Shard
    waiting: Callable[[str], None]  # told which process this one waits for
    omitted: list[Omitted] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chat_template: str | None = None  # of the checkpoints, where the base has none

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """For what one process of the run must do alone; the others wait."""
        with self.lock.held(self.waiting):
            self.folder.check()
            yield


@dataclass(frozen=True)
class States:
    """The checkpoints of a run on their base model, and the SHA-256 of each one's weights."""

    base: LoadedModel
    source: Source
    checkpoints: tuple[Checkpoint, ...]
    hashes: dict[int, str]
    reference: Checkpoint

    def at(self, checkpoint: Checkpoint, dtype: str | None = None) -> ModelState:
        """The description of a checkpoint, in another precision where one is given."""
        return ModelState(self.source if dtype is None else replace(self.source, dtype=dtype), checkpoint)


def models_of(settings: Settings) -> Models:
    """Where the models of a run are loaded, and how."""
    model = settings.model
    main = Source(model.name, model.revision, model.dtype)
    trained = settings.checkpoints.folder
    return Models(choose_device(model.device), main, trained, device_map=model.device_map, max_memory=model.max_memory)


def train(context: Context, inputs: Inputs, tokenizer) -> None:
    """Fine-tune, unless the run folder holds the whole training already."""
    settings, folder = context.settings, context.folder.checkpoints
    wanted = settings.training
    assert wanted is not None
    examples, skipped, plan = plan_training(settings, inputs.train, tokenizer, inputs.template, context.models.device)
    context.omitted += [Omitted("train", *pair) for pair in skipped]
    longest = plan.max_length
    if longest != wanted.max_length and (cut := sum(len(e["input_ids"]) > (longest or 0) for e in examples)):
        note(context, f"{cut} of {len(examples)} training rows are cut to the model's {longest} learnt positions.")
    if not (folder / "training_log.json").exists():
        model, device = settings.model, context.models.device
        with context.progress.phase("loading the model to train"):
            own = load_for_training(model.name, wanted.method, device=device, revision=model.revision, bf16=plan.bf16)
        # Before it trains: a training that goes on must not go on from another model.
        trained = {"weights": own.sha256, "config": config_hash(resolve(model.name, model.revision)[0], model.revision)}
        check_parts(context.folder.path, "trained", trained, f"restore {short(model.name)}")
        kept = lambda *_: f"up to {place.name}" if (place := newest(folder)) else "nothing yet"  # noqa: E731
        with context.progress.phase("fine-tuning", plan.steps, kept) as advance:

            def on_step(step: int, total: int, loss: float) -> None:
                if context.lock.is_lost():  # this process hung for longer than a lease
                    other = context.lock.owner() or "another process"
                    raise InterplayError(
                        f"{other} has taken over the training while this process was silent: run the same command again"
                    )
                advance(step, note=f"loss {loss:.3f}")

            finetune(own, examples, plan, folder, device=device, on_step=on_step)
        del own  # it stands in circles with its trainer: two copies of the weights would be there while it is measured
        gc.collect()
    context.notes += method_notes(wanted.method, wanted.weight_decay)
    settle(folder)
    (context.folder.path / IDENTITY / "trained.json").unlink(missing_ok=True)  # from here on weights.json says it


def plan_training(
    settings: Settings, rows: Sequence[Row], tokenizer, template: PromptTemplate, device: str
) -> tuple[list[dict], list[tuple[str, str]], SftPlan]:
    """The rows as `finetune` takes them, (id, reason) of those left out, and the plan of the settings, which train.

    Raises InterplayError where no row can be used.
    """
    wanted, positions = settings.training, length_of(tokenizer)
    assert wanted is not None
    longest = wanted.max_length
    if positions.learnt and positions.tokens:
        longest = min(longest or positions.tokens, positions.tokens)
    examples, skipped = tokenise(rows, tokenizer, template, longest)
    if not examples:
        raise InterplayError("no training row can be used" + (f" (first: {': '.join(skipped[0])})" if skipped else ""))
    fields: dict[str, Any] = wanted.model_dump() | {
        "bf16": use_bf16(wanted.bf16, device),
        "seed": settings.seed if wanted.seed is None else wanted.seed,
        "max_length": longest,
    }
    return examples, skipped, SftPlan(**fields, save_at=tuple(step for step in settings.schedule() or () if step))


def use_bf16(wanted: bool | str, device: str) -> bool:
    """Whether to train under bfloat16 autocast; auto: where the hardware multiplies bfloat16 faster than float32."""
    if wanted != "auto":
        return bool(wanted)
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


def find_states(context: Context) -> States:
    """Find the checkpoints, load the base, hash all of them; refuse what does not fit before anything is computed."""
    settings = context.settings
    model = settings.model
    outside = settings.checkpoints.folder
    layout = find_layout(Path(outside) if outside else context.folder.checkpoints, settings.schedule())
    checkpoints = layout.checkpoints
    for line in layout.notes if outside else ():
        note(context, line)
    step = reference_of(settings, [c.step for c in checkpoints])
    [reference] = [c for c in checkpoints if c.step == step]
    with context.progress.phase("loading the model and hashing its checkpoints", len(checkpoints)) as advance:
        source = context.models.main
        base = context.models.base(source)
        if context.chat_template:
            base.tokenizer.chat_template = context.chat_template
        hashes = {}
        for c in checkpoints:
            hashes[c.step] = checkpoint_hash(c, base)
            if outside and c.kind == "adapter":  # a stranger's adapter is tried on now, not after an hour of scoring
                with model_at(c, base):
                    pass
            advance()
    configs = {"the base": config_hash(resolve(model.name, model.revision)[0], model.revision)}
    configs |= {f"step {c.step}": config_hash(c.path) for c in checkpoints if c.kind == "full" and c.path is not None}
    with context.alone():
        check_weights(context.folder.path, base.sha256, hashes)
        check_parts(context.folder.path, "configs", configs, "restore that config.json")
    for earlier, later in find_twins(comparable_hashes(checkpoints, hashes, base)):
        same = f"Steps {earlier} and {later} have identical weights"
        note(context, f"{same}, so one of them is not what its name says: read every change between them as none.")
    if base.rows:
        rows = "where the base has no rows for them, step 0 has the mean of its embeddings there"
        note(context, f"Training added tokens: the checkpoints' tokenizer is used; {rows}.")
    context.notes += list(dict.fromkeys(said for c in checkpoints if (said := base_name_note(c, base.name))))
    return States(base, source, checkpoints, hashes, reference)


def note(context: Context, line: str) -> None:
    """A line for the report and, at once, for the terminal."""
    context.notes.append(line)
    context.progress.say(f"warning: {line}")


@contextlib.contextmanager
def quiet_libraries(progress: Progress | None = None) -> Generator[None]:
    """Keep loading bars and deprecation warnings of the libraries off the terminal; importing them takes seconds."""
    import warnings

    with (progress or Progress(quiet=True)).phase("importing torch and transformers"):
        import torch  # noqa: F401
        import transformers

    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", message="The PEFT config's `base_model_name_or_path`")
            yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()
