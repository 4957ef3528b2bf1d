"""Beyond 16 words: which coalitions to score, planted games, and the face of the result."""

from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled_games import planted, recovery

from interplay.effects import Interactions, extract
from interplay.effects.dictionary import Dictionary, Rows, evaluate
from interplay.effects.interactions import SampledInteractions
from interplay.effects.moebius import orders, reconstruct
from interplay.effects.sampled import extract_sampled, sample_coalitions
from interplay.errors import InterplayError

# --- which coalitions -------------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(2, 400), st.integers(0, 5), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_sampled_coalitions_are_distinct_and_hold_none_and_all(n, count, seed, order):
    masks = sample_coalitions(n, count, seed, order=order)
    assert masks.dtype == np.uint64
    assert len(masks) == min(count, 2**n)
    assert (np.diff(masks.astype(object)) > 0).all()
    assert masks[0] == 0
    assert int(masks[-1]) == 2**n - 1
    assert np.array_equal(masks, sample_coalitions(n, count, seed, order=order))


@pytest.mark.parametrize("n", [11, 20])  # 2^11 <= 8·1000: drawn in one go; 2^20: one after the other
def test_every_column_is_on_and_off_often_enough(n):
    masks = sample_coalitions(n, 1000, order=3)
    on = Rows(Dictionary(n, 3), masks).correlate(np.ones(1000)) / 1000
    assert on.min() > 0.1
    assert on.max() < 0.9
    assert not np.array_equal(masks, sample_coalitions(n, 1000, 1))


def test_draws_for_high_orders_reach_high_orders():
    fives = Dictionary(20, 5)
    fives = fives.masks[(fives.orders == 5) & ~fives.is_or][::50]
    on = evaluate(sample_coalitions(20, 2000, order=5), fives, np.zeros(len(fives), dtype=bool)).mean(0)
    assert on.min() > 0.1  # a fair coin for every word: 1/32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10), r"n is 0; expected a whole number, 1\.\.64"),
        ((65, 10), r"n is 65; expected a whole number, 1\.\.64"),
        ((10.0, 10), r"n is 10\.0"),
        ((10, 1), r"count is 1; expected a whole number, 2\.\.1048576"),
        ((64, 2**20 + 1), "count is 1048577"),
        ((10, 10, -1), "seed is -1; expected a whole number, 0 or more"),
        ((10, 10, True), "seed is True"),
    ],
)
def test_refusals_of_sample_coalitions(arguments, message):
    with pytest.raises(InterplayError, match=message):
        sample_coalitions(*arguments)


# --- planted games ----------------------------------------------------------------------------------------------------


@pytest.mark.matrix(1)
@pytest.mark.parametrize(
    ("noise", "tolerance", "games"), [(0.0, None, 1), (0.02, None, 1), (0.0, 0.0, 6), (0.02, 0.02, 6)]
)
def test_planted_games_of_20_words(noise, tolerance, games, record_property):
    recalls, precisions = [], []
    for seed in range(games):
        masks, is_or, effects = planted(20, 15, 15, seed)
        coalitions = sample_coalitions(20, 2000, seed)
        v = evaluate(coalitions, masks, is_or) @ effects
        v += noise * np.random.default_rng(seed).standard_normal(2000)
        found = extract_sampled(coalitions, v, 20, tolerance=tolerance)
        recall, precision = recovery(found, masks, is_or)
        recalls.append(recall)
        precisions.append(precision)
        assert found.r2 > 0.999
        assert abs(found.total_effect_fraction - 1) < 0.05
        assert found.converged
        # what is lost is lost to a cheaper explanation of the same scores, never to a dearer one
        assert found.objective <= np.abs(effects).sum() * 1.01
    record_property("recall and precision", (recalls, precisions))
    assert np.mean(recalls) >= 0.9
    assert np.mean(precisions) >= 0.75


@pytest.mark.soak
def test_orders_without_cheaper_twins_come_back_whole():
    masks, is_or, effects = planted(40, 10, 10, 7, lowest=3)
    coalitions = sample_coalitions(40, 1200)
    found = extract_sampled(coalitions, evaluate(coalitions, masks, is_or) @ effects, 40)
    assert recovery(found, masks, is_or) == (1.0, 1.0)
    table = {(m, o): e for m, o, e in zip(found.masks.tolist(), found.is_or.tolist(), found.effects, strict=True)}
    for m, o, e in zip(masks.tolist(), is_or.tolist(), effects, strict=True):
        assert table[m, o] == pytest.approx(e, abs=1e-3)


