"""The solver: certified against a linear programming oracle, exact on known games, the same bytes in any batch."""

import numpy as np
import pytest
from effect_games import dictionary, fused_programme, linear_programme, network, planted
from hypothesis import given
from hypothesis import strategies as st

from interplay.effects import extract
from interplay.effects.certainty import ALTERNATIVES, exchangeable, standing
from interplay.effects.moebius import orders, reconstruct
from interplay.effects.sparse import FUSE, OMEGA, RIDGE_COST, Tie, dual_bound, solve

GAP = 1e-3


def matches(result, v, slack=1e-12):
    """Universal matching on every coalition, recomputed here."""
    v = np.asarray(v, dtype=float)
    worst = np.abs(reconstruct(result.and_effects, result.or_effects, v[..., 0]) - v).max(-1)
    size = np.abs(v).max(-1)
    assert (worst <= result.tolerance + slack * size).all()
    assert np.array_equal(worst, result.residual)
    assert (result.and_effects[..., 0] == 0).all()
    assert (result.or_effects[..., orders(result.n) <= 1] == 0).all()
    return True


@pytest.mark.parametrize(
    ("n", "share"), [(n, d) for n in range(3, 7) for d in (0.0, 0.02, 0.3)] + [(7, 0.02), (8, 0.0)]
)
def test_objective_agrees_with_the_linear_programme(n, share):
    for v in (network(n, n), planted(n, 3, 2, n, lowest=2, noise=0.1)[0]):
        u = v - v[0]
        delta = share * np.abs(u).max()
        result = extract(v, delta, GAP)
        best = linear_programme(u, delta)
        dual = result.objective * (1 - result.duality_gap)
        assert matches(result, v)
        assert result.converged
        assert dual <= best * (1 + 1e-7)  # the oracle's own tolerance is 1e-7
        assert best <= result.objective * (1 + 1e-7)
        assert result.objective - best <= GAP * result.objective


@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0, 1.2), st.sampled_from([1e-6, 1.0, 1e6]))
def test_any_scores_are_matched_and_certified(n, seed, share, scale):
    v = np.random.default_rng(seed).standard_t(2, size=2**n) * scale
    result = extract(v, share * np.abs(v - v[0]).max() if share < 0.9 or share > 1 else 0.0)
    assert matches(result, v)
    assert result.converged
    assert 0 <= result.duality_gap <= RIDGE_COST


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_dual_bound_is_the_formula_and_never_above_a_feasible_split(n, seed, share):
    rng = np.random.default_rng(seed)
    u, y = rng.normal(size=(2, 2**n))
    u[0] = 0
    delta = share * np.abs(u).max()
    on_columns = dictionary(n)[1:].T @ y[1:]
    expected = max(0.0, (u[1:] @ y[1:] - delta * np.abs(y[1:]).sum()) / np.abs(on_columns).max())
    bound = dual_bound(u, y, delta)
    assert bound == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert bound <= extract(u, delta).objective * (1 + 1e-9)


def game(n, terms):
    """Scores and effects of {("and" | "or", mask): effect}."""
    a, b = np.zeros(2**n), np.zeros(2**n)
    for (kind, mask), effect in terms.items():
        (a if kind == "and" else b)[mask] = effect
    return reconstruct(a, b, -0.25), a, b


