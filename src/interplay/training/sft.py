"""Fine-tune with TRL's SFTTrainer and leave checkpoints at a schedule of steps.

Rows are tokenised by the same code that scoring uses and handed over ready-made, so training and scoring share one prompt
string by construction. Everything else (optimiser, schedule, LoRA, saving, resuming) is TRL's, peft's and transformers'.
"""

import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.data.prompts import encode, render
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.scoring.models import LoadedModel

# What a checkpoint needs to be resumed but not to be read: removed once the training is whole. They are pickles.
RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt", "training_args.bin")


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


def tokenise(rows: Sequence[Row], tokenizer, template: PromptTemplate) -> tuple[list[dict], list[tuple[str, str]]]:
    """Rows as `{input_ids, labels}` with the prompt's labels at -100, and (id, reason) of the rows left out."""
    examples, skipped = [], []
    for row in rows:
        try:
            encoded = encode(render(row, tokenizer, template), tokenizer)
        except SkipSample as reason:
            skipped.append((row.id, str(reason)))
            continue
        prompt, target = list(encoded.input_ids), list(encoded.target_ids)
        examples.append({"input_ids": prompt + target, "labels": [-100] * len(prompt) + target})
    return examples, skipped


def finetune(
    base: LoadedModel,
    examples: Sequence[dict],
    plan: SftPlan,
    folder: Path,
    *,
    device: str = "cpu",
    on_step: Callable[[int, int, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Train `base` (its model is changed: hand over one of its own) and write `folder/checkpoint-<step>`.

    A training that was cut off goes on from its last whole checkpoint. Returns the log: one `{step, loss, learning_rate}`
    per optimiser step, also kept in `folder/training_log.json`, which is written last and marks the training as whole.

    Args:
        examples: from `tokenise`.
        on_step: called with (step, steps in all, loss).

    Raises InterplayError when a target module does not exist or there is nothing to train on.
    """
    done = folder / "training_log.json"
    if done.exists():
        return json.loads(done.read_text())
    if not examples:
        raise InterplayError("no training rows are left: every row was skipped, see the reasons above")
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Schedule(TrainerCallback):
        """Saves at the scheduled steps and reports progress; touches nothing else."""

        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = state.global_step in plan.save_at

        def on_log(self, args, state, control, logs=None, **kwargs):
            if on_step is not None and logs and "loss" in logs:
                on_step(state.global_step, state.max_steps, float(logs["loss"]))

    folder.mkdir(parents=True, exist_ok=True)
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
        use_cpu=device == "cpu",
        seed=plan.seed,
        data_seed=plan.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
    )
    quiet = logging.getLogger("accelerate")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        trainer = SFTTrainer(
            model=base.model,
            args=config,
            train_dataset=Dataset.from_list(list(examples)),
            processing_class=base.tokenizer,
            peft_config=_lora(plan, base.name) if plan.method == "lora" else None,
            callbacks=[Schedule()],
        )
        _mute(trainer)
        trainer.train(resume_from_checkpoint=_last_whole(folder))
    except ValueError as error:
        if "arget modules" in str(error):
            raise InterplayError(f"training.targets {plan.targets!r}: {' '.join(str(error).split())[:200]}") from error
        raise
    finally:
        quiet.setLevel(level)
    log = [
        {"step": entry["step"], "loss": entry["loss"], "learning_rate": entry["learning_rate"]}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    if any(not math.isfinite(entry["loss"]) for entry in log):
        raise InterplayError(
            "the training loss became NaN or infinite: lower training.learning_rate or set training.bf16 to false"
        )
    for checkpoint in folder.glob("checkpoint-*"):
        for name in RESUME_FILES:
            (checkpoint / name).unlink(missing_ok=True)
    partial = done.with_suffix(".tmp")
    partial.write_text(json.dumps(log, indent=1) + "\n")
    partial.replace(done)
    return log


def _lora(plan: SftPlan, base_name: str):
    from peft import LoraConfig

    targets = plan.targets if plan.targets == "all-linear" else [t.strip() for t in plan.targets.split(",")]
    return LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_name,
    )


def _mute(trainer) -> None:
    """Keep the trainer's own printing off the terminal, which has a progress line of its own."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


def _last_whole(folder: Path) -> str | None:
    """The newest checkpoint that can be resumed from; torn ones are removed."""
    whole = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2])):
        if all((checkpoint / name).exists() for name in ("trainer_state.json", "optimizer.pt", "rng_state.pth")):
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return str(whole[-1]) if whole else None
