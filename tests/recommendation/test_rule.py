"""`recommend` on trajectories whose answer is known; loss and L1/sd of each sample and step are set exactly."""

import json

import numpy as np
import pandas as pd
import pytest

from interplay.dynamics import trajectory
from interplay.errors import InterplayError
from interplay.recommendation.noise import compare
from interplay.recommendation.result import Recommendation
from interplay.recommendation.rule import recommend

STEPS = [0, 10, 20, 40, 80, 160]
DIP = [12.0, 10.0, 8.0, 5.0, 8.0, 12.0]  # L1/sd
FLAT = [10.0] * 6


def build(strength, steps=STEPS, loss=1.0, **more):
    """A trajectory of L1/sd `strength` [samples, T] and loss [T] or a number: the scores are 0 but for the whole prompt."""
    c = np.asarray(strength, dtype=float)
    v = np.zeros((*c.shape, 4))
    v[..., 3] = -np.log(np.expm1(np.broadcast_to(loss, c.shape)))  # -log sigmoid of it is the loss
    v[np.isnan(c)] = 0.0  # a constant score: L1/sd is not defined
    e = np.zeros((*c.shape, 2, 4))
    e[..., 0, 1] = np.nan_to_num(c) * v.std(axis=-1)
    return trajectory(steps, list(e), list(v), [f"s{i:02}" for i in range(len(c))], draws=2, **more)


def curve(means, samples=12, noise=0.05, seed=0):
    """Prompts differ by factors, and a little (noise) from checkpoint to checkpoint."""
    rng = np.random.default_rng(seed)
    return np.asarray(means) * np.exp(rng.normal(0, 0.5, (samples, 1)) + rng.normal(0, noise, (samples, len(means))))


def task(losses, **more):
    return pd.DataFrame({"step": STEPS, "eval_loss": losses, **more})


def right(counts, n=200):
    """Row by row, right in so many of n rows; the rows that a better checkpoint gains come on top of those of a worse one."""
    return pd.DataFrame([np.arange(n) < count for count in counts], index=STEPS[: len(counts)]) * 1.0


def by_rows(counts, n=200, steps=None, losses=None, **more):
    """`recommend` on accuracies of n rows, and if given eval losses [steps, rows]."""
    hits = right(counts, n)
    frame = pd.DataFrame({"step": hits.index, "accuracy": hits.mean(axis=1)})
    tables = {"accuracy": hits}
    if losses is not None:
        tables["eval_loss"] = pd.DataFrame(losses, index=hits.index)
        frame["eval_loss"] = tables["eval_loss"].mean(axis=1)
    frame = frame if steps is None else frame[frame["step"].isin(steps)]
    track = build(curve(DIP)[:, : len(counts)], STEPS[: len(counts)])
    return recommend(track, frame, rows=tables, source="eval rows of 'dev.jsonl'", **more)


def test_build_sets_what_it_says():
    t = build(curve(DIP), loss=np.array([4.0, 3, 2, 1, 2, 3]))
    assert np.allclose(t.samples("l1_per_sd").to_numpy().T, curve(DIP))
    assert np.allclose(t.samples("loss").to_numpy(), np.array([[4.0, 3, 2, 1, 2, 3]]).T)


def test_labelled_eval_rows_decide_by_accuracy():
    got = recommend(build(curve(DIP)), task([9, 2.1, 2.0, 2.05, 2.1, 2.2], accuracy=[0.1, 0.3, 0.4, 0.45, 0.5, 0.48]))
    assert (got.step, got.basis) == (80, "accuracy")
    assert got.sentence.startswith(
        "Keep step 80: eval accuracy 0.5 on eval rows, the highest of the base model and 5 checkpoints; "
        "eval loss is lowest at step 20 and the interaction loss is lowest at step 40 instead. "
        "Noise is not known: there are no figures of single rows."
    )
    assert [(e.step, e.value) for e in got.evidence if e.name == "accuracy"][-1] == (160, 0.48)
    assert "\n" not in got.sentence