@pytest.mark.parametrize(
    "terms",
    [
        {("and", 0b1011): 2.0},
        {("or", 0b1101): -1.5},
        {("and", 0b0111): 1.0, ("or", 0b1110): 2.0},
        {("and", 0b0001): 3.0},
        {("and", 0b0011): -1.0, ("or", 0b0011): 1.0},  # exclusive or of two words: two effects of 1, not 1, 1, -2
    ],
    ids=["one AND", "one OR", "AND and OR", "one word", "XOR"],
)
def test_known_games(terms):
    v, a, b = game(4, terms)
    result = extract(v, 0.0)
    assert matches(result, v)
    np.testing.assert_allclose(result.and_effects, a, atol=5e-3)
    np.testing.assert_allclose(result.or_effects, b, atol=5e-3)
    kept = result.salient()
    assert np.array_equal(kept.and_, a != 0)
    assert np.array_equal(kept.or_, b != 0)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_a_sum_of_words_stays_a_sum_of_words(n):
    # 2 + 3 is also AND + OR of the pair, at the same cost: the tie must go to the single words
    weights = np.random.default_rng(n).uniform(0.5, 1.5, n)
    v = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) @ weights
    result = extract(v, 0.0)
    kept = result.salient()
    assert orders(n)[kept.and_].tolist() == [1] * n
    assert not kept.or_.any()
    np.testing.assert_allclose(result.and_effects[1 << np.arange(n)], weights, atol=0.02)


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_permuting_the_words_permutes_the_effects(share):
    n = 6
    v = network(n, 3)
    order = np.random.default_rng(0).permutation(n)
    index = (((np.arange(2**n)[:, None] >> np.arange(n)) & 1) << order).sum(-1)  # word i becomes word order[i]
    turned = np.empty_like(v)
    turned[index] = v
    delta = share * np.abs(v - v[0]).max()
    straight, moved = extract(v, delta), extract(turned, delta)
    np.testing.assert_allclose(moved.and_effects[index], straight.and_effects, atol=1e-8)
    np.testing.assert_allclose(moved.or_effects[index], straight.or_effects, atol=1e-8)


def test_scaling_and_shifting_the_scores_scales_the_effects():
    v = network(6, 1)
    one = extract(v, 0.05)
    big = extract(2.0**20 * v + 0.0, 0.05 * 2.0**20)  # a power of two: no rounding
    assert np.array_equal(big.effects, one.effects * 2.0**20)
    np.testing.assert_allclose(extract(v + 3.0, 0.05).effects, one.effects, atol=1e-8)


@pytest.mark.parametrize(("n", "ands", "ors"), [(6, 5, 4), (8, 10, 8), (10, 20, 15)])
def test_planted_orders_of_three_and_more_come_back(n, ands, ors):
    v, a, b = planted(n, ands, ors, seed=n)
    result = extract(v, 0.0)
    kept = result.salient()
    assert np.array_equal(kept.and_, a != 0)
    assert np.array_equal(kept.or_, b != 0)
    np.testing.assert_allclose(result.effects, [a, b], atol=0.02)


def test_a_tolerance_names_more_true_interactions_under_noise():
    v, a, b = planted(8, 10, 6, seed=1, noise=0.05)
    truth = np.stack([a, b]) != 0

    def precision(delta):
        found = np.stack(extract(v, delta).salient()[:2])
        return (found & truth).sum() / found.sum()

    exact, tolerant = precision(0.0), precision(0.1)  # two standard deviations
    assert exact < 0.3
    assert tolerant > exact + 0.3


def test_effects_move_little_when_scores_move_little():
    v = network(7, 5)
    nudge = 1e-6 * np.random.default_rng(0).standard_normal(v.shape)
    before, after = extract(v, 0.0), extract(v + nudge, 0.0)
    assert np.abs(before.effects - after.effects).max() < 2e-3 * np.abs(before.effects).max()


@pytest.mark.parametrize("share", [0.0, 0.03])
@pytest.mark.parametrize("n", [3, 8, 9])
def test_same_bytes_alone_and_in_any_batch(n, share):
    v = np.stack([network(n, seed) for seed in range(4)] + [planted(n, 1, 1, 1)[0]])
    delta = share * np.abs(v - v[:, :1]).max(-1)
    together = extract(v, delta, 1e-2)
    again = extract(v[::-1], delta[::-1], 1e-2)
    for i in range(len(v)):
        alone = extract(v[i], delta[i], 1e-2)
        for other in (together[i], again[len(v) - 1 - i]):
            assert other.effects.tobytes() == alone.effects.tobytes()
            assert other.duality_gap.tobytes() == alone.duality_gap.tobytes()
            assert other.error_bar.tobytes() == alone.error_bar.tobytes()
            assert other.iterations == alone.iterations


