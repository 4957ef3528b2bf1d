"""The rule on trajectories whose answer is known. C of each sample and step is set exactly, through the scores' spread."""

import json

import numpy as np
import pandas as pd
import pytest

from interplay.dynamics import trajectory
from interplay.errors import InterplayError
from interplay.verdict import recommend
from interplay.verdict.rule import simultaneous

STEPS = [0, 10, 20, 40, 80, 160]


def build(c, steps=STEPS):
    """A trajectory whose cancelled_per_sd is c `[samples, T]`: effects +c/2 and -c/2 cancel, scores have sd 1."""
    c = np.asarray(c, dtype=float)
    e = np.zeros((*c.shape, 2, 4))
    e[..., 0, 1], e[..., 0, 2] = c / 2, -c / 2
    v = np.broadcast_to([1.0, -1.0, 1.0, -1.0], (*c.shape, 4)).copy()
    v[np.isnan(c)] = 0.0  # a constant score: C is not defined
    e = np.nan_to_num(e)
    return trajectory(steps, list(e), list(v), [f"s{i:02}" for i in range(len(c))], resamples=50, draws=2)


def curve(means, samples=12, noise=0.3, seed=0):
    """Prompts differ a lot from each other (sd 3), and a little (noise) from checkpoint to checkpoint."""
    rng = np.random.default_rng(seed)
    return np.asarray(means) + 20 + rng.normal(0, 3, (samples, 1)) + rng.normal(0, noise, (samples, len(means)))


DIP = [5.0, 8.0, 4.0, 0.0, 4.0, 9.0]


def test_build_sets_c_exactly():
    c = curve(DIP)
    assert np.allclose(build(c).samples("cancelled_per_sd").to_numpy().T, c)


def test_a_dip_and_rise_picks_the_dip():
    got = recommend(build(curve(DIP)), pd.DataFrame({"step": STEPS, "eval_loss": [9, 2.1, 2.09, 2.08, 2, 2.09]}))
    assert (got.step, got.basis, got.provisional) == (40, "rule", True)
    assert got.rivals == {"eval_loss": 80, "l1": 40, "interactions": 40, "last": 160}
    assert "Keep step 40" in got.sentence
    assert "distinguishably below every earlier one" in got.sentence
    assert "eval loss is lowest at step 80 instead" in got.sentence
    assert "provisional" in got.sentence
    assert "\n" not in got.sentence
    named = {(item.name, item.step): item for item in got.evidence}
    assert len(named) == 10
    assert named["cancelled_per_sd", 40].value == pytest.approx(curve(DIP)[:, 3].mean())
    for step in (10, 20, 80, 160):
        assert named["above_lowest", step].lo > 0
    assert named["above_lowest", 40][2:] == (0, 0, 0)


def test_the_reference_is_no_candidate():
    assert recommend(build(curve([-30.0, 8, 4, 0, 4, 9]))).step == 40


def test_a_decrease_picks_the_last_or_the_earliest_that_is_as_good():
    assert recommend(build(curve([9.0, 8, 6, 4, 2, 0]))).step == 160
    c = curve([9.0, 8, 6, 0.05, 0.0, 0.0])
    got = recommend(build(c))
    assert got.step == 40
    lowest = [20, 40, 80, 160][int(c[:, 2:].mean(0).argmin())]
    if lowest != 40:
        assert "earliest whose" in got.sentence
        assert f"at step {lowest}" in got.sentence


def test_agreeing_eval_loss_is_not_brought_up():
    got = recommend(build(curve(DIP)), pd.DataFrame({"step": STEPS, "eval_loss": [9, 2.1, 2.09, 2, 2.05, 2.1]}))
    assert got.step == 40
    assert "eval loss" not in got.sentence


def test_a_checkpoint_that_has_not_learnt_the_task_is_not_recommended():
    """The interactions alone would keep step 40, whose eval loss is a quarter above the lowest."""
    losses = pd.DataFrame({"step": STEPS, "eval_loss": [9, 5, 3, 2.5, 2, 3.0]})
    got = recommend(build(curve(DIP)), losses)
    assert (got.step, got.basis, got.provisional) == (80, "rule", True)
    assert got.rivals["interactions"] == 40
    assert "no other checkpoint comes within 5% of it; the interactions alone would choose step 40." in got.sentence
    silent = recommend(build(curve([0.0] * 6)), losses)
    assert silent.step == 80
    assert "the interactions alone give no evidence to choose" in silent.sentence


def test_interactions_choose_among_checkpoints_of_like_eval_loss():
    losses = pd.DataFrame({"step": STEPS, "eval_loss": [9, 5, 3, 2.2, 2.05, 2.0]})  # 80 and 160 are within 5 %
    got = recommend(build(curve(DIP)), losses)
    assert (got.step, got.basis) == (80, "rule")
    assert "of the 2 checkpoints within 5% of the lowest eval loss, it has the lowest" in got.sentence
    assert "eval loss is lowest at step 160 instead" in got.sentence
    assert {item.step for item in got.evidence} == {80, 160}


