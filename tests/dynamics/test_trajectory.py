"""The whole way, from effects to tables, and back from disk."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from interplay.dynamics import DEFINITIONS, MEASURES, SETS, Trajectory, trajectory
from interplay.errors import InterplayError

STEPS = [0, 10, 40]
COLUMNS = [
    "definition",
    "step",
    "set",
    "measure",
    "order",
    "value",
    "lo",
    "hi",
    "null",
    "null_lo",
    "null_hi",
    "samples",
]


@pytest.fixture
def inputs(make_game):
    """Three samples of 2, 3 and 4 words over three checkpoints, with everything optional given."""
    rng = np.random.default_rng(0)
    ns = [3, 2, 4]
    return {
        "steps": STEPS,
        "effects": [make_game(rng, n, 3, share=0.7) for n in ns],
        "scores": [rng.normal(size=(3, 1 << n)) for n in ns],
        "sample_ids": ["b", "a", "c"],
        "rephrased": [make_game(rng, n, 1) for n in ns],
        "baseline": [make_game(rng, n) for n in ns],
        "noise_sigma": [np.array([1e-6, 2e-6, 3e-6])] * 3,
        "draws": 20,
    }


def by_hand():
    """One sample, two words: AND{0} 4 -> 2, AND{1} 1 -> 0 (removed), OR{0,1} -2 -> -1, AND{0,1} 0 -> 1 (emerged)."""
    e = np.zeros((2, 2, 4))
    e[:, 0, 1], e[:, 0, 2], e[:, 0, 3], e[:, 1, 3] = [4, 2], [1, 0], [0, 1], [-2, -1]
    twin = np.zeros((2, 4))
    twin[0, 1], twin[0, 3], twin[1, 3] = 3.0, 1.0, 2.0  # AND{1} gone, AND{0,1} new, OR flipped
    baseline = np.zeros((2, 4))
    baseline[0, 1], baseline[1, 3] = 1.0, 1.0
    return e, twin, baseline


def test_one_sample_by_hand(make_scores):
    e, twin, baseline = by_hand()
    t = trajectory([0, 5], [e], [np.stack([make_scores(x) for x in e])], ["x"], rephrased=[[twin]], baseline=[baseline])

    def at(measure, name="all", definition="paper", order=0):
        row = t.get(measure, name, definition, order).loc[5]
        return pytest.approx((row["value"], row["null"]), nan_ok=True)

    nan = np.nan
    assert at("count", "all") == (3, 3)  # Omega_5 = {AND{0}, AND{0,1}, OR}; the twin has three too
    assert at("count", "preserved") == (2, 2)
    assert at("count", "emerged") == (1, 1)
    assert at("count", "removed") == (1, 1)
    assert (0, nan) == at("count", "reentered")  # one transition cannot show a return
    assert at("strength", "preserved") == (3, 5)  # 2 + 1; twin 3 + 2
    assert at("strength", "emerged") == (1, 1)
    assert at("strength", "removed") == (1, 1)  # at the reference
    assert at("strength_fraction", "preserved") == (3 / 4, 5 / 6)
    assert at("strength_fraction", "removed") == (1 / 7, 1 / 7)  # of Omega_0
    assert at("count_fraction", "emerged") == (1 / 3, 1 / 3)
    assert at("positive", "preserved", order=1) == (2, 3)
    assert at("negative", "preserved", order=2) == (-1, 0)
    assert at("positive", "preserved", order=2) == (0, 2)  # OR flipped in the twin
    assert at("mean_order", "all") == ((2 * 1 + 2 * 2) / 4, (3 + 3 * 2) / 6)
    assert at("sign_agreement", "kept") == (1, 0.5)  # AND{0} and OR; the twin's OR has flipped
    # The twin as a signed definition sees it: OR removed with one sign and emerged with the other.
    assert at("count", "emerged", "signed") == (1, 2)
    assert at("count", "removed", "signed") == (1, 2)
    assert t.get("sign_agreement", "kept", "signed").empty
    assert t.get("rho").loc[5, "value"] == pytest.approx(2 / 4)
    assert t.get("rho", "preserved").loc[5, "value"] == pytest.approx(1 / 3)
    assert (2, nan) == at("net", "all")
    assert at("net", "preserved") == (1, 2 * 2 / 3)  # two of three effects with mean 2/3
    assert at("contribution", "preserved") == (1 / 2, 2 / 3)
    assert at("contribution", "removed") == (1, 3 / 3)  # from Omega_0: 4 + 1 - 2 over 3
    # gamma: AND{0} agrees, OR does not; the one other order of two words moves AND{0} away and leaves OR where it is.
    assert at("gamma", "all") == (2 / 4, 0)
    assert at("gamma", "preserved") == (2 / 3, 0)
    assert at("gamma", "emerged") == (0, 0)
    # v(N) - v(empty) = 2 + 1 - 1
    assert t.get("total_effect").loc[5, "value"] == pytest.approx(2)
    assert t.get("l1").loc[5, "value"] == pytest.approx(4)
    assert t.get("change")[["value", "null"]].loc[5].tolist() == [np.abs(e[1] - e[0]).sum(), np.abs(twin - e[0]).sum()]
    assert t.get("change").loc[0, "value"] == 0
    v = make_scores(e[1])
    assert t.get("cancelled_per_sd").loc[5, "value"] == pytest.approx((4 - 2) / v.std())
    assert t.get("sufficiency", "emerged").loc[5, "value"] == pytest.approx(np.log1p(np.exp(-1)))
    # random single interactions of Omega_5: 2, 1, -1
    null = np.mean(np.log1p(np.exp([-2.0, -1.0, 1.0])))
    assert t.get("sufficiency", "emerged").loc[5, "null"] == pytest.approx(null, abs=0.1)
    # removed: random single interactions of Omega_0: 4, 1, -2
    null = np.mean(np.log1p(np.exp([-4.0, -1.0, 2.0])))
    assert t.get("sufficiency", "removed").loc[5, "null"] == pytest.approx(null, abs=0.2)
    # One sample has no interval.
    assert t.summary[["lo", "hi", "null_lo", "null_hi"]].isna().all(axis=None)


def test_reentered_by_hand():
    e = np.zeros((3, 2, 4))
    e[:, 0, 1], e[:, 0, 2] = 1.0, [2.0, 0.0, 3.0]
    t = trajectory(STEPS, [e], [np.zeros((3, 4))], ["x"])
    assert t.get("count", "reentered")["value"].tolist() == [0, 0, 1]
    assert t.get("strength", "reentered")["value"].tolist() == [0, 0, 3]
    assert t.get("count", "kept")["value"].tolist() == [2, 1, 2]
    assert t.get("count", "preserved")["value"].tolist() == [2, 1, 1]


def test_the_tables_have_the_columns_of_the_contract(inputs):
    t = trajectory(**inputs)
    assert list(t.summary.columns) == COLUMNS
    assert set(t.per_sample.columns) == {"definition", "step", "set", "measure", "order", "sample", "value", "null"}
    assert set(t.summary["definition"]) == set(DEFINITIONS)
    assert set(t.summary["set"]) == set(SETS)
    assert set(t.summary["measure"]) == set(MEASURES)
    key = ["definition", "step", "set", "measure", "order"]
    assert not t.summary.duplicated(key).any()
    assert len(t.per_sample) == 3 * len(t.summary)
    mean = t.per_sample.groupby(key)["value"].mean()
    assert mean.reindex(t.summary.set_index(key).index).to_numpy() == pytest.approx(
        t.summary["value"].to_numpy(), nan_ok=True
    )
    assert (
        t.summary["samples"]
        == t.per_sample.groupby(key)["value"].count().reindex(t.summary.set_index(key).index).to_numpy()
    ).all()
    inside = t.summary.dropna(subset=["lo"])
    assert (inside["lo"] <= inside["value"] + 1e-9).all()
    assert (inside["value"] <= inside["hi"] + 1e-9).all()


def test_orders_add_up_to_the_strength_also_where_n_differs(inputs):
    t = trajectory(**inputs)
    assert t.summary["order"].max() == 4
    for name in ("all", "preserved", "emerged", "removed"):
        up = sum(t.get("positive", name, order=k)["value"] for k in range(1, 5))
        down = sum(t.get("negative", name, order=k)["value"] for k in range(1, 5))
        assert up.to_numpy() == pytest.approx(t.get("positive", name)["value"].to_numpy())
        assert (up - down).to_numpy() == pytest.approx(t.get("strength", name)["value"].to_numpy())
    noise = sum(t.get("noise", order=k)["value"] for k in range(1, 5))
    assert noise.to_numpy() == pytest.approx(t.get("noise")["value"].to_numpy())


def test_the_reference_itself(inputs):
    t = trajectory(**inputs)
    for definition in DEFINITIONS:
        for measure in ("count", "strength", "rho", "gamma", "contribution"):
            whole, kept = t.get(measure, "all", definition).loc[0], t.get(measure, "preserved", definition).loc[0]
            assert whole["value"] == pytest.approx(kept["value"])
        for name in ("emerged", "removed", "reentered"):
            assert t.get("count", name, definition).loc[0, "value"] == 0
        rho = t.get("rho", "emerged", definition).loc[0]
        assert np.isnan(rho["value"])
        assert rho["samples"] == 0


def test_steps_before_the_reference_have_all_only(inputs):
    t = trajectory(**inputs, reference=10)
    assert t.reference == 10
    before = t.summary[t.summary["step"] == 0]
    assert set(before["set"]) == {"all"}
    assert t.get("count", "preserved").index.tolist() == [10, 40]
    assert t.get("count").index.tolist() == STEPS
    # The measures of `all` do not know the reference, but for the tau that it fixes.
    plain = trajectory(**inputs)
    assert_frame_equal(t.get("gamma"), plain.get("gamma"))


def test_order_of_samples_does_not_matter_and_neither_do_other_samples_to_one(inputs):
    one = trajectory(**inputs)
    order = [2, 0, 1]
    turned = {k: [v[i] for i in order] if isinstance(v, list) and k != "steps" else v for k, v in inputs.items()}
    two = trajectory(**turned)
    assert one.sample_ids == two.sample_ids == ("a", "b", "c")
    assert_frame_equal(one.summary, two.summary, check_exact=True)
    assert_frame_equal(one.per_sample, two.per_sample, check_exact=True)
    alone = trajectory(**{k: v[:1] if isinstance(v, list) and k != "steps" else v for k, v in inputs.items()})
    ours = one.per_sample[(one.per_sample["sample"] == "b") & (one.per_sample["order"] <= 3)].reset_index(drop=True)
    assert_frame_equal(ours, alone.per_sample, check_exact=True)


def test_a_checkpoint_more_changes_no_null_of_the_others(inputs):
    short = {**inputs, "steps": STEPS[:2], "noise_sigma": None}
    short["effects"], short["scores"] = [e[:2] for e in inputs["effects"]], [v[:2] for v in inputs["scores"]]
    long = trajectory(**{**inputs, "noise_sigma": None}).per_sample
    short = trajectory(**short).per_sample
    # `common` looks at all checkpoints: one more with larger effects raises its threshold.
    long, short = (t[(t["step"] <= 10) & (t["definition"] != "common")].reset_index(drop=True) for t in (long, short))
    assert_frame_equal(long, short, rtol=1e-12)


def test_the_seed_matters_to_draws_and_to_nothing_else(inputs):
    one, two = trajectory(**inputs), trajectory(**inputs, seed=1)
    same = [t.summary[~t.summary["measure"].isin(["gamma_words", "gamma_prompts"])] for t in (one, two)]
    assert_frame_equal(*(table[COLUMNS[:8]] for table in same))
    assert not np.allclose(one.get("rho")["null"], two.get("rho")["null"])


def test_gamma_without_a_baseline_and_with_a_missing_one(inputs):
    assert trajectory(**{**inputs, "baseline": None}).get("gamma").empty
    t = trajectory(**{**inputs, "baseline": [None, *inputs["baseline"][1:]]})
    assert t.get("gamma")["samples"].tolist() == [2, 2, 2]
    full = trajectory(**inputs)
    assert_frame_equal(t.samples("gamma")[["a", "c"]], full.samples("gamma")[["a", "c"]])
    assert t.samples("gamma")["b"].isna().all()


def test_the_stricter_null_of_gamma_speaks():
    """Every prompt's baseline LLM has the same interaction, of the first word, so another prompt's gives all of gamma."""
    shared, own = np.zeros((2, 8)), np.zeros((4, 2, 8))
    shared[0, 1] = 1.0
    own[:, 0, 1] = own[:, 0, 6] = 1.0  # half of the strength is of the first word
    given = dict(sample_ids=list("abcd"), scores=[np.zeros((1, 8))] * 4, effects=[e[None] for e in own])
    t = trajectory([0], baseline=[shared] * 4, **given)
    words, prompts = (t.get(f"gamma_{null}").loc[0, "value"] for null in ("words", "prompts"))
    assert (words, prompts) == (pytest.approx(0.5 / 5), 0.5)  # in one of the five other orders the first word stays
    assert t.get("gamma").loc[0, ["value", "null"]].tolist() == [0.5, 0.5]
    # The other two words instead: never ours, but one of them is in four of the five other orders.
    other = np.zeros((2, 8))
    other[0, 2] = other[0, 4] = 1.0
    t = trajectory([0], baseline=[other] * 4, **given)
    assert t.get("gamma_prompts").loc[0, "value"] == 0
    assert t.get("gamma").loc[0, ["value", "null"]].tolist() == [0, pytest.approx(0.5 * 4 / 5)]


def test_another_prompt_is_a_null_only_among_as_many_words():
    rng = np.random.default_rng(0)
    effects = [rng.normal(size=(1, 2, 1 << n)) for n in (3, 3, 2)]
    for e, n in zip(effects, (3, 3, 2), strict=True):
        e[:, 1, 1 << np.arange(n)] = 0
    t = trajectory(
        [0], effects, [np.zeros(e.shape[::2]) for e in effects], list("abc"), baseline=[e[0] for e in effects]
    )
    by_sample = t.per_sample[t.per_sample["set"] == "all"].set_index(["definition", "measure", "sample"])
    assert np.isnan(by_sample.loc[("paper", "gamma_prompts", "c"), "value"])
    assert by_sample.loc[("paper", "gamma_prompts", "a"), "value"] < 1
    assert by_sample.loc[("paper", "gamma", "c"), "null"] == by_sample.loc[("paper", "gamma_words", "c"), "value"]
    one = trajectory([0], effects[:1], [np.zeros((1, 8))], ["a"], baseline=[effects[0][0]])
    assert one.get("gamma_prompts")["value"].isna().all()
    assert one.get("gamma").loc[0, "null"] == one.get("gamma_words").loc[0, "value"]


def test_without_a_rephrased_template_there_is_no_floor(inputs):
    t = trajectory(**{**inputs, "rephrased": None})
    assert t.get("count", "emerged")["null"].isna().all()
    assert t.get("sign_agreement", "kept")["null"].isna().all()
    assert t.get("count", "emerged")["value"].notna().all()


def test_noise_that_was_not_measured_is_undefined_not_zero(inputs):
    t = trajectory(**{**inputs, "noise_sigma": [np.array([1.0, np.nan, 0.0]), None, None]})
    assert t.get("noise")["samples"].tolist() == [1, 0, 1]
    assert t.get("noise", order=4)["samples"].tolist() == [1, 0, 1]
    assert t.get("noise")["value"].iloc[2] == 0
    assert trajectory(**{**inputs, "noise_sigma": None}).get("noise").empty


def test_one_step_only(inputs):
    t = trajectory([7], [e[:1] for e in inputs["effects"]], [v[:1] for v in inputs["scores"]], inputs["sample_ids"])
    assert t.reference == 7
    assert t.get("count", "preserved")["value"].tolist() == t.get("count")["value"].tolist()


def test_all_effects_zero():
    t = trajectory(STEPS, [np.zeros((3, 2, 4))] * 2, [np.ones((3, 4))] * 2, ["a", "b"], baseline=[np.zeros((2, 4))] * 2)
    for name in SETS:
        assert t.get("count", name)["value"].tolist() == [0, 0, 0]
    for measure in ("rho", "gamma", "contribution", "l1_per_sd", "cancelled_per_sd", "walsh_high"):
        assert t.get(measure)["value"].isna().all()
        assert t.get(measure)["samples"].tolist() == [0, 0, 0]
    assert t.get("sufficiency")["value"].tolist() == pytest.approx([np.log(2)] * 3)


def test_membership_marks_an_interaction():
    e, _, _ = by_hand()
    t = trajectory([0, 5], [e], [np.zeros((2, 4))], ["x"])
    now = t.membership("x", 5)
    assert now.preserved.tolist() == [[False, True, False, False], [False, False, False, True]]
    assert now.emerged[0, 3]
    assert now.removed[0, 2]
    with pytest.raises(InterplayError, match="'y' is not known; choose one of x"):
        t.membership("y", 5)
    with pytest.raises(InterplayError, match="step 6 is not known"):
        t.membership("x", 6)
    with pytest.raises(InterplayError, match="definition 'z' is not known"):
        t.membership("x", 5, "z")


def test_round_trip_and_the_same_bytes_twice(inputs, tmp_path):
    t = trajectory(**inputs)
    one, two = t.save(tmp_path / "one"), trajectory(**inputs).save(tmp_path / "two")
    names = sorted(path.name for path in one.iterdir())
    assert names == ["trajectory.parquet", "trajectory_samples.parquet", "trajectory_sets.parquet"]
    back = Trajectory.load(one)
    assert_frame_equal(back.summary, t.summary, check_exact=True)
    assert_frame_equal(back.per_sample, t.per_sample, check_exact=True)
    assert (back.steps, back.reference, back.sample_ids) == (t.steps, t.reference, t.sample_ids)
    assert dict(back.settings) == dict(t.settings)
    for sample in t.sample_ids:
        for definition in DEFINITIONS:
            assert np.array_equal(back.sets[sample][definition], t.sets[sample][definition])
    three = back.save(tmp_path / "three")
    for name in names:
        data = (one / name).read_bytes()
        assert data == (two / name).read_bytes() == (three / name).read_bytes()
    assert pd.read_parquet(one / "trajectory.parquet").columns.tolist() == COLUMNS


def test_empty_sets_survive_the_round_trip(tmp_path):
    t = trajectory([0], [np.zeros((1, 2, 4))], [np.zeros((1, 4))], ["a"])
    assert not Trajectory.load(t.save(tmp_path)).sets["a"]["paper"].any()


def test_load_refuses_what_is_missing_torn_or_mixed(inputs, tmp_path):
    folder = trajectory(**inputs).save(tmp_path / "a")
    other = trajectory(**inputs, reference=10).save(tmp_path / "b")
    with pytest.raises(InterplayError, match="is missing"):
        Trajectory.load(tmp_path / "nowhere")
    (folder / "trajectory.parquet").write_bytes((other / "trajectory.parquet").read_bytes())
    with pytest.raises(InterplayError, match="do not belong together"):
        Trajectory.load(folder)
    (folder / "trajectory.parquet").write_bytes(b"PAR1")
    with pytest.raises(InterplayError, match="cannot be read"):
        Trajectory.load(folder)


def test_a_failed_write_leaves_the_old_file(inputs, tmp_path, monkeypatch):
    folder = trajectory(**inputs).save(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("interplay.dynamics.result.pq.write_table", fail)
    with pytest.raises(InterplayError, match="no space"):
        trajectory(**inputs, seed=1).save(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": []}, "no steps"),
        ({"steps": [0, 40, 10]}, "not ascending"),
        ({"steps": [0, 10, 10]}, "not ascending"),
        ({"steps": [0, 10]}, r"shape \[3, 2, 8\], expected \[2, 2, 8\]"),
        ({"reference": 11}, "reference step 11 is not one of"),
        ({"sample_ids": ["a", "a", "c"]}, "'a' is given twice"),
        ({"sample_ids": []}, "no samples"),
        ({"sample_ids": ["a", "b"]}, "effects has 3 samples, expected 2"),
        ({"baseline": [None]}, "baseline has 1 samples, expected 3"),
        ({"baseline": [np.zeros((2, 4))] * 3}, r"baseline of shape \[2, 4\], expected \[2, 8\]"),
        ({"scores": [np.zeros((3, 6))] * 3}, r"expected \[3, 2\^n\]"),
        ({"scores": [np.full((3, 8), np.nan), np.zeros((3, 4)), np.zeros((3, 16))]}, "scores has NaN"),
        ({"rephrased": [np.ones((1, 2, 8)), None, None]}, "OR effects of single words"),
        ({"draws": 0}, "draws 0"),
    ],
)
def test_wrong_input_is_refused_in_one_line(inputs, change, message):
    with pytest.raises(InterplayError, match=message) as caught:
        trajectory(**{**inputs, **change})
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_and_undefined_ones_are_empty(inputs):
    t = trajectory(**inputs)
    for bad in ({"measure": "gama"}, {"measure": "rho", "set": "new"}, {"measure": "rho", "definition": "loose"}):
        with pytest.raises(InterplayError, match="is not known; choose one of"):
            t.get(**bad)
    assert t.get("rho", "kept").empty


def test_pure_noise_gamma_stands_at_its_null_and_shared_words_above_it(make_game):
    rng = np.random.default_rng(3)
    ours = [make_game(rng, 6, 1, share=0.5) for _ in range(8)]
    ids, scores = [str(i) for i in range(8)], [np.zeros((1, 64))] * 8
    noise = (
        trajectory([0], ours, scores, ids, baseline=[make_game(rng, 6, share=0.5) for _ in ours]).get("gamma").loc[0]
    )
    same = trajectory([0], ours, scores, ids, baseline=[e[0] for e in ours]).get("gamma").loc[0]
    assert noise["value"] > 0.15
    assert noise["value"] == pytest.approx(noise["null"], abs=0.05)
    assert same["value"] == 1
    assert same["null_hi"] < 0.5