@pytest.mark.matrix(1)
@pytest.mark.parametrize("share", [0.0, 0.03])
def test_torch_gives_the_same_answer(share):
    pytest.importorskip("torch")
    v = np.stack([network(9, seed) for seed in range(3)])
    delta = share * np.abs(v - v[:, :1]).max()
    ours, theirs = extract(v, delta), extract(v, delta, device="cpu")
    assert theirs.converged.all()
    assert matches(theirs, v)
    np.testing.assert_allclose(theirs.effects, ours.effects, atol=1e-6)


@pytest.mark.parametrize("delta", [0.0, 0.03])
def test_error_bar_covers_the_distance_to_the_converged_answer(delta, monkeypatch):
    v = np.stack([network(6, 2), planted(6, 4, 3, 0, noise=0.1)[0]])
    quick = extract(v, delta)
    monkeypatch.setattr("interplay.effects.sparse.RIDGE_GAP", 1e-4)
    monkeypatch.setattr("interplay.effects.sparse.RIDGE_GAP_MOST", 1e-4)
    slow = extract(v, delta)
    distance = np.linalg.norm((quick.effects - slow.effects)[..., orders(6) >= 2], axis=(-1, -2))
    assert (slow.error_bar < 0.2 * quick.error_bar).all()
    assert (distance <= quick.error_bar + slow.error_bar).all()
    assert (distance <= 0.1 * np.abs(slow.effects).max((-1, -2))).all()


def test_degenerate_scores():
    constant = extract(np.full((2, 8), 3.0), 0.0)
    assert (constant.effects == 0).all()
    assert (constant.duality_gap == 0).all()
    assert constant.converged.all()
    swallowed = extract([0.0, 1.0, -2.0, 1.5], 2.0)
    assert (swallowed.effects == 0).all()
    assert swallowed.residual == 2.0
    one = extract([1.0, 4.0], 0.0)
    assert one.and_effects.tolist() == [0.0, 3.0]
    np.testing.assert_allclose(extract([1.0, 4.0], 0.5).and_effects, [0.0, 2.5])
    assert extract(np.zeros((0, 16))).effects.shape == (0, 2, 16)
    assert solve(np.zeros((0, 4)), np.zeros(0), 1e-3, 10).dual.shape == (0,)


@pytest.mark.parametrize("scale", [1e-300, 1e-6, 1e6, 1e300])
def test_any_scale(scale):
    v = network(5, 0)
    result = extract(v * scale, 0.02 * scale)
    np.testing.assert_allclose(result.effects / scale, extract(v, 0.02).effects, atol=1e-7)


def test_running_out_of_iterations_is_said():
    v = network(8, 1)
    with pytest.warns(RuntimeWarning, match="1 of 1 samples did not reach gap 0.001 in 3 iterations") as caught:
        result = extract(v, 0.0, max_iterations=3)
    assert "\n" not in str(caught[0].message)
    assert not result.converged
    assert result.duality_gap > GAP
    assert result.iterations == 6
    assert matches(result, v)
    best = extract(v, 0.0)
    assert best.converged  # its first answer is a little off the plain optimum: the second phase has to move its center
    assert result.objective * (1 - result.duality_gap) <= best.objective <= result.objective


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("n", [3, 5])
def test_fused_objective_agrees_with_the_linear_programme(n, share):
    first = extract(network(n, 1), 0.0)
    v = network(n, 1) + 0.3 * network(n, 2)
    u = v - v[0]
    delta = share * np.abs(u).max()
    result = extract(v, delta, GAP, reference=first)
    best = fused_programme(u, delta, first.effects, FUSE)
    own = np.abs(result.effects).sum() + FUSE * np.abs(result.effects - first.effects).sum()
    assert matches(result, v)
    assert result.converged
    assert result.objective == pytest.approx(own)
    assert result.objective * (1 - result.duality_gap) <= best * (1 + 1e-7)
    assert best <= result.objective * (1 + 1e-7)
    assert result.objective - best <= RIDGE_COST * result.objective


