"""Fine-tune with TRL's SFTTrainer, without what it would send over a network, and save checkpoints at a schedule of steps."""

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
from inspect import signature
from pathlib import Path
from typing import Any

from interplay.atomic import write_text
from interplay.data.prompts import encode, render
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample, reason_of
from interplay.extras import require
from interplay.models.layouts import STATE, TrainerState, classify, find_damage, read_state
from interplay.models.loading import LoadedModel
from interplay.models.placement import choose_device
from interplay.process import environment
from interplay.training.methods import SftPlan, adapter_config, widen_adapters

# Pickles that only resuming needs: removed once a newer checkpoint exists, and when the training is complete.
_RESUMED = ("optimizer.pt", "scheduler.pt", "rng_state.pth")  # needed to resume to the same weights
# Variables by which torchrun, accelerate and MPI tell a process its place in a group.
_LAUNCHED = re.compile(r"(LOCAL_|GROUP_)?(RANK|WORLD_SIZE)|(PMI|MPI|OMPI|MV2|TORCHELASTIC|ACCELERATE_USE)_\w+")
_HELD = 512  # positions whose logits are held at once: 100 MB of 49,152 tokens [ours]
RESUME_FILES = (*_RESUMED, "scaler.pt", "training_args.bin")


def tokenise(
    rows: Sequence[Row], tokenizer, template: PromptTemplate, max_length: int | None = None
) -> tuple[list[dict], list[tuple[str, str]]]:
    """Rows as `{input_ids, labels}` with the prompt's labels at -100, and (id, reason) of the rows left out.

    Those include rows whose response begins after `max_length` tokens.
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
    """Train `base` (its model is changed) and write `folder/checkpoint-<step>`.

    An interrupted training continues from its last complete checkpoint, to the same weights. Returns the log: one `{step, loss,
    learning_rate}` per optimiser step, also in `folder/training_log.json`, which marks the training as complete. The global
    random state is seeded with `plan.seed`.

    Args:
        examples: from `tokenise`; cut to `plan.max_length` tokens.
        on_step: called with (step, total steps, loss).

    Raises InterplayError when a target module or the data do not exist, or the loss or the weights are not finite.
    """
    done = folder / "training_log.json"
    if done.exists():
        _remove_resume_files(folder)
        return json.loads(done.read_text(encoding="utf-8"))
    last = _last_whole(folder)
    state = read_state(last) if last else TrainerState()
    history = state.log_history
    if state.global_step < plan.steps:  # resumed after its last step, the Trainer would make another one
        history = _train(base, examples, plan, folder, last, device, on_step)
    log = [{key: entry[key] for key in ("step", "loss", "learning_rate")} for entry in history if "loss" in entry]
    write_text(done, json.dumps(log, indent=1) + "\n")
    # After the log: in the other order a kill in between would leave checkpoints that cannot be resumed.
    _remove_resume_files(folder)
    return log


@contextlib.contextmanager
def _alone() -> Generator[None]:
    """One process, in silence: nothing of accelerate, no look-up of peft on a hub, no group that a job system left the name of."""
    import torch.distributed as dist

    joined = dist.is_available() and dist.is_initialized()  # by a program that calls us: its group stays
    left = dict.fromkeys([] if joined else filter(_LAUNCHED.fullmatch, os.environ))
    logger = logging.getLogger("accelerate")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), environment(HF_HUB_OFFLINE="1", **left):  # peft reads it at each save
            warnings.filterwarnings("ignore", message="Could not find a config file in")
            yield
    finally:
        logger.setLevel(level)


@_alone()
def _train(
    base: LoadedModel,
    examples: Sequence[dict],
    plan: SftPlan,
    folder: Path,
    last: Path | None,
    device: str,
    on_step: Callable[[int, int, float], None] | None,
) -> list[dict[str, Any]]:
    """TRL's log history of a training from the checkpoint `last`, or from the start."""
    rows = [{key: list(example[key][: plan.max_length]) for key in ("input_ids", "labels")} for example in examples]
    rows = [row for row in rows if any(label != -100 for label in row["labels"])]
    if not rows:
        why = f"no response begins within training.max_length {plan.max_length}" if examples else "none was given"
        raise InterplayError(f"no training rows are left: {why}")
    require("trl", "datasets", what="fine-tuning")
    from datasets import Dataset
    from transformers import TrainerCallback, set_seed
    from transformers.trainer_callback import PrinterCallback, ProgressCallback
    from trl import SFTConfig, SFTTrainer

    remedy = "lower training.learning_rate or set training.bf16 to false"

    class Schedule(TrainerCallback):
        """Saves at the scheduled steps, reports progress, stops when loss or weights are not finite."""

        def on_step_end(self, args, state, control, model: Any = None, **kwargs):
            control.should_save = state.global_step in plan.save_at
            if control.should_save and not all(bool(p.isfinite().all()) for p in model.parameters() if p.requires_grad):
                raise InterplayError(f"the weights after step {state.global_step} are not finite: {remedy}")

        def on_save(self, args, state, control, **kwargs):
            _remove_resume_files(folder, but=f"checkpoint-{state.global_step}")

        def on_log(self, args, state, control, logs=None, **kwargs):
            if not logs or "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise InterplayError(f"the training loss is {logs['loss']} at step {state.global_step}: {remedy}")
            if on_step is not None:
                on_step(state.global_step, state.max_steps, float(logs["loss"]))

    class OfflineTrainer(SFTTrainer):
        """Without TRL's usage statistics and model card."""

        def _send_telemetry(self):
            pass

        def create_model_card(self, *args, **kwargs):
            pass

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            """The same loss, but only positions that are learnt pass the head: TRL sends all of them on a CPU, which costs two fifths of a step."""
            learnt = inputs["labels"][:, 1:] != -100
            at = learnt.any(0).nonzero().flatten()
            if not by_position or len(learnt) * len(at) > _HELD:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            inputs = {**inputs, "shift_labels": inputs["labels"][:, at + 1], "logits_to_keep": at}
            return super(SFTTrainer, self).compute_loss(model, inputs, return_outputs, num_items_in_batch)

    by_position = choose_device(device) == "cpu" and "logits_to_keep" in signature(base.model.forward).parameters
    folder.mkdir(exist_ok=True)  # but not its parent: a run folder that is gone stays away
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
        config._n_gpu = 1  # TRL refuses DataParallel, the Trainer's default for several GPUs
    adapters = adapter_config(plan, base)
    # The trainer draws LoRA's matrices when it wraps the model. TRL seeds before that since about 1.0.
    set_seed(plan.seed)
    try:
        trainer = OfflineTrainer(
            model=base.model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=copy.deepcopy(base.tokenizer),  # the trainer may add a padding token
            peft_config=adapters,
            callbacks=[Schedule()],
        )
    except ValueError as error:
        if adapters is not None and re.search(r"target.modules|lm_head", str(error), re.IGNORECASE):
            wrong = f"training.targets {plan.targets!r} cannot be trained (set it to all-linear)"
            raise InterplayError(f"{wrong}: {reason_of(error)}") from error
        raise
    trainer.remove_callback(PrinterCallback)  # the terminal has our own progress line
    trainer.remove_callback(ProgressCallback)
    widen_adapters(trainer.model)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    return trainer.state.log_history