def test_ties_are_said_and_the_next_figure_decides_among_them():
    got = recommend(build(curve(DIP)), task([9, 2.1, 2.0, 2.05, 1.9, 1.8], accuracy=[0.1, 0.3, 0.5, 0.45, 0.5, 0.4]))
    assert (got.step, got.basis, got.rivals["accuracy"], got.rivals["eval_loss"]) == (80, "eval-loss", 20, 160)
    assert got.sentence.startswith(
        "Keep step 80: eval accuracy cannot tell step 20 from step 80 on eval rows; of these, eval loss 1.9 nats on eval rows, "
        "the lowest of 2 checkpoints; the interaction loss is lowest at step 40 instead."
    )
    assert {e.name for e in got.evidence} >= {"accuracy", "eval_loss"}
    got = recommend(build(curve(DIP)), task([9, 2.1, 2.0, 2.05, 2.1, 2.2], accuracy=[0.25] * 6))
    assert (got.step, got.basis) == (20, "eval-loss")
    assert "accuracy" not in got.rivals
    got = recommend(build(curve(FLAT)), task([np.nan] * 6, accuracy=[0.25] * 6))
    assert (got.step, got.basis, got.tied) == (0, "base", tuple(STEPS))
    assert got.sentence.startswith(
        "No checkpoint is shown to beat the base model: eval accuracy 0.25 on eval rows, not to "
    )


def test_loss_decides_among_what_few_rows_cannot_tell_apart_by_accuracy():
    """As in a short training that still gets better: .38 and .52 of 96 rows are not told apart, the losses are."""
    losses = np.random.default_rng(0).exponential(1.0, (1, 96)) * [[4.0], [2.3], [1.6], [1.1], [0.85], [0.75]]
    got = by_rows([26, 31, 27, 42, 47, 50], n=96, losses=losses)
    assert (got.step, got.basis, got.tied) == (160, "eval-loss", (160,))
    worse = by_rows(
        [50, 47, 48], n=96, losses=np.random.default_rng(0).exponential(1.0, (1, 96)) * [[1.0], [3.0], [4.0]]
    )
    assert (worse.step, worse.basis) == (0, "base")
    assert worse.sentence.startswith(
        "No checkpoint beats the base model: eval accuracy cannot tell the base model from steps 10, 20"
    )


def test_worse_than_the_base_model_is_said():
    got = by_rows([180, 100, 102, 98])
    assert (got.step, got.basis, got.tied, got.detectable) == (0, "base", (0,), None)
    assert got.sentence.startswith(
        "No checkpoint beats the base model: eval accuracy 0.9 on 200 eval rows of 'dev.jsonl', the highest of the base model "
        "and 3 checkpoints, beyond noise"
    )
    assert {e.step: e.value for e in got.evidence if e.name == "accuracy"} == {0: 0.9, 10: 0.5, 20: 0.51, 40: 0.49}
    assert got.rivals["accuracy"] == 20, "what the highest accuracy would keep among the checkpoints"
    one = by_rows([180, 100])
    assert (one.step, one.basis) == (0, "base"), "the only checkpoint is compared, too"
    assert by_rows([100, 180]).step == 10


def test_a_base_model_that_was_not_measured_is_missed():
    got = by_rows([180, 100, 160], steps=[10, 20])
    assert (got.step, got.basis) == (20, "accuracy")
    assert "The base model's eval accuracy is not known, so whether training helped is not." in got.sentence


def test_a_lead_of_one_row_of_200_is_none():
    got = by_rows([40, 100, 100, 101, 100, 99])
    assert (got.step, got.basis, got.tied) == (10, "accuracy", (10, 20, 40, 80, 160))
    assert (
        "eval accuracy 0.5 on 200 eval rows of 'dev.jsonl', not to be told from steps 20, 40, 80, 160 " in got.sentence
    )
    assert "(highest: 0.505 at step 40); the earliest is kept; a difference under 0.0" in got.sentence
    assert 8 / 200 <= got.detectable <= 20 / 200, "seven rows gained and none lost are what a sign test needs at 5 %"
    assert Recommendation.from_dict(json.loads(json.dumps(got.to_dict()))).to_dict() == got.to_dict()


def test_a_lead_that_the_rows_show_is_kept():
    assert by_rows([40, 100, 100, 130, 100, 99]).tied == (40,)
    assert by_rows([40, 100, 130, 129, 131, 99]).step == 20, "the earliest of the three best"
    assert by_rows([2, 5, 5, 6, 5, 5], n=10, losses=np.tile([[9.0], [3], [2], [1], [3], [3]], 10)).step == 40, (
        "by the loss"
    )


