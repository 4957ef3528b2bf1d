"""`recommend` on trajectories whose answer is known; loss and L1/sd of each sample and step are set exactly."""

import json

import numpy as np
import pandas as pd
import pytest

from interplay.dynamics import trajectory
from interplay.errors import InterplayError
from interplay.recommendation import recommend

STEPS = [0, 10, 20, 40, 80, 160]
DIP = [12.0, 10.0, 8.0, 5.0, 8.0, 12.0]  # L1/sd
FLAT = [10.0] * 6


def build(strength, steps=STEPS, loss=1.0):
    """A trajectory of L1/sd `strength` [samples, T] and loss [T] or a number: the scores are 0 but for the whole prompt."""
    c = np.asarray(strength, dtype=float)
    v = np.zeros((*c.shape, 4))
    v[..., 3] = -np.log(np.expm1(np.broadcast_to(loss, c.shape)))  # -log sigmoid of it is the loss
    v[np.isnan(c)] = 0.0  # a constant score: L1/sd is not defined
    e = np.zeros((*c.shape, 2, 4))
    e[..., 0, 1] = np.nan_to_num(c) * v.std(axis=-1)
    return trajectory(steps, list(e), list(v), [f"s{i:02}" for i in range(len(c))], draws=2)


def curve(means, samples=12, noise=0.05, seed=0):
    """Prompts differ by factors, and a little (noise) from checkpoint to checkpoint."""
    rng = np.random.default_rng(seed)
    return np.asarray(means) * np.exp(rng.normal(0, 0.5, (samples, 1)) + rng.normal(0, noise, (samples, len(means))))


def task(losses, **more):
    return pd.DataFrame({"step": STEPS, "eval_loss": losses, **more})


def test_build_sets_what_it_says():
    t = build(curve(DIP), loss=np.array([4.0, 3, 2, 1, 2, 3]))
    assert np.allclose(t.samples("l1_per_sd").to_numpy().T, curve(DIP))
    assert np.allclose(t.samples("loss").to_numpy(), np.array([[4.0, 3, 2, 1, 2, 3]]).T)


def test_labelled_eval_rows_decide_by_accuracy():
    got = recommend(build(curve(DIP)), task([9, 2.1, 2.0, 2.05, 2.1, 2.2], accuracy=[0.1, 0.3, 0.4, 0.45, 0.5, 0.48]))
    assert (got.step, got.basis) == (80, "accuracy")
    assert got.sentence.startswith(
        "Keep step 80: its eval accuracy, 0.5, is the highest of 5 checkpoints; eval loss is lowest at step 20 "
    )
    assert "the interaction loss is lowest at step 40 instead." in got.sentence
    assert [(e.step, e.value) for e in got.evidence if e.name == "accuracy"][-1] == (160, 0.48)
    assert "\n" not in got.sentence


def test_ties_are_said_and_where_all_are_the_same_the_next_figure_decides():
    got = recommend(build(curve(DIP)), task([9, 2.1, 2.0, 2.05, 2.1, 2.2], accuracy=[0.1, 0.3, 0.5, 0.45, 0.5, 0.5]))
    assert (got.step, got.basis, got.rivals["accuracy"]) == (20, "accuracy", 20)
    assert "0.5, is the highest of 5 checkpoints (as at steps 80, 160; the earliest is kept)" in got.sentence
    got = recommend(build(curve(DIP)), task([9, 2.1, 2.0, 2.05, 2.1, 2.2], accuracy=[0.1, *[0.25] * 5]))
    assert (got.step, got.basis) == (20, "eval-loss")
    assert got.sentence.startswith(
        "Keep step 20: all checkpoints have the same eval accuracy, 0.25; its eval loss, 2 nats"
    )
    assert "accuracy" not in got.rivals
    got = recommend(build(curve(FLAT)), task([np.nan] * 6, accuracy=[0.25] * 6))
    assert got.basis == "last"
    assert got.sentence.startswith(
        "No evidence to choose: all checkpoints have the same eval accuracy, 0.25, so step 160"
    )


def test_without_labels_the_lowest_eval_loss_decides():
    got = recommend(build(curve(DIP)), task([9, 2.1, 2.09, 2.05, 2, 2.09]))
    assert (got.step, got.basis) == (80, "eval-loss")
    assert "the interaction loss is lowest at step 40 instead" in got.sentence
    assert "instead" not in recommend(build(curve(DIP)), task([9, 2.1, 2.09, 2, 2.05, 2.1])).sentence


def test_without_eval_rows_there_is_no_evidence_and_the_last_is_named():
    got = recommend(build(curve(FLAT), loss=np.array([4.0, 3, 2, 1, 2, 3])))
    assert (got.step, got.basis) == (160, "last")
    assert got.sentence.startswith(
        "No evidence to choose: no eval set was given, so step 160 is simply the last checkpoint. Interaction loss is "
        "lowest at step 40; in our study that choice had lower test loss but also lower accuracy"
    )
    assert got.rivals | {"strength": 0} == {"interactions": 40, "prompt_loss": 40, "strength": 0, "last": 160}
    agreeing = recommend(build(curve(FLAT), loss=np.array([4.0, 3, 2, 1.5, 1, 0.5])))
    assert "checkpoint. Interaction loss is lowest at step 160. " in agreeing.sentence