def test_pure_noise_says_that_there_is_no_evidence():
    silent = 0
    for seed in range(40):
        got = recommend(build(curve([0.0] * 6, noise=1.0, seed=seed)), resamples=300)
        silent += got.basis == "last"
        if got.basis == "last":
            assert got.step == 160
            assert got.sentence.startswith("No evidence to choose")
            assert "eval loss was not measured" in got.sentence
    assert silent >= 35  # 95 % of 40 is 38; plain paired intervals stay silent in about 16


def test_no_evidence_falls_back_to_eval_loss_and_says_so():
    got = recommend(build(curve([0.0] * 6)), pd.DataFrame({"step": STEPS, "eval_loss": [9, 2.1, 2.1, 2.1, 2, 2.1]}))
    assert (got.step, got.basis) == (80, "eval-loss")
    assert "its eval loss is the lowest" in got.sentence


def test_ties_take_the_earliest():
    c = np.array([[5.0, 7, 3, 3, 3, 8]]) + np.arange(10)[:, None] * 0.1
    got = recommend(build(c))
    assert (got.step, got.basis) == (20, "rule")
    same = recommend(build(np.full((8, 6), 4.0)))
    assert same.basis == "last"


def test_one_trained_checkpoint_or_none():
    got = recommend(build(curve(DIP)[:, :2], STEPS[:2]))
    assert (got.step, got.basis, got.evidence) == (10, "only", ())
    assert "nothing was compared" in got.sentence
    got = recommend(build(curve(DIP)[:, :1], [0]))
    assert (got.step, got.basis) == (0, "only")
    assert "nothing was compared" in got.sentence


def test_minimum_step():
    assert recommend(build(curve(DIP)), minimum_step=80).step == 80
    assert recommend(build(curve(DIP)), minimum_step=160).basis == "only"
    with pytest.raises(InterplayError, match="minimum_step 161 leaves no checkpoint"):
        recommend(build(curve(DIP)), minimum_step=161)


@pytest.mark.parametrize("samples", [1, 2])
def test_too_few_prompts_are_no_evidence(samples):
    got = recommend(build(curve(DIP, samples=samples)))
    assert got.basis == "last"
    assert "too few" in got.sentence or "fewer than two prompts" in got.sentence
    assert "inf" not in got.sentence
    json.dumps(got.to_dict(), allow_nan=False)


def test_nan_samples_and_steps_are_left_out():
    c = curve(DIP)
    c[0, 4] = np.nan  # one prompt undefined at one step: left out everywhere
    c[:, 1] = np.nan  # a step with no prompt: not compared
    got = recommend(build(c))
    assert got.step == 40
    assert {item.step for item in got.evidence} == {20, 40, 80, 160}
    assert "11 prompts" in got.sentence
    assert recommend(build(np.full((5, 6), np.nan))).basis == "last"


def test_task_metrics_may_be_absent_nan_or_for_other_steps():
    t = build(curve([0.0] * 6))
    assert recommend(t, pd.DataFrame({"step": STEPS})).basis == "last"
    assert recommend(t, pd.DataFrame({"step": STEPS, "eval_loss": [np.nan] * 6})).basis == "last"
    task = pd.DataFrame({"step": [10, 40, 999], "eval_loss": [2.0, np.nan, 1.0], "accuracy": [0.5, 0.5, 0.9]})
    assert recommend(t, task).rivals == {"eval_loss": 10, "accuracy": 10, "l1": recommend(t).rivals["l1"], "last": 160}
    with pytest.raises(InterplayError, match="expected a column 'step'"):
        recommend(t, pd.DataFrame({"loss": [1.0]}))


def test_to_dict_is_json_and_deterministic():
    one, two = (recommend(build(curve(DIP))).to_dict() for _ in range(2))
    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert {"step", "rule", "provisional", "sentence", "evidence", "rivals", "basis"} == set(one)
    assert one["provisional"] is True


def test_simultaneous_intervals_rarely_find_a_difference_in_noise():
    rng = np.random.default_rng(0)
    found = plain = 0
    for _ in range(200):
        c = rng.normal(size=(12, 6))
        lowest = int(c.mean(0).argmin())
        found += bool((simultaneous(c, lowest, 200, rng)[1] > 0).any())
        counts = rng.multinomial(12, np.full(12, 1 / 12), size=200) / 12
        plain += bool((np.quantile(counts @ (c - c[:, [lowest]]), 0.025, axis=0) > 0).any())
    assert found <= 20  # 5 % of 200 is 10
    assert plain >= 60  # why plain paired intervals will not do
