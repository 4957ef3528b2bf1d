"""The numbers reach trackers and the log history, and nothing of the trainer's own log is lost by it."""

import math

import pytest
import torch
from transformers import TrainerCallback

pytestmark = pytest.mark.usefixtures("no_tables")


class Recorder(TrainerCallback):
    """What a tracker is handed; it fails when it is handed something before it has begun."""

    def __init__(self) -> None:
        self.began, self.seen = False, []

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        assert self.began
        self.seen.append((state.global_step, dict(logs)))
        logs["spoilt"] = "a tracker may write into its own"


@pytest.mark.matrix(1)
@pytest.mark.parametrize("evaluate", [False, True])
def test_a_tracker_behind_and_one_before(sft, quick, losses, evaluate):
    before, behind = Recorder(), Recorder()
    arguments = {"eval_strategy": "steps", "eval_steps": 2} if evaluate else {}
    trainer = sft(callbacks=[before, quick(), behind], evaluate=evaluate, **arguments)
    trainer.train()
    for tracker in (before, behind):
        got = {step: logs["eval_interaction_loss"] for step, logs in tracker.seen if "eval_interaction_loss" in logs}
        assert got == losses(trainer)
        assert [step for step, logs in tracker.seen if "loss" in logs] == [1, 2, 3, 4, 5, 6]
    entries = [e for e in trainer.state.log_history if "eval_interaction_loss" in e]
    assert [e["step"] for e in entries] == [0, 2, 4, 6]
    for entry in entries:
        told = {"probability", "rank", "removed", "preserved", "emerged", "rho", "score_full", "score_empty"}
        assert set(entry) == {"eval_prompts_loss", "eval_interaction_loss", "interaction_overhead", "interaction_seconds",
                              "epoch", "step", *(f"interplay/{name}" for name in told)}  # fmt: skip
        assert all(type(x) in (float, int) and math.isfinite(x) for x in entry.values())
    assert "spoilt" not in str(entries)


def test_tensorboard(sft, quick, losses, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = sft(callbacks=[quick()], report_to=["tensorboard"])
    trainer.train()
    (events,) = (tmp_path / "out").rglob("events.out.tfevents.*")
    found = EventAccumulator(str(events.parent))
    found.Reload()
    got = {event.step: event.value for event in found.Scalars("eval/interaction_loss")}
    assert got == pytest.approx(losses(trainer))


def test_the_plain_trainer_with_the_callback_attached(tiny_folder, tiny_tokenizer, quick, losses, tmp_path):
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    ids = tiny_tokenizer("we had to laugh at the food")["input_ids"]
    rows = [{"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)}] * 4
    arguments = TrainingArguments(
        str(tmp_path / "plain"), max_steps=2, per_device_train_batch_size=2, use_cpu=True, report_to=[], disable_tqdm=True,
        save_strategy="no", logging_steps=1, dataloader_pin_memory=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("qwen2"))
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tiny_tokenizer)
    callback = quick().attach(trainer)
    assert callback.attach(trainer) is callback
    assert trainer.callback_handler.callbacks.count(callback) == 1
    trainer.train()
    assert set(losses(trainer)) == {0, 2}
    assert all(module.training for module in model.modules())
    assert tiny_tokenizer.padding_side == "right"
    assert torch.is_grad_enabled()