def test_64_words():
    masks, is_or, effects = planted(64, 5, 5, 2, lowest=2, highest=2)
    coalitions = sample_coalitions(64, 800, order=2)
    found = extract_sampled(coalitions, evaluate(coalitions, masks, is_or) @ effects, 64, order=2, folds=2)
    assert recovery(found, masks, is_or) == (1.0, 1.0)
    assert found.to_pandas()["mask"].dtype == np.uint64
    assert set(found.to_pandas()["mask"]) == set(masks.tolist())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_the_exact_solver_where_both_can(seed):
    rng = np.random.default_rng(seed)
    a, b = np.zeros(256), np.zeros(256)
    for effects, count in ((a, 8), (b, 5)):
        where = rng.choice(np.flatnonzero(orders(8) == 3), count, replace=False)
        effects[where] = rng.uniform(0.5, 1.5, count) * rng.choice([-1, 1], count)
    v = reconstruct(a, b, 0.7)
    exact, found = extract(v, 0.0), extract_sampled(np.arange(256), v, 8, tolerance=0.0, holdout=0.0)
    both = np.zeros((2, 256))
    both[found.is_or.astype(int), found.masks.astype(int)] = found.effects
    np.testing.assert_allclose(both, exact.effects, atol=0.01)
    np.testing.assert_allclose(found.scores(np.arange(256)), v, atol=1e-3)
    assert found.v_empty == pytest.approx(0.7, abs=1e-3)
    assert found.objective == pytest.approx(float(exact.objective), rel=1e-3)
    assert [*found.to_pandas().columns] == [*exact.to_pandas().columns]


@pytest.mark.soak
def test_a_sum_of_words_is_not_explained_by_pairs():
    coalitions = sample_coalitions(18, 400)
    v = sum((i + 1) * ((coalitions >> np.uint64(i)) & np.uint64(1)).astype(float) for i in range(18))
    found = extract_sampled(coalitions, v, 18)
    assert (found.orders[found.salient().and_ | found.salient().or_] == 1).all()
    np.testing.assert_allclose(found.effects[found.orders == 1], np.arange(1, 19), atol=1e-3)


@pytest.mark.soak
def test_low_orders_do_not_explain_a_game_of_high_order_and_the_result_says_so():
    coalitions = sample_coalitions(20, 600)
    parity = np.bitwise_count(coalitions) % 2 * 1.0
    with pytest.warns(RuntimeWarning, match="explain .* of the variance of coalitions never fitted"):
        found = extract_sampled(coalitions, parity, 20, order=2)
    assert found.r2 < 0.1
    assert f"R2 {found.r2:.3f} on 120 coalitions never fitted" in repr(found)
    with pytest.warns(RuntimeWarning) as given:
        found = extract_sampled(coalitions, parity, 20, order=2, tolerance=0.01)
    assert "orders up to 2 miss the scores by" in str(given[0].message)
    assert found.r2 < 0.1
    assert np.count_nonzero(found.penalised) < 480  # never one effect a row


def test_pure_noise_has_no_interactions():
    coalitions = sample_coalitions(20, 600)
    with pytest.warns(RuntimeWarning, match="never fitted"):
        found = extract_sampled(coalitions, np.random.default_rng(0).standard_normal(600), 20)
    assert np.count_nonzero(found.effects) <= 3
    assert found.r2 < 0.05


# --- the face ---------------------------------------------------------------------------------------------------------


def test_the_same_face_as_the_exact_result(game):
    found, exact = game[2], extract(np.arange(8.0), 0.0)
    assert isinstance(exact, Interactions)
    for name in ("v_empty", "objective", "duality_gap", "residual", "tolerance", "converged"):
        assert np.ndim(getattr(found, name)) == np.ndim(getattr(exact, name)) == 0
    assert found.shape == exact.shape == ()
    kept = found.salient(0.2)
    assert kept.threshold == pytest.approx(0.2 * np.abs(found.effects).max())
    assert not (kept.and_ & kept.or_).any()
    assert found.salient(threshold=1.0).and_.sum() == np.sum((found.effects > 1) & ~found.is_or) + np.sum(
        (found.effects < -1) & ~found.is_or
    )
    words = [f"w{i}" for i in range(12)]
    table = found.to_pandas(words)
    assert (table["effect"].abs().diff().dropna() <= 0).all()
    for row in table.itertuples():
        assert row.words == tuple(words[i] for i in range(12) if row.mask >> i & 1)
        assert row.order == len(row.words)
    assert len(found.to_pandas(salient_only=False)) == np.count_nonzero(found.effects) >= len(table)
    with pytest.raises(FrozenInstanceError):
        found.n = 3
    with pytest.raises(InterplayError, match="2 words were given"):
        found.to_pandas(["a", "b"])
    with pytest.raises(InterplayError, match="ratio is 2"):
        found.salient(2)
    with pytest.raises(InterplayError, match="threshold is nan"):
        found.salient(threshold=np.nan)


