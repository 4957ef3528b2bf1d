"""What the nulls give where the answer is known."""

from itertools import permutations

import numpy as np
import pytest

from interplay.dynamics import measures, nulls
from interplay.dynamics.sets import salient
from interplay.dynamics.stats import generator


def rng():
    return np.random.default_rng(0)


def test_random_signs_of_a_large_set_follow_the_gaussian_law():
    w = rng().exponential(size=(1, 2000))
    expected = np.sqrt(2 / np.pi) * np.linalg.norm(w) / np.abs(w).sum()
    assert nulls.random_signs(w, 2000, rng())[0] == pytest.approx(expected, rel=0.05)


def test_random_signs_of_two_equal_effects():
    # |s1 + s2| / 2 is 0 or 1, each half of the time
    assert nulls.random_signs(np.array([[1.0, -1.0]]), 4000, rng())[0] == pytest.approx(0.5, abs=0.03)


def test_random_signs_do_not_care_for_signs_or_other_rows():
    w = rng().normal(size=(3, 64))
    w[1, ::2] = 0
    alone = nulls.random_signs(w[1:2], 100, rng())
    assert np.allclose(nulls.random_signs(-w, 100, rng())[1], alone)


def test_permutations_are_all_or_different_and_never_the_identity():
    everything = nulls.word_permutations(4, 200, rng())
    assert sorted(map(tuple, everything)) == sorted(set(permutations(range(4))) - {tuple(range(4))})
    some = nulls.word_permutations(6, 200, rng())
    assert some.shape == (200, 6)
    assert len({tuple(p) for p in some}) == 200
    assert tuple(range(6)) not in {tuple(p) for p in some}
    assert nulls.word_permutations(1, 200, rng()).shape == (0, 1)


def test_permuted_words_by_hand():
    # Ours: AND{0} of 2 and OR{0,1} of -1. The baseline's AND{0} (+) moves to {0}, {1} or {2} over the 5 non-identity
    # permutations of three words: it stays in one of them. OR{0,1} (-) becomes a pair that is {0,1} again in one.
    w = np.zeros((2, 8))
    w[0, 1], w[1, 3] = 2.0, -1.0
    sign = np.zeros((2, 8), dtype=int)
    sign[0, 1], sign[1, 3] = 1, -1
    got = nulls.permuted_words(w.reshape(1, -1), sign, 200, rng(), 3)
    assert got[0] == pytest.approx((2 * 1 + 1 * 1) / (5 * 3))


def test_permuted_words_agree_with_relabelling_and_measuring(make_game):
    n = 3
    ours, theirs = make_game(rng(), n), make_game(np.random.default_rng(1), n)
    mask, sign = salient(ours), np.where(salient(theirs), np.sign(theirs), 0)
    slow = []
    for p in list(permutations(range(n)))[1:]:
        moved = np.zeros_like(sign)
        for s in range(1 << n):
            moved[:, s] = sign[:, sum(1 << p[i] for i in range(n) if s >> i & 1)]
        slow.append(measures.gamma(ours, mask, moved))
    fast = nulls.permuted_words(np.where(mask, ours, 0).reshape(1, -1), sign, 200, rng(), n)
    assert fast[0] == pytest.approx(np.mean(slow))


def test_gamma_of_two_noise_games_is_far_from_0_and_its_null_says_so(make_game):
    gammas, null = [], []
    for seed in range(6):
        g = np.random.default_rng(seed)
        ours, theirs = make_game(g, 6, share=0.6), make_game(g, 6, share=0.6)
        mask, sign = salient(ours), np.where(salient(theirs), np.sign(theirs), 0)
        gammas.append(measures.gamma(ours, mask, sign))
        null.append(nulls.permuted_words(np.where(mask, ours, 0).reshape(1, -1), sign, 200, g, 6)[0])
    assert np.mean(gammas) > 0.15
    assert np.mean(null) == pytest.approx(np.mean(gammas), abs=0.05)


def test_random_subsets_at_the_ends_and_in_expectation():
    effects = np.array([2.0, -1.0, 0.5, 0.5])
    got = nulls.random_subset_losses(effects, np.array([0, 1, 4]), 4000, rng())
    assert got[0] == pytest.approx(np.log(2))
    assert got[1] == pytest.approx(measures.loss_of(effects).mean(), abs=0.03)
    assert got[2] == pytest.approx(measures.loss_of(effects.sum()))


def test_random_subsets_of_nothing():
    assert nulls.random_subset_losses(np.zeros(0), np.array([0, 0]), 10, rng()) == pytest.approx([np.log(2)] * 2)


def test_generator_depends_on_every_part_of_its_key():
    first = [generator(*key).integers(2**62) for key in ((0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a1"))]
    assert len(set(first)) == 5
    assert generator(0, "a", 1).integers(2**62) == first[0]


def test_other_prompts_are_gamma_against_each_of_them(make_game):
    ours, others = make_game(rng(), 3), [make_game(np.random.default_rng(i), 3) for i in (1, 2, 3)]
    mask, signs = salient(ours), [np.where(salient(e), np.sign(e), 0) for e in others]
    weights = np.where(mask, ours, 0).reshape(1, -1)
    slow = np.mean([measures.gamma(ours, mask, sign) for sign in signs])
    assert nulls.other_prompts(weights, signs, 3, rng())[0] == pytest.approx(slow)
    drawn = nulls.other_prompts(weights, signs, 1, rng())[0]
    assert any(drawn == pytest.approx(float(measures.gamma(ours, mask, sign))) for sign in signs)
    assert np.isnan(nulls.other_prompts(weights, [], 3, rng())).all()
    assert np.isnan(nulls.other_prompts(0 * weights, signs, 3, rng())).all()
