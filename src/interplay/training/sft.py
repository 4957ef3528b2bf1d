"""Fine-tune with TRL's SFTTrainer and leave checkpoints at a schedule of steps.

Rows are tokenised by the same code that scoring uses and handed over ready-made, so training and scoring share one prompt
string by construction. Which weights are trained is `methods.py`'s. Everything else (optimiser, schedule, saving, resuming) is
TRL's, peft's and transformers'; what they would send over a network is left out.
"""

import contextlib
import copy
import json
import logging
import math
import os
import re
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.atomic import write_text
from interplay.data.prompts import encode, render
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.extras import require
from interplay.models.layouts import classify, find_damage
from interplay.models.loading import LoadedModel
from interplay.models.placement import choose_device
from interplay.training.methods import adapter_config, widen_adapters

# What a checkpoint needs to be resumed but not to be read: removed once a newer one is there and when the training is whole.
# They are pickles, and for full fine-tuning twice the size of the weights.
_RESUMED = ("optimizer.pt", "scheduler.pt", "rng_state.pth")  # without any of which it would be another training
RESUME_FILES = (*_RESUMED, "scaler.pt", "training_args.bin")

_SETS = ("target_modules", "feedforward_modules", "exclude_modules")  # which peft writes as lists, in no order


@dataclass(frozen=True)
class SftPlan:
    """One fine-tuning: the fields mirror `TrainingSettings`, which documents them."""

    method: str
    rank: int
    alpha: float
    dropout: float
    targets: str
    learning_rate: float
    scheduler: str
    warmup_steps: int
    weight_decay: float
    batch_size: int
    accumulation: int
    steps: int
    max_length: int | None
    bf16: bool
    seed: int
    save_at: tuple[int, ...]


def tokenise(
    rows: Sequence[Row], tokenizer, template: PromptTemplate, max_length: int | None = None
) -> tuple[list[dict], list[tuple[str, str]]]:
    """Rows as `{input_ids, labels}` with the prompt's labels at -100, and (id, reason) of the rows left out.

    With `max_length`, rows whose response would begin behind it are left out with that reason.
    """
    examples, skipped = [], []
    for row in rows:
        try:
            encoded = encode(render(row, tokenizer, template), tokenizer)
        except SkipSample as reason:
            skipped.append((row.id, str(reason)))
            continue
        prompt, target = list(encoded.input_ids), list(encoded.target_ids)
        if max_length is not None and len(prompt) >= max_length:
            skipped.append((row.id, f"its prompt of {len(prompt)} tokens leaves none of max_length {max_length}"))
            continue
        examples.append({"input_ids": prompt + target, "labels": [-100] * len(prompt) + target})
    return examples, skipped