def test_the_statement_says_what_was_fitted_and_how_far_it_holds(game):
    text = game[2].statement()
    for part in (
        "400 of 4,096 coalitions",
        "orders up to 3",
        "cross-validation",
        "on 100 coalitions never fitted",
        "certif",
    ):
        assert part in text
    assert "\n" not in text


def test_deterministic_and_free_of_the_given_order(game):
    coalitions, v, found = game
    shuffle = np.random.default_rng(9).permutation(500)
    again = extract_sampled(coalitions[shuffle].tolist(), v[shuffle].tolist(), 12)
    for f in fields(found):
        assert np.array_equal(getattr(found, f.name), getattr(again, f.name), equal_nan=f.name == "tolerance")
    other = extract_sampled(coalitions, v, 12, seed=1)
    assert other.r2 != found.r2
    assert (coalitions == sample_coalitions(12, 500)).all()


@pytest.mark.parametrize(("factor", "shift"), [(1e6, 0.0), (-1e-6, 0.0), (1.0, 1e3), (1e200, 0.0)])
def test_units_do_not_matter(game, factor, shift):
    coalitions, v, found = game
    other = extract_sampled(coalitions, factor * v + shift, 12)
    assert np.array_equal(other.masks, found.masks)
    np.testing.assert_allclose(other.effects, factor * found.effects, rtol=1e-5, atol=1e-6 * abs(factor))
    assert other.r2 == pytest.approx(found.r2, abs=1e-6)


def test_renaming_the_words_renames_the_effects(game):
    coalitions, v, _ = game
    last = np.uint64(11)
    reverse = lambda m: sum(((m >> np.uint64(i)) & np.uint64(1)) << (last - np.uint64(i)) for i in range(12))  # noqa: E731
    plain = extract_sampled(coalitions, v, 12, holdout=0, tolerance=0.06)
    other = extract_sampled(reverse(coalitions), v, 12, holdout=0, tolerance=0.06)
    table = {
        (m, o): e for m, o, e in zip(reverse(plain.masks).tolist(), plain.is_or.tolist(), plain.effects, strict=True)
    }
    for m, o, e in zip(other.masks.tolist(), other.is_or.tolist(), other.effects, strict=True):
        assert table.get((m, o), 0.0) == pytest.approx(e, abs=1e-4)


def test_constant_scores_and_tiny_tables():
    coalitions = sample_coalitions(20, 100)
    found = extract_sampled(coalitions, np.full(100, -3.0), 20)
    assert (len(found.masks), found.objective, found.duality_gap, found.v_empty) == (0, 0.0, 0.0, -3.0)
    assert np.isnan([found.r2, found.total_effect_fraction]).all()
    assert found.rule == "constant scores"
    assert "R2 unknown" in found.statement()
    assert found.scores([5]).tolist() == [-3.0]
    assert len(found.to_pandas()) == 0
    one = extract_sampled([0, 1], [1.0, 3.0], 1)
    assert (one.masks.tolist(), one.held_out) == ([1], 0)
    assert one.effects == pytest.approx([2.0])
    two = extract_sampled([0, 1, 2, 3], [0, 1, 1, 1], 2, order=9, holdout=0)  # one OR, not three ANDs
    assert (two.order, two.masks[two.effects != 0].tolist(), two.is_or[two.effects != 0].tolist()) == (2, [3], [True])


# --- refusals and files -----------------------------------------------------------------------------------------------