def test_what_did_not_change_does_not_change():
    before = extract(network(7, 3), 0.0)
    v = before.scores() + 1.5 * ((np.arange(128) & 5) == 5)  # one AND of two words is new
    alone, fused = (extract(v, 0.0, reference=r).effects - before.effects for r in (None, before))
    assert np.abs(fused).sum() == pytest.approx(1.5, rel=0.02)
    assert fused[0, 5] == pytest.approx(1.5, rel=0.02)
    assert np.abs(alone).sum() >= np.abs(fused).sum()


def test_fusing_takes_the_change_that_ties_make():
    pairs = [(network(6, seed), network(6, seed) + 0.3 * network(6, 100 + seed)) for seed in range(6)]
    before = extract([a for a, _ in pairs], 0.0)
    moved = [extract([b for _, b in pairs], 0.0, reference=r).effects - before.effects for r in (None, before)]
    alone, fused = (np.abs(change).sum((1, 2)).mean() for change in moved)
    assert fused < 0.85 * alone


def steadiness(before, after, omega):
    """Mean Jaccard index of the change sets (over 5 % of the largest) of fused splits whose ties are broken in two ways."""
    n, found = before.shape[-1].bit_length() - 1, []
    zero = np.zeros(len(before))
    for seed in (1, 2):
        costs = 1 + 1e-3 * np.random.default_rng(seed).random((len(before), 2, 1 << n))
        how = {"duality_gap": GAP, "max_iterations": 20_000, "tie": Tie(omega, costs)}
        first = solve(before - before[:, :1], zero, **how)
        first = np.stack([first.and_effects, first.or_effects], 1)
        second = solve(after - after[:, :1], zero, reference=first, **how)
        change = np.abs(np.stack([second.and_effects, second.or_effects], 1) - first)
        found.append(change > 0.05 * change.max((1, 2), keepdims=True))
    return float(np.mean((found[0] & found[1]).sum((1, 2)) / (found[0] | found[1]).sum((1, 2))))


def test_changes_do_not_depend_on_how_ties_are_broken():
    before = np.stack([network(6, seed) for seed in range(6)])
    after = before + 0.3 * np.stack([network(6, 100 + seed) for seed in range(6)])
    assert steadiness(before, after, OMEGA) >= 0.95
    assert steadiness(before, after, 1e-3) < 0.95  # where the linear programme alone decides


def test_a_finer_gap_gives_the_same_answer():
    v = network(6, 4)
    coarse, fine = (extract(v, 0.0, gap).effects for gap in (1e-3, 1e-6))
    assert np.abs(coarse - fine).max() < 0.02 * np.abs(fine).max()


def test_alternatives_match_the_scores_and_are_nearly_as_sparse():
    v = np.stack([network(6, seed) for seed in range(3)])
    found = extract(v, 0.0, certain=True)
    assert found.alternatives.shape == (3, ALTERNATIVES, 2, 64)
    for sample, others in zip(v, found.alternatives, strict=True):
        for a, b in others:
            np.testing.assert_allclose(reconstruct(a, b) + sample[0], sample, atol=1e-9)
    sizes = np.abs(found.alternatives).sum((-1, -2))
    assert (sizes <= 1.02 * np.abs(found.effects).sum((-1, -2))[:, None]).all()
    assert ((found.certain >= 0) & (found.certain <= 1)).all()
    assert np.array_equal(found[1].alternatives, extract(v[1], 0.0, certain=True).alternatives)


def test_what_is_exchangeable_is_named():
    """f + g = (f and g) + (f or g): where both sides are as sparse, none of the four is certain."""
    effects = np.array([[0, 1.0, 1.0, 0], [0, 0, 0, 0]])
    other = np.array([[0, 0, 0, 1.0], [0, 0, 0, 1.0]])
    assert standing(effects, np.stack([effects, other]))[0].tolist() == [1, 0.5, 0.5, 1]
    assert exchangeable(effects, np.stack([effects, other]), (0, 1)) in {(0, 2), (0, 3), (1, 3)}
    assert exchangeable(effects, np.stack([effects, effects]), (0, 1)) is None
    table = extract([0, 0, 0, 3.0], certain=True).to_pandas(["not", "good"])
    assert table[["words", "certain"]].values.tolist() == [[("not", "good"), 1.0]]
