"""What `interplay.InteractionCallback` costs in a training of 400 steps that it reads every 20: CPU seconds of one thread.

python -m benchmarks.watching [--model FOLDER] [STEPS]       (stops after so many of the 400 steps, and scales)
"""

import argparse
import io
import json
import tempfile
import time
import warnings
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.scoring_rows import SMOLLM2, tell
from benchmarks.section import Section

TITLE = "The callback in a training of 400 steps, every = 20"
STEPS, EVERY, BATCH = 400, 20, 8
WORDING = "Sentence: {text}\nEmotion:"


def watched(model: str, folder: Path, until: int) -> dict[str, float]:
    """Train with the callback's defaults for the first `until` of 400 steps; CPU seconds by part, and the plan."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from interplay import InteractionCallback
    from interplay.callback import callback as module
    from interplay.callback.budget import Meter
    from interplay.data.sources import read_rows
    from interplay.models.loading import load_model

    train, held = (
        [{"prompt": WORDING.format(text=row.text), "completion": f" {row.label}"} for row in read_rows(f"emotions:{part}").rows]
        for part in ("train", "test")
    )  # fmt: skip
    steps, ended = [], []

    class Clock(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            steps.append(-time.process_time())

        def on_step_end(self, args, state, control, **kwargs):  # before the callback that is measured
            steps[-1] += time.process_time()
            control.should_training_stop |= state.global_step >= until

        def on_train_end(self, args, state, control, **kwargs):
            ended.append(time.process_time())

    class Offline(SFTTrainer):
        def _send_telemetry(self):
            pass

    loaded = load_model(model, dtype="float32", device="cpu")
    with patch.object(module, "Meter", partial(Meter, time.process_time)), redirect_stderr(io.StringIO()):
        watcher = InteractionCallback(held, every=EVERY, strict=True)
        trainer = Offline(
            model=loaded.model,
            args=SFTConfig(
                str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=1e-4, bf16=False, use_cpu=True,
                save_strategy="no", report_to=[], disable_tqdm=True, dataloader_pin_memory=False, gradient_checkpointing=False,
                logging_steps=10, seed=0,
            ),
            train_dataset=Dataset.from_list(train),
            processing_class=loaded.tokenizer,
            peft_config=LoraConfig(r=8, target_modules="all-linear"),
            callbacks=[Clock(), watcher],
        )  # fmt: skip
        trainer.train()
    page = time.process_time() - ended[0]
    history: list[dict[str, Any]] = trainer.state.log_history
    record = json.loads((folder / "interplay" / "callback.json").read_text())
    plan = {"prompts": record["plan"]["prompts"], "words": record["plan"]["n"], "every": record["plan"]["every"]}
    return plan | {"steps": len(steps), "step": sum(steps) / len(steps), "page": page} | readings(history)


def readings(history: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of the first reading, and means of the later light and full ones, from a trainer's log.

    >>> read = {"eval_prompts_loss": 2.0, "step": 20}
    >>> log = [read | {"interaction_seconds": s} for s in (9, 10, 11)] + [read | {"interaction_seconds": 15, "eval_interaction_loss": 4}]
    >>> readings(log)
    {'first': 9, 'light': 1.0, 'full': 4.0, 'fulls': 1}
    """
    read = [entry for entry in history if "eval_prompts_loss" in entry]
    times = [entry["interaction_seconds"] for entry in read]
    found: dict[bool, list[float]] = {False: [], True: []}
    for entry, before, after in zip(read[1:], times, times[1:], strict=False):
        found["eval_interaction_loss" in entry].append(after - before)
    light, full = (sum(each) / max(1, len(each)) for each in found.values())
    return {"first": times[0], "light": light, "full": full, "fulls": len(found[True])}


def share(found: dict[str, float], full: int = 3) -> float:
    """All seconds of readings in 400 steps over those of training, with `full` full readings after the first.

    >>> share({"every": 20, "step": 1.0, "first": 4.0, "light": 0.2, "full": 2.0, "page": 1.0})     # 4 + 17 x .2 + 3 x 2 + 1
    0.036
    """
    lights = STEPS // int(found["every"]) - full
    spent = found["first"] + lights * found["light"] + full * found["full"] + found["page"]
    return round(spent / (STEPS * found["step"]), 4)


def watching_rows(quick: bool, model: str = SMOLLM2, until: int | None = None) -> Section:
    """One row: what was planned, what each part cost, and the share of 400 steps."""
    until = until or (2 * EVERY if quick else STEPS)
    tell(f"a training of {until} steps with the callback")
    with tempfile.TemporaryDirectory(prefix="interplay-watching-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = watched(model, Path(folder), until)
    row = {"model": "SmolLM2-135M" if model == SMOLLM2 else model}
    row |= {
        "steps trained": found["steps"],
        "prompts": found["prompts"],
        "words": found["words"],
        "every": found["every"],
    }
    row |= {f"{name}, s": found[name] for name in ("step", "first", "light", "full", "page")}
    row |= {"share of 400 steps, %": 100 * share(found)}
    notes = [
        f"LoRA of rank 8, {BATCH} short rows a step, float32, the callback's defaults (max_overhead=0.05). first: preparations, "
        "timings, the first full reading and its tables; light, full: a later reading; page: the last tables and the page. The "
        "share is that of the first, three full readings after it, the light ones, and the page."
    ]
    if until < STEPS:
        notes.append(
            f"Scaled: {until} of the 400 steps were trained, {found['fulls']} full reading(s) after the first."
        )
    return Section(TITLE, [row], notes)


if __name__ == "__main__":
    import torch

    from benchmarks.bench import lines_of

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int, nargs="?", default=2 * EVERY)
    parser.add_argument("--model", default=SMOLLM2)
    given = parser.parse_args()
    print("\n".join(lines_of(watching_rows(True, given.model, given.steps))))