GOOD = (list(range(16)), list(range(16)), 4)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1], [0, 1], 65), {}, r"n is 65; expected a whole number, 1\.\.64"),
        (([0], [0], 0), {}, "n is 0"),
        (GOOD, {"order": 0}, "order is 0; expected a whole number, 1 or more"),
        (GOOD, {"order": 1.5}, r"order is 1\.5"),
        (GOOD, {"holdout": 1}, "holdout is 1; expected a fraction of the coalitions, 0 or more and under 1"),
        (GOOD, {"holdout": float("nan")}, "holdout is nan"),
        (GOOD, {"duality_gap": 0}, "gap is 0; expected a relative duality gap"),
        (GOOD, {"folds": 1}, "folds is 1; expected a whole number, 2 or more"),
        (GOOD, {"seed": "a"}, "seed is 'a'"),
        (GOOD, {"tolerance": -1}, "tolerance is -1; expected a finite number, 0 or more"),
        (GOOD, {"tolerance": "little"}, "tolerance is 'little'"),
        ((list(range(16)), [0] * 15, 4), {}, r"scores have shape \[15\]; expected \[16\], one per coalition"),
        ((list(range(16)), [[0] * 16], 4), {}, r"scores have shape \[1, 16\]"),
        ((list(range(16)), [0] * 15 + [float("nan")], 4), {}, "scores hold 1 NaN or infinite of 16"),
        ((list(range(16)), "0" * 16, 4), {}, "scores are a str"),
        (([*range(15), 0], [0] * 16, 4), {}, "coalition 0 is given 2 times; expected distinct ones"),
        ((list(range(1, 16)), [0] * 15, 4), {}, r"coalitions lack none \(0\) or all \(2\*\*4 - 1\) of the words"),
        ((list(range(15)), [0] * 15, 4), {}, "coalitions lack none"),
        (([], [], 4), {}, "coalitions lack none"),
        (([0, 16], [0, 1], 4), {}, r"coalitions hold 16; expected whole numbers from 0 to 2\*\*4 - 1"),
        (([0, -1], [0, 1], 4), {}, "coalitions hold -1"),
        ((np.array([0, -1]), [0, 1], 4), {}, "coalitions hold -1"),
        ((np.array([0, 16]), [0, 1], 4), {}, "coalitions hold 16"),
        (([0, 2**64], [0, 1], 64), {}, "coalitions hold 18446744073709551616"),
        (([0, 1.0], [0, 1], 4), {}, "coalitions hold 1.0; expected whole numbers"),
        (([0, True], [0, 1], 4), {}, "coalitions hold True"),
        ((np.array([0.0, 1.0]), [0, 1], 4), {}, "coalitions hold 0.0"),
        ((np.array([[0, 1]]), [0, 1], 4), {}, r"coalitions hold \[0, 1\]"),
        (("01", [0, 1], 4), {}, "coalitions hold '0'"),
        ((None, [0, 1], 4), {}, "coalitions are a NoneType"),
        (([0, 15, 1, 2], [0, 1, 2, 3], 4), {}, "4 coalitions, 1 of them held out, leave 3 to fit; expected 6 or more"),
        (([0, 2**64 - 1], [0, 1], 64), {"order": 4}, r"order 4 of 64 words .* over 131,072; order 3 fits \(87,424\)"),
    ],
)
def test_refusals_of_extract_sampled(arguments, options, message):
    with pytest.raises(InterplayError, match=message) as error:
        extract_sampled(*arguments, **options)
    assert "\n" not in str(error.value)


def test_tensors_are_taken(game):
    torch = pytest.importorskip("torch")
    coalitions, v, found = game
    other = extract_sampled(torch.tensor(coalitions.astype(np.int64)), torch.tensor(v), 12)
    assert np.array_equal(other.effects, found.effects)
    assert np.array_equal(found.scores(torch.tensor([0, 5])), found.scores([0, 5]))


def test_save_and_load(game, tmp_path):
    found = game[2]
    path = tmp_path / "one.safetensors"
    found.save(path)
    again = SampledInteractions.load(path)
    for f in fields(found):
        one, other = getattr(found, f.name), getattr(again, f.name)
        assert type(one) is type(other)
        assert np.array_equal(one, other, equal_nan=f.name == "tolerance")
    assert repr(again) == repr(found)
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["one.safetensors"]
    with pytest.raises(InterplayError, match="has no Interactions of version 1"):
        Interactions.load(path)
    extract([0, 1]).save(path)
    with pytest.raises(InterplayError, match="has no SampledInteractions of version 1"):
        SampledInteractions.load(path)
