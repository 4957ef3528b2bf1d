"""What goes wrong with the prompts is told and never costs the training, unless it was asked for; and what is refused at once."""

import warnings

import pytest
import torch

from interplay.errors import InterplayError

pytestmark = pytest.mark.usefixtures("no_tables")
ASKED = {
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_strategy": "steps",
    "save_steps": 2,
    "metric_for_best_model": "eval_interaction_loss",
    "load_best_model_at_end": True,
}


@pytest.fixture
def broken(monkeypatch):
    """`broken(error, first=2)`: measurement fails at the calls from `first` on."""
    from interplay.callback.measuring import Measurer

    def make(error, first=2, last=99):
        real, calls = Measurer.measure, []

        def measure(self, model, step):
            calls.append(step)
            if first <= len(calls) <= last:
                raise error
            return real(self, model, step)

        monkeypatch.setattr(Measurer, "measure", measure)
        return calls

    return make


def told(said) -> list[str]:
    return [str(w.message) for w in said if "interplay" in str(w.message)]


def run(trainer) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.train()
    return told(said)


def test_a_failed_measurement_is_counted_and_told_once(sft, quick, outcome, broken, losses):
    without = outcome(sft("without"))
    broken(ValueError("a prompt\nof two lines"))
    trainer = sft("with", [quick(strict=False)])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert outcome(trainer).weights == without.weights
    (line,) = told(said)
    assert line == (
        "interplay: a measurement failed (ValueError: a prompt); training goes on, this kind is not reported again"
    )
    assert set(losses(trainer)) == {0}
    entries = [e for e in trainer.state.log_history if "interaction_errors" in e]
    assert [(e["step"], e["interaction_errors"]) for e in entries] == [(2, 1), (4, 2), (6, 3)]
    assert all("eval_interaction_loss" not in e for e in entries)


def test_the_trainer_can_choose_where_a_measurement_is_missing(sft, quick, scripted, broken):
    scripted({0: 9.0, 2: 5.0, 6: 7.0})
    broken(torch.OutOfMemoryError("no memory"), first=3, last=3)  # at step 4
    trainer = sft(callbacks=[quick(strict=False)], evaluate=True, **ASKED)
    (line,) = run(trainer)
    assert "a measurement failed (OutOfMemoryError: no memory)" in line
    assert (trainer.state.global_step, trainer.state.best_global_step, trainer.state.best_metric) == (6, 2, 5.0)


def test_no_usable_prompt_switches_it_off(sft, quick, losses):
    rows = [{"prompt": "the of a", "completion": " joy"}] * 3
    trainer = sft(callbacks=[quick(rows, strict=False)], evaluate=True, **ASKED)
    (line,) = run(trainer)
    assert line.startswith("interplay: the prompts cannot be read (no row can be used as a sample of 3 words")
    assert losses(trainer) == {}
    assert trainer.state.global_step == 6
    assert trainer.state.best_global_step is None
    with pytest.raises(InterplayError, match="no row can be used"):
        sft(callbacks=[quick(rows)]).train()


def test_few_prompts_are_told(sft, quick, prompt_rows):
    (line,) = run(sft(callbacks=[quick(prompt_rows[:3])], max_steps=1))
    assert line == "interplay: only 3 prompts can be used: give a dozen or more held-out rows"


def test_strict_raises_and_an_interrupt_always_passes(sft, quick, broken):
    broken(ValueError("broken"), first=2, last=2)
    with pytest.raises(ValueError, match="broken"):
        sft(callbacks=[quick()]).train()
    broken(KeyboardInterrupt())
    trainer = sft("again", [quick(strict=False)])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.state.global_step == 2


def test_a_tracker_that_fails_is_told(sft, quick):
    from transformers import TrainerCallback

    class Bad(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "eval_interaction_loss" in logs:
                raise OSError("the tracker's server is gone")

    (line,) = run(sft(callbacks=[quick(strict=False), Bad()]))
    assert line.startswith("interplay: a tracker refused the numbers (OSError: the tracker's server is gone)")


def test_sharded_weights_are_refused_in_one_line(sft, quick, monkeypatch):
    trainer = sft(callbacks=[quick(strict=False)], max_steps=1)
    next(trainer.model.parameters()).ds_id = 0
    (line,) = run(trainer)
    assert line.startswith("interplay: the prompts cannot be read (the weights are sharded by DeepSpeed ZeRO-3")


def test_a_foreign_folder_is_left_alone(sft, quick, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    (line,) = run(sft(callbacks=[quick(strict=False, folder=tmp_path / "notes")], max_steps=1))
    assert "is not empty and was not written by this callback: give another folder=" in line
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["diary.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"every": 0}, "every is 0"),
        ({"every": True}, "every is True"),
        ({"patience": 0}, "patience is 0: it should be greater than or equal to 1"),
        ({"max_overhead": 0}, "max_overhead is 0: it should be greater than 0"),
        ({"max_overhead": "5%"}, "max_overhead is '5%'"),
        ({"n": 17}, "n is 17: it should be less than or equal to 16"),
        ({"n": 1}, "n is 1"),
        ({"num_prompts": 0}, "num_prompts is 0"),
        ({"target_tokens": None}, "target_tokens is None"),
        ({"seed": -1}, "seed is -1"),
        ({"template": "no place"}, "template"),
        ({"template": 5}, "template is 5: it should be an instance of PromptTemplate"),
        ({"mask": 1.5}, "mask is 1.5"),
        ({"rows": []}, "has no rows"),
        ({"rows": ["a"]}, "a list of str"),
        ({"rows": "no/such/file.jsonl"}, "no such file"),
        ({"rows": 7}, "prompts is a int: give a Dataset, a list of dicts or a file"),
    ],
)
def test_wrong_arguments_are_refused_at_once(quick, arguments, said):
    with pytest.raises(InterplayError) as error:
        quick(**arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