def _remove_resume_files(folder: Path, but: str = "") -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        for name in RESUME_FILES if checkpoint.name != but else ():
            (checkpoint / name).unlink(missing_ok=True)


def _last_whole(folder: Path) -> Path | None:
    """The newest checkpoint that can be resumed; torn ones are removed.

    `trainer_state.json` is written last, so without it a checkpoint is torn; the other files are checked for disk failures.
    """
    newest = None
    ours = [p for p in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    for checkpoint in sorted(ours, key=lambda p: int(p.name.rpartition("-")[2])):
        needed = [checkpoint / name for name in _RESUMED]
        resumable = all(file.exists() for file in needed)
        if _is_torn(checkpoint) or (resumable and not all(map(_is_whole_archive, needed))):
            if checkpoint.is_symlink() or not checkpoint.is_dir():
                checkpoint.unlink()  # never what a link leads to
            else:
                shutil.rmtree(checkpoint)
        elif resumable:
            newest = checkpoint
    return newest


def _is_torn(checkpoint: Path) -> bool:
    """Whether its state or its weights are missing or cut off. Disk errors are raised: they may be temporary."""
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        if (kind := classify(checkpoint)) is None:
            return True
        for file in checkpoint.glob("*.safetensors"):
            with open(file, "rb") as opened:
                opened.read(1)
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return True
    return find_damage(checkpoint, kind) is not None


def _is_whole_archive(file: Path) -> bool:
    """Whether a file of torch.save is complete, by the checksums of its zip archive. Nothing is unpickled."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False


def settle(folder: Path) -> None:
    """Make the files of a complete training the same bytes whether or not it was interrupted.

    peft writes lists in the order of a set, and TRL's count of tokens starts anew with each process.
    """
    _remove_resume_files(folder)
    for file in folder.glob("checkpoint-*/adapter_config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        sets = ("target_modules", "feedforward_modules", "exclude_modules")
        _rewrite(file, config | {key: sorted(config[key]) for key in sets if isinstance(config.get(key), list)})
    for file in folder.glob("checkpoint-*/trainer_state.json"):
        state = json.loads(file.read_text(encoding="utf-8"))
        log = [{k: v for k, v in entry.items() if k != "num_tokens"} for entry in state.get("log_history", [])]
        _rewrite(file, state | {"log_history": log})


def _rewrite(file: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    if file.read_text(encoding="utf-8") != text:  # peft ends without a line break
        write_text(file, text)