def test_four_ties_at_one_keep_the_earliest():
    got = by_rows([40, 200, 200, 200, 200])
    assert (got.step, got.tied) == (10, (10, 20, 40, 80))
    assert "eval accuracy 1 on 200 eval rows of 'dev.jsonl', not to be told from steps 20, 40, 80; " in got.sentence


def test_eval_loss_alone_is_tested_on_the_same_rows():
    """Rows differ far more than checkpoints do, so only a paired test finds that step 40 is better by a twentieth."""
    rng = np.random.default_rng(0)
    losses = np.exp(rng.normal(0, 1, 100)) + rng.normal(0, 0.1, (6, 100)) + [[5.0], [1], [0.5], [0], [0.02], [0.4]]
    frame = pd.DataFrame(losses, index=STEPS)
    got = recommend(build(curve(DIP)), task(losses.mean(axis=1)), rows={"eval_loss": frame})
    assert (got.step, got.basis, got.tied) == (40, "eval-loss", (40, 80))
    assert 0.02 < got.detectable < 0.1
    assert "not to be told from step 80" in got.sentence
    assert "100 eval rows" in got.sentence


def test_a_few_rows_are_no_evidence():
    got = by_rows([1, 2, 3, 4], n=4)
    assert (got.step, got.basis) == (40, "last")
    assert got.sentence.startswith(
        "No evidence to choose: eval accuracy cannot tell the base model and 3 checkpoints apart on 4 eval rows of 'dev.jsonl', "
        "which are too few, so step 40 is simply the last checkpoint."
    )


def test_a_log_without_rows_has_the_binomial_error_of_their_number():
    t = build(curve(DIP))
    got = recommend(t, task([np.nan] * 6, accuracy=[0.1, 0.5, 0.52, 0.6, 0.61, 0.59], rows=[200.0] * 6))
    assert (got.step, got.tied) == (10, (10, 20, 40, 80, 160))
    assert "Noise is the binomial error of these rows, not paired" in got.sentence
    assert 0.15 < got.detectable < 0.25, "unpaired, the same difference takes more rows"
    got = recommend(t, task([np.nan] * 6, accuracy=[0.1, 0.5, 0.52, 0.6, 0.61, 0.59], rows=[20000.0] * 6))
    assert got.tied == (40, 80)


@pytest.mark.parametrize("kind", ["accuracy, alike", "accuracy, apart", "loss"])
def test_nothing_but_noise_is_seldom_told_apart(kind):
    """Five checkpoints that differ by chance alone; the best of them is found by looking."""
    wrong = 0
    for seed in range(150):
        rng = np.random.default_rng([seed, 3])
        x = (rng.random((5, 80)) < 0.6) * 1.0
        if kind == "accuracy, alike":  # one row of twelve changes between two checkpoints
            x = np.where(rng.random((5, 80)) < 0.04, 1 - x[:1], x[:1])
        if kind == "loss":
            x = -np.exp(rng.normal(0, 1, (1, 80)) + rng.normal(0, 0.5, (5, 80)))
        wrong += not compare(x, float("nan"), 200, rng).tied.all()
    assert wrong <= 14  # 5 % of 150 are 7.5


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
        "lowest at step 40. "
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


def test_other_rules_choose_among_the_checkpoints():
    assert recommend(build(curve([1.0, 12, 10, 5, 8, 10]))).rivals["interactions"] == 40
    got = recommend(build(curve(FLAT)), task([1, 9, 8, 7, 6, 6.5]))
    assert (got.step, got.rivals["eval_loss"]) == (0, 80)


def test_the_reference_of_the_analysis_decides_nothing():
    got = recommend(build(curve(DIP), reference=40), task([9, 2.1, 2.0, 2.05, 2.1, 2.2]))
    assert (got.step, got.rivals["interactions"]) == (20, 40)


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
        "cannot tell the 5 apart" in recommend(build(curve(FLAT, noise=0.3, seed=seed)), resamples=200).sentence
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
    keys = {"step", "rule", "sentence", "evidence", "rivals", "basis", "denoised", "stop_step", "tied", "detectable"}
    assert keys == set(one)
