"""`recommend` on trajectories whose answer is known; loss and L1/sd of each sample and step are set exactly."""

import json

import numpy as np
import pandas as pd
import pytest

from interplay.dynamics import trajectory
from interplay.errors import InterplayError
from interplay.verdict import recommend

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
    return trajectory(steps, list(e), list(v), [f"s{i:02}" for i in range(len(c))], resamples=50, draws=2)


def curve(means, samples=12, noise=0.05, seed=0):
    """Prompts differ by factors, and a little (noise) from checkpoint to checkpoint."""
    rng = np.random.default_rng(seed)
    return np.asarray(means) * np.exp(rng.normal(0, 0.5, (samples, 1)) + rng.normal(0, noise, (samples, len(means))))


def task(losses, rows=200):
    return pd.DataFrame({"step": STEPS, "eval_loss": losses, "rows": rows})


def test_build_sets_what_it_says():
    t = build(curve(DIP), loss=np.array([4.0, 3, 2, 1, 2, 3]))
    assert np.allclose(t.samples("l1_per_sd").to_numpy().T, curve(DIP))
    assert np.allclose(t.samples("loss").to_numpy(), np.array([[4.0, 3, 2, 1, 2, 3]]).T)


def test_without_an_eval_set_the_probes_decide():
    got = recommend(build(curve(FLAT), loss=np.array([4.0, 3, 2, 1, 2, 3])))
    assert (got.step, got.basis, got.provisional) == (40, "rule", False)
    assert "12 probe prompts: loss 1.00 nats on them" in got.sentence
    assert got.rivals | {"strength": 0} == {"interactions": 40, "probe_loss": 40, "strength": 0, "last": 160}
    assert "\n" not in got.sentence


def test_a_dip_of_the_strength_moves_the_choice():
    got = recommend(build(curve(DIP), loss=np.array([4.0, 1.3, 1.2, 1.1, 1.05, 1.0])))
    assert got.step == 40
    assert got.rivals["probe_loss"] == 160
    named = {(item.name, item.step): item for item in got.evidence}
    assert len(named) == 10
    assert named["interaction_loss", 40].value == pytest.approx(1.1 * np.exp(np.log(curve(DIP)[:, 3]).mean()))
    assert all(named["above_lowest", step].lo > 0 for step in (10, 20, 80, 160))
    assert named["above_lowest", 40][2:] == (0, 0, 0)


def test_an_eval_loss_of_more_rows_than_probes_is_the_loss():
    t = build(curve(DIP), loss=np.array([4.0, 1, 1, 9, 1, 1]))  # by the probes' own loss, step 40 is the worst
    got = recommend(t, task([9, 2.1, 2.09, 2.05, 2, 2.09]))
    assert got.step == 40
    assert "eval loss 2.05 nats" in got.sentence
    assert "eval loss is lowest at step 80 instead" in got.sentence
    for few in (12, None):  # as few as the probes, or nobody knows how many
        assert recommend(t, task([9, 2.1, 2.09, 2.05, 2, 2.09], rows=few)).step != 40


def test_agreeing_eval_loss_is_not_brought_up():
    assert "instead" not in recommend(build(curve(DIP)), task([9, 2.1, 2.09, 2, 2.05, 2.1])).sentence


def test_a_checkpoint_that_has_not_learnt_the_task_is_not_recommended():
    got = recommend(build(curve([12, 5, 8, 9, 9, 10])), task([9, 8, 3, 2.5, 2, 3.0]))
    assert got.step == 80


def test_the_reference_is_no_candidate():
    assert recommend(build(curve([1.0, 12, 10, 5, 8, 10]))).step == 40


def test_only_what_exists_is_named():
    t = build(curve(DIP))
    assert recommend(t, existing=[20, 160]).step == 20
    assert set(recommend(t, existing=[20, 80, 160]).rivals.values()) <= {20, 80, 160}
    assert recommend(t, existing=[160]).basis == "only"
    with pytest.raises(InterplayError, match="exists any more"):
        recommend(t, existing=[])


def test_pure_noise_says_that_there_is_no_evidence():
    silent = 0
    for seed in range(40):
        got = recommend(build(curve(FLAT, noise=0.3, seed=seed)), resamples=300)
        silent += got.basis == "last"
        if got.basis == "last":
            assert got.step == 160
            assert got.sentence.startswith("No evidence to choose")
            assert "eval loss was not measured" in got.sentence
    assert silent >= 35  # 95 % of 40 is 38


def test_no_evidence_falls_back_to_eval_loss_and_says_so():
    got = recommend(build(curve(FLAT, noise=0.3)), task([9, 2.02, 2.01, 2.01, 2, 2.01]))
    assert (got.step, got.basis) == (80, "eval-loss")
    assert "its eval loss is the lowest" in got.sentence


def test_the_end_of_denoising_is_named_with_an_interval():
    got = recommend(build(curve(DIP)))
    assert got.denoised == {"step": 40, "lo": 40, "hi": 40}
    assert "stops falling at step 40 (95 % interval 40 to 40)" in got.sentence
    assert got.stop_step is None
    assert recommend(build(curve([9, 5, 8, 8, 8, 8]))).stop_step == 80


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
    assert got.step == 40
    assert {item.step for item in got.evidence} == {20, 40, 80, 160}
    assert recommend(build(np.full((5, 6), np.nan))).basis == "last"


def test_task_metrics_may_be_absent_nan_or_for_other_steps():
    t = build(curve(FLAT, noise=0.3))
    assert recommend(t, pd.DataFrame({"step": STEPS})).basis == "last"
    assert recommend(t, task([np.nan] * 6)).basis == "last"
    some = pd.DataFrame({"step": [10, 40, 999], "eval_loss": [2.0, np.nan, 1.0], "accuracy": [0.5, 0.5, 0.9]})
    assert recommend(t, some).rivals == recommend(t).rivals | {"eval_loss": 10, "accuracy": 10}
    with pytest.raises(InterplayError, match="expected a column 'step'"):
        recommend(t, pd.DataFrame({"loss": [1.0]}))


def test_to_dict_is_json_and_deterministic():
    one, two = (recommend(build(curve(DIP))).to_dict() for _ in range(2))
    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert {"step", "rule", "provisional", "sentence", "evidence", "rivals", "basis", "denoised", "stop_step"} == set(
        one
    )
