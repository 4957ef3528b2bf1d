"""Tiny trainings with TRL and with the plain Trainer, and prompts of three words for a callback in them."""

import copy
import hashlib
import random
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_job import PROMPTS
from tiny_job import TRAIN as TEXTS


def pairs(rows) -> list[dict]:
    return [{"prompt": f"Sentence: {text}\nEmotion:", "completion": f" {label}"} for text, label in rows]


def digest(model) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode() + tensor.detach().contiguous().view(-1).numpy().tobytes())
    return found.hexdigest()


def trained_entries(trainer) -> list[dict]:
    """What the trainer itself logged while training, without clock times."""
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    return [
        {k: v for k, v in entry.items() if k not in timed}
        for entry in trainer.state.log_history
        if "loss" in entry or "train_loss" in entry
    ]


@pytest.fixture
def prompt_rows():
    return pairs(PROMPTS)


@pytest.fixture
def quick():
    """`quick(every=2, ...)`: a callback that reads four prompts of three words in full, whatever the clock says, and may stop."""
    from interplay import InteractionCallback

    def make(rows=None, **changes):
        wanted = {"every": 2, "full": "every", "patience": 100, "max_overhead": None, "n": 3, "num_prompts": 4, "strict": True,
                  "stop": True} | changes  # fmt: skip
        return InteractionCallback(pairs(PROMPTS) if rows is None else rows, **wanted)

    return make


@pytest.fixture
def sft(tiny_folder, tiny_tokenizer, tmp_path):
    """`sft(name, callbacks, lora=True, evaluate=False, **arguments)`: an SFTTrainer of six steps, not yet run."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    class Offline(SFTTrainer):
        def _send_telemetry(self):
            pass

    def make(name="out", callbacks=(), *, lora=True, evaluate=False, rows=None, architecture="llama", **arguments):
        model = AutoModelForCausalLM.from_pretrained(tiny_folder(architecture))
        wanted = {
            "output_dir": str(tmp_path / name),
            "max_steps": 6,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            "bf16": False,
            "seed": 3,
            "dataloader_pin_memory": False,
            "gradient_checkpointing": False,
        } | arguments
        held_out = Dataset.from_list(pairs(PROMPTS)) if evaluate is True else None
        if isinstance(evaluate, dict):
            held_out = {name: Dataset.from_list(given) for name, given in evaluate.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Offline(
                model=model,
                args=SFTConfig(**wanted),
                train_dataset=Dataset.from_list(pairs(TEXTS) if rows is None else rows),
                eval_dataset=held_out,
                processing_class=copy.deepcopy(tiny_tokenizer),
                peft_config=LoraConfig(r=2, lora_dropout=0.2, target_modules="all-linear") if lora else None,
                callbacks=list(callbacks),
            )

    return make


@pytest.fixture
def outcome():
    """`outcome(trainer, resume=None)`: train, and everything that another training could differ in."""
    import torch

    def run(trainer, resume=None):
        random.seed(11)
        np.random.seed(12)
        torch.manual_seed(13)
        trainer.train(resume_from_checkpoint=resume)
        return SimpleNamespace(
            weights=digest(trainer.model),
            entries=trained_entries(trainer),
            torch_state=torch.get_rng_state().numpy().tobytes(),
            numpy_state=np.random.get_state()[1].tobytes(),
            python_state=random.getstate(),
            steps=trainer.state.global_step,
        )

    return run


@pytest.fixture
def losses():
    """`losses(trainer)`: interaction loss by step, as the log history has it."""

    def read(trainer) -> dict[int, float]:
        return {
            e["step"]: e["eval_interaction_loss"] for e in trainer.state.log_history if "eval_interaction_loss" in e
        }

    return read


@pytest.fixture
def scripted(monkeypatch):
    """`scripted({0: 9.0, 2: 5.0}, stop_at=4)`: the readings give these losses, and the rule stops from a step on; NaN where none is given."""
    from interplay.callback.measuring import Measurer

    def script(losses, stop_at=None):
        def told(measurer, metric):
            return {step: losses.get(step, float("nan")) for step in measurer.record.answers}

        monkeypatch.setattr(Measurer, "losses", told)
        monkeypatch.setattr(
            Measurer, "stops", lambda measurer, _: stop_at is not None and max(measurer.record.answers) >= stop_at
        )

    return script


@pytest.fixture
def saved_steps():
    """`saved_steps(trainer)`: the checkpoints in its output folder, by step."""

    def read(trainer) -> list[int]:
        return sorted(int(p.name.split("-")[1]) for p in Path(trainer.args.output_dir).glob("checkpoint-*"))

    return read


@pytest.fixture
def no_tables(monkeypatch):
    """Measurements and units only: tables and page take most of the time of a tiny training."""
    monkeypatch.setattr("interplay.callback.measuring.Measurer.write_tables", lambda *_, **__: None)
