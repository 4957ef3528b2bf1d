"""Values of words and pairs against brute force from their definitions, against shapiq, and of sampled effects."""

import itertools
from math import factorial

import numpy as np
import pytest

import interplay
from interplay.effects.moebius import reconstruct
from interplay.effects.values import fitted_values
from interplay.errors import InterplayError


def shapley_by_hand(v, n):
    """Mean gain of each word over all n! orders."""
    found = np.zeros(n)
    for order in itertools.permutations(range(n)):
        there = 0
        for i in order:
            found[i] += v[there | 1 << i] - v[there]
            there |= 1 << i
    return found / factorial(n)


def pair_by_hand(v, n, i, j):
    """Shapley interaction index: second differences, weighted by the sizes of the coalitions of the other words."""
    total, pair = 0.0, 1 << i | 1 << j
    for t in range(1 << n):
        if not t & pair:
            size = t.bit_count()
            weight = factorial(size) * factorial(n - size - 2) / factorial(n - 1)
            total += weight * (v[t | pair] - v[t | 1 << i] - v[t | 1 << j] + v[t])
    return total


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_against_brute_force(n):
    rng = np.random.default_rng(n)
    games = rng.normal(size=(2, 3, 1 << n))
    shapley, pairwise = interplay.shapley(games), interplay.pairwise(games)
    for at in np.ndindex(2, 3):
        v = games[at]
        assert shapley[at] == pytest.approx(shapley_by_hand(v, n))
        for i, j in itertools.product(range(n), repeat=2):
            assert pairwise[at][i, j] == pytest.approx(0 if i == j else pair_by_hand(v, n, i, j))
        for i in range(n):
            assert interplay.leave_one_out(v)[i] == v[-1] - v[(1 << n) - 1 - (1 << i)]
            assert interplay.keep_one(games)[at][i] == v[1 << i] - v[0]
        assert shapley[at].sum() == pytest.approx(v[-1] - v[0])


def test_against_shapiq():
    shapiq = pytest.importorskip("shapiq", reason="shapiq is not installed")
    n, rng = 5, np.random.default_rng(0)
    v = rng.normal(size=1 << n)
    exact = shapiq.ExactComputer(game=lambda rows: v[(rows * (1 << np.arange(n))).sum(-1)], n_players=n)
    assert interplay.shapley(v) == pytest.approx([exact("SV", 1)[(i,)] for i in range(n)])
    index = exact("SII", 2)
    for i, j in itertools.combinations(range(n), 2):
        assert interplay.pairwise(v)[i, j] == pytest.approx(index[(i, j)])


def test_values_of_effects_are_those_of_the_scores_they_add_up_to():
    n, rng = 4, np.random.default_rng(1)
    effects = rng.normal(size=(2, 1 << n))
    effects[:, 0] = effects[1, 1 << np.arange(n)] = 0
    kind, mask = np.nonzero(effects)
    v = reconstruct(*effects, 0.7)
    found = fitted_values(mask.astype(np.uint64), kind == 1, effects[kind, mask], n)
    for ours, theirs in zip(found, (interplay.shapley, interplay.leave_one_out, interplay.keep_one), strict=True):
        assert ours == pytest.approx(theirs(v))


def test_what_is_no_score_table_is_refused():
    for wrong in (3.0, [1, 2, 3], [0.0, np.nan]):
        with pytest.raises(InterplayError, match=r"2\*\*n|finite"):
            interplay.shapley(wrong)