def test_the_interaction_loss_stands_beside_with_its_intervals():
    got = recommend(build(curve(DIP), loss=np.array([4.0, 1.3, 1.2, 1.1, 1.05, 1.0])))
    assert got.rivals["interactions"] == 40
    assert got.rivals["prompt_loss"] == 160
    named = {(item.name, item.step): item for item in got.evidence}
    assert len(named) == 10
    assert named["interaction_loss", 40].value == pytest.approx(1.1 * np.exp(np.log(curve(DIP)[:, 3]).mean()))
    assert all(named["above_lowest", step].lo > 0 for step in (10, 20, 80, 160))
    assert named["above_lowest", 40][2:] == (0, 0, 0)


def test_the_reference_is_no_candidate():
    assert recommend(build(curve([1.0, 12, 10, 5, 8, 10]))).rivals["interactions"] == 40
    assert recommend(build(curve(FLAT)), task([1, 9, 8, 7, 6, 6.5])).step == 80


def test_only_what_exists_is_named():
    t = build(curve(DIP))
    assert recommend(t, task([9, 2.1, 2.05, 2, 2.2, 2.1]), existing=[20, 160]).step == 20
    assert recommend(t, existing=[20, 80]).step == 80
    assert set(recommend(t, existing=[20, 80, 160]).rivals.values()) <= {20, 80, 160}
    assert recommend(t, existing=[160]).basis == "only"
    stopped = build(curve([9, 5, 8, 8, 8, 8]))
    assert recommend(stopped, existing=[10, 160]).stop_step == 80  # patience saw those that are gone, too
    with pytest.raises(InterplayError, match="exists any more"):
        recommend(t, existing=[])


@pytest.mark.soak
def test_pure_noise_is_said_to_tell_nothing_apart():
    silent = sum(
        "cannot tell the 5 checkpoints apart"
        in recommend(build(curve(FLAT, noise=0.3, seed=seed)), resamples=200).sentence
        for seed in range(30)
    )
    assert silent >= 25  # 95 % of 30 is 28


def test_the_end_of_denoising_is_named_with_an_interval():
    got = recommend(build(curve(DIP)))
    assert got.denoised == {"step": 40, "lo": 40, "hi": 40}
    assert "is lowest at step 40 (95 % interval 40 to 40)" in got.sentence
    assert got.stop_step is None
    assert recommend(build(curve([9, 5, 8, 8, 8, 8]))).stop_step == 80


def test_one_trained_checkpoint_or_none():
    got = recommend(build(curve(DIP)[:, :2], STEPS[:2]))
    assert (got.step, got.basis, got.evidence) == (10, "only", ())
    assert "nothing was compared" in got.sentence
    got = recommend(build(curve(DIP)[:, :1], [0]))
    assert (got.step, got.basis) == (0, "only")
    assert "nothing was compared" in got.sentence


def test_one_prompt_is_no_evidence():
    got = recommend(build(curve(DIP, samples=1)))
    assert got.basis == "last"
    assert "inf" not in got.sentence
    json.dumps(got.to_dict(), allow_nan=False)


def test_nan_samples_and_steps_are_left_out():
    c = curve(DIP)
    c[0, 4] = np.nan  # one prompt undefined at one step: left out of the intervals
    c[:, 1] = np.nan  # a step with no prompt: not compared
    got = recommend(build(c))
    assert got.rivals["interactions"] == 40
    assert {item.step for item in got.evidence} == {20, 40, 80, 160}
    assert recommend(build(np.full((5, 6), np.nan))).basis == "last"


def test_task_metrics_may_be_absent_nan_or_for_other_steps():
    t = build(curve(FLAT, noise=0.3))
    assert recommend(t, pd.DataFrame({"step": STEPS})).basis == "last"
    assert recommend(t, task([np.nan] * 6)).basis == "last"
    some = pd.DataFrame({"step": [10, 40, 999], "eval_loss": [2.0, np.nan, 1.0], "accuracy": [0.5, 0.6, 0.9]})
    assert recommend(t, some).rivals == recommend(t).rivals | {"eval_loss": 10, "accuracy": 40}
    assert recommend(t, some).step == 40
    with pytest.raises(InterplayError, match="expected a column 'step'"):
        recommend(t, pd.DataFrame({"loss": [1.0]}))


def test_to_dict_is_json_and_deterministic():
    one, two = (recommend(build(curve(DIP))).to_dict() for _ in range(2))
    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert {"step", "rule", "sentence", "evidence", "rivals", "basis", "denoised", "stop_step"} == set(one)
