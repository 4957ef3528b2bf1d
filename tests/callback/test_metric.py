"""The metric among the trainer's own: best model, best checkpoint, early stopping; and without an eval set."""

import math
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback

pytestmark = pytest.mark.usefixtures("no_tables")
VALLEY = {0: 9.0, 2: 5.0, 4: 3.0, 6: 4.0}
ASKED = {
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_strategy": "steps",
    "save_steps": 2,
    "metric_for_best_model": "eval_interaction_loss",
}


def holds(trainer, step: int) -> bool:
    """Whether the trainer's adapter is the one of a checkpoint."""
    kept = load_file(Path(trainer.args.output_dir) / f"checkpoint-{step}" / "adapter_model.safetensors")
    now = dict(trainer.model.named_parameters())
    return all(torch.equal(t, now[name.replace(".weight", ".default.weight")]) for name, t in kept.items())


@pytest.mark.matrix("steps")
@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_the_best_model_is_loaded_at_the_end(sft, quick, scripted, losses, saved_steps, strategy):
    scripted(VALLEY)
    trainer = sft(
        callbacks=[quick()], evaluate=True, **ASKED | {"save_strategy": strategy}, load_best_model_at_end=True
    )
    trainer.train()
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (4, 3.0)
    assert type(trainer.state.best_metric) is float
    assert holds(trainer, 4)
    assert losses(trainer) == VALLEY  # each once, evaluated or not
    assert saved_steps(trainer) == ([2, 4, 6] if strategy == "steps" else [2, 4])


def test_early_stopping_sees_it_once_an_evaluation(sft, quick, scripted, prompt_rows):
    scripted(VALLEY | {4: 6.0, 6: 7.0})
    sets = {"a": prompt_rows[:2], "b": prompt_rows[2:]}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer = sft(
            callbacks=[quick(), EarlyStoppingCallback(2)], evaluate=sets, **ASKED, load_best_model_at_end=True
        )
        trainer.train()
    assert trainer.state.global_step == 6  # the second evaluation without a new low, not the second set
    assert trainer.state.best_global_step == 2
    assert not [w for w in said if "interplay" in str(w.message)]


def test_early_stopping_stops(sft, quick, scripted):
    scripted(VALLEY | {4: 6.0})
    trainer = sft(callbacks=[quick(), EarlyStoppingCallback(1)], evaluate=True, **ASKED, load_best_model_at_end=True)
    trainer.train()
    assert trainer.state.global_step == 4
    assert holds(trainer, 2)


def test_wrong_arguments_are_told(sft, quick, scripted):
    scripted(VALLEY)
    trainer = sft(
        callbacks=[EarlyStoppingCallback(9), quick()],
        evaluate=True,
        **ASKED,
        greater_is_better=True,
        load_best_model_at_end=True,
        max_steps=2,
    )
    with pytest.warns(UserWarning, match="interplay") as said:
        trainer.train()
    told = [str(w.message) for w in said if "interplay" in str(w.message)]
    assert len([line for line in told if "greater_is_better=True" in line]) == 1
    assert len([line for line in told if "EarlyStoppingCallback comes before" in line]) == 1


def test_what_was_not_measured_is_never_best(sft, quick, scripted, losses):
    scripted({0: 9.0, 2: math.nan, 4: 8.0, 6: math.nan})
    trainer = sft(callbacks=[quick()], evaluate=True, **ASKED, load_best_model_at_end=True)
    trainer.train()
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (4, 8.0)
    assert losses(trainer) == {0: 9.0, 4: 8.0}


@pytest.mark.soak
def test_another_metric_is_left_alone(sft, quick, scripted):
    scripted(VALLEY)
    seen = []
    trainer = sft(callbacks=[quick()], evaluate=True, **ASKED | {"metric_for_best_model": "eval_loss", "eval_steps": 1})
    trainer.compute_metrics = None
    evaluate = trainer.evaluate
    trainer.evaluate = lambda **kwargs: seen.append(evaluate(**kwargs)) or seen[-1]
    trainer.train()
    assert [m.get("eval_interaction_loss") for m in seen] == [None, 5.0, None, 3.0, None, 4.0]
    assert trainer.state.best_metric == min(m["eval_loss"] for m in seen)


@pytest.mark.matrix(1)
@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (
            {"save_strategy": "best", "metric_for_best_model": "interaction_loss", "load_best_model_at_end": True},
            [2, 4],
        ),
        ({"save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}, [4, 8]),
        ({"save_strategy": "epoch", "save_total_limit": 2}, [4, 8]),
    ],
    ids=["best", "steps", "epoch"],
)
def test_without_an_eval_set_the_best_is_kept(sft, quick, scripted, saved_steps, arguments, left):
    scripted(VALLEY | {8: 5.0})
    trainer = sft(callbacks=[quick()], max_steps=8, **arguments)
    trainer.train()
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (4, 3.0)
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")
    assert saved_steps(trainer) == left
    assert holds(trainer, 4) == ("load_best_model_at_end" in arguments)


@pytest.mark.soak
def test_only_watching_keeps_the_trainers_own_checkpoints(sft, quick, scripted, saved_steps):
    scripted(VALLEY, stop_at=2)
    trainer = sft(callbacks=[quick(stop=False)], save_strategy="steps", save_steps=2, save_total_limit=1)
    trainer.train()
    assert trainer.state.best_global_step is None
    assert saved_steps(trainer) == [6]


def test_the_rule_stops_and_the_step_is_saved(sft, quick, scripted, saved_steps, losses):
    scripted(VALLEY, stop_at=4)
    trainer = sft(callbacks=[quick()], save_strategy="steps", save_steps=5)
    trainer.train()
    assert trainer.state.global_step == 4
    assert saved_steps(trainer) == [4]
    assert losses(trainer) == {0: 9.0, 2: 5.0, 4: 3.0}


@pytest.mark.soak
def test_the_rule_stops_at_an_evaluation_by_epoch(sft, quick, scripted, saved_steps):
    scripted({0: 9.0, 4: 5.0, 8: 6.0}, stop_at=8)
    asked = {"eval_strategy": "epoch", "save_strategy": "epoch", "metric_for_best_model": "eval_interaction_loss"}
    trainer = sft(callbacks=[quick(every=50)], evaluate=True, max_steps=12, load_best_model_at_end=True, **asked)
    trainer.train()
    assert trainer.state.global_step == 8
    assert saved_steps(trainer) == [4, 8]
    assert holds(trainer, 4)