def finetune(
    base: LoadedModel,
    examples: Sequence[dict],
    plan: SftPlan,
    folder: Path,
    *,
    device: str = "auto",
    on_step: Callable[[int, int, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Train `base` (its model is changed: hand over one of its own) and write `folder/checkpoint-<step>`.

    A training that was cut off goes on from its last whole checkpoint, to the same weights. Returns the log: one `{step,
    loss, learning_rate}` per optimiser step, also kept in `folder/training_log.json`, which marks the training as whole.
    The global random state is seeded with `plan.seed`; the tokenizer stays as it is.

    Args:
        examples: from `tokenise`. Behind `plan.max_length` tokens they are cut, as TRL does; without a response token left
            they are left out.
        on_step: called with (step, steps in all, loss).

    Raises InterplayError when a target module does not exist, there is nothing to train on, or the loss or the weights are
    no longer finite.
    """
    done = folder / "training_log.json"
    if done.exists():
        _remove_resume_files(folder)
        return json.loads(done.read_text(encoding="utf-8"))
    last = _last_whole(folder)
    state: dict[str, Any] = (
        json.loads((last / "trainer_state.json").read_text(encoding="utf-8")) if last else {"global_step": 0}
    )
    # Resumed behind its last step, the Trainer would make another one.
    history = (
        state["log_history"]
        if state["global_step"] >= plan.steps
        else _train(base, examples, plan, folder, last, device, on_step)
    )
    log = [
        {"step": entry["step"], "loss": entry["loss"], "learning_rate": entry["learning_rate"]}
        for entry in history
        if "loss" in entry
    ]
    partial = done.with_suffix(".tmp")
    partial.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    partial.replace(done)
    # After the log: the other way round a kill in between would leave checkpoints that nothing can be resumed from.
    _remove_resume_files(folder)
    return log


def _train(
    base: LoadedModel,
    examples: Sequence[dict],
    plan: SftPlan,
    folder: Path,
    last: Path | None,
    device: str,
    on_step: Callable[[int, int, float], None] | None,
) -> list[dict[str, Any]]:
    """Run TRL's trainer from the checkpoint `last`, or from the start; returns its log history."""
    kept = _cut(examples, plan.max_length)
    if not kept:
        why = (
            f"no response begins within training.max_length {plan.max_length}" if examples else "every row was skipped"
        )
        raise InterplayError(f"no training rows are left: {why}; see the reasons in the report, or give other data")
    require("trl", "datasets", what="fine-tuning")
    from datasets import Dataset
    from transformers import TrainerCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    class Schedule(TrainerCallback):
        """Saves at the scheduled steps, reports progress, stops at what is not finite; touches nothing else."""

        def on_step_end(self, args, state, control, model: Any = None, **kwargs):
            control.should_save = state.global_step in plan.save_at
            if control.should_save and not all(bool(p.isfinite().all()) for p in model.parameters() if p.requires_grad):
                raise _not_finite(f"the weights after step {state.global_step} are not finite")

        def on_save(self, args, state, control, **kwargs):
            _remove_resume_files(folder, but=f"checkpoint-{state.global_step}")

        def on_log(self, args, state, control, logs=None, **kwargs):
            if not logs or "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise _not_finite(f"the training loss is {logs['loss']} at step {state.global_step}")
            if on_step is not None:
                on_step(state.global_step, state.max_steps, float(logs["loss"]))

    class OfflineTrainer(SFTTrainer):
        """Without TRL's usage statistics, which it sends from the constructor, and without its model card."""

        def _send_telemetry(self):
            pass

        def create_model_card(self, *args, **kwargs):
            pass

    folder.mkdir(exist_ok=True)  # but not the run folder around it, should that be gone
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.batch_size,
        gradient_accumulation_steps=plan.accumulation,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=plan.scheduler,
        warmup_steps=plan.warmup_steps,
        weight_decay=plan.weight_decay,
        max_length=plan.max_length,
        bf16=plan.bf16,
        fp16=False,
        use_cpu=choose_device(device) == "cpu",
        seed=plan.seed,
        data_seed=plan.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        dataset_kwargs={"skip_prepare_dataset": True},  # the rows are tokenised and cut already
    )
    if config.n_gpu > 1:
        config._n_gpu = 1  # TRL refuses the DataParallel that the Trainer would use on its own for several GPUs
    adapters = adapter_config(plan, base)
    # LoRA's matrices are drawn when the trainer wraps the model. TRL seeds before that since 1.0 or so; others seed after it.
    set_seed(plan.seed)
    with _quiet():
        try:
            trainer = OfflineTrainer(
                model=base.model,
                args=config,
                train_dataset=Dataset.from_list(kept),
                # A copy: the trainer gives a tokenizer without a padding token one.
                processing_class=copy.deepcopy(base.tokenizer),
                peft_config=adapters,
                callbacks=[Schedule()],
            )
        except ValueError as error:
            if adapters is not None and re.search(r"target.modules|lm_head", str(error), re.IGNORECASE):
                reason = " ".join(str(error).split())[:200]
                raise InterplayError(
                    f"training.targets {plan.targets!r} cannot be trained (set it to all-linear): {reason}"
                ) from error
            raise
        _mute(trainer)
        widen_adapters(trainer.model)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    return trainer.state.log_history


def _cut(examples: Sequence[dict], max_length: int | None) -> list[dict]:
    """Examples cut to `max_length` tokens, without those that have no response token left.

    >>> _cut([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [5, 6, 7], "labels": [-100, -100, 7]}], 2)
    [{'input_ids': [5, 6], 'labels': [-100, 6]}]
    """
    cut = [{key: list(example[key][:max_length]) for key in ("input_ids", "labels")} for example in examples]
    return [example for example in cut if any(label != -100 for label in example["labels"])]


def _not_finite(what: str) -> InterplayError:
    return InterplayError(f"{what}: lower training.learning_rate or set training.bf16 to false")


def _mute(trainer) -> None:
    """Keep the trainer's own printing off the terminal, which has a progress line of its own."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Without the talk of accelerate, and without the look-up on a hub that peft makes at every save.

    peft asks whether the base's vocabulary grew, by the base's name; ours did not, and that name may be no hub's.
    """
    logger = logging.getLogger("accelerate")
    level, offline = logger.level, os.environ.get("HF_HUB_OFFLINE")
    logger.setLevel(logging.ERROR)
    os.environ["HF_HUB_OFFLINE"] = "1"  # peft reads it at the time; huggingface_hub read it when it was imported
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Could not find a config file in")
            yield
    finally:
        logger.setLevel(level)
        if offline is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = offline


def _remove_resume_files(folder: Path, but: str = "") -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        for name in RESUME_FILES if checkpoint.name != but else ():
            (checkpoint / name).unlink(missing_ok=True)


def _last_whole(folder: Path) -> Path | None:
    """The newest checkpoint that can be resumed from; torn ones are removed.

    `trainer_state.json` is written last, so it tells whole from torn where no disk failed; the rest is looked through for
    where one did. Older whole ones have no resume files any more.
    """
    newest = None
    ours = [p for p in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    for checkpoint in sorted(ours, key=lambda p: int(p.name.rpartition("-")[2])):
        needed = [checkpoint / name for name in _RESUMED]
        resumable = all(file.exists() for file in needed)
        if _is_torn(checkpoint) or (resumable and not all(map(_is_whole_archive, needed))):
            _remove(checkpoint)
        elif resumable:
            newest = checkpoint
    return newest


def _is_torn(checkpoint: Path) -> bool:
    """Whether its state or its weights are missing or broken off. A disk's own error is raised: it may be back in a moment."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        if (kind := classify(checkpoint)) is None:
            return True
        for file in checkpoint.glob("*.safetensors"):
            with open(file, "rb") as opened:
                opened.read(1)
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return True
    return find_damage(checkpoint, kind) is not None


def _remove(checkpoint: Path) -> None:
    if checkpoint.is_symlink() or not checkpoint.is_dir():
        checkpoint.unlink()  # what a link leads to is not ours to remove
    else:
        shutil.rmtree(checkpoint)


def _is_whole_archive(file: Path) -> bool:
    """Whether a file of torch.save is whole, by the checksums of the zip archive it is. Nothing in it is unpickled."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False


def settle(folder: Path) -> None:
    """Bring a whole training to its last form, the same bytes whether or not it was interrupted.

    Gone are the pickles for resuming it. peft writes target modules in the order of a set, which is another one in every
    process; TRL counts tokens from the start of its process, not of the training.
    """
    for name in RESUME_FILES:
        for file in folder.glob(f"checkpoint-*/{name}"):
            file.unlink()
    for file in folder.glob("checkpoint-*/adapter_config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        lists = {key: sorted(config[key]) for key in _SETS if isinstance(config.get(key), list)}
        _replace_json(file, config, config | lists)
    for file in folder.glob("checkpoint-*/trainer_state.json"):
        state = json.loads(file.read_text(encoding="utf-8"))
        log = [{k: v for k, v in entry.items() if k != "num_tokens"} for entry in state.get("log_history", [])]
        _replace_json(file, state, state | {"log_history": log})


def _replace_json(file: Path, old: Any, new: Any) -> None:
    if new != old:
        write_text(file, json.dumps(new, indent=2, sort_keys=True) + "\n")
