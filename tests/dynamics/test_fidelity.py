"""Matching error and sparsity: exact on planted games, checked against sums written out, refused with a reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interplay.dynamics.fidelity import matching, sorted_strength
from interplay.effects.moebius import reconstruct


def by_hand(effects, v_empty, mask):
    """The sums of [paper eq 3], coalition by coalition."""
    n = effects.shape[-1].bit_length() - 1
    out = []
    for t in range(1 << n):
        total = v_empty
        for s in range(1, 1 << n):
            if mask[0, s] and s & t == s:
                total += effects[0, s]
            if mask[1, s] and s & t:
                total += effects[1, s]
        out.append(total)
    return np.array(out)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 4))
def test_only_the_chosen_interactions_speak(seed, n):
    rng = np.random.default_rng(seed)
    effects, mask = rng.normal(size=(2, 1 << n)), rng.random((2, 1 << n)) < 0.5
    v = rng.normal(size=1 << n)
    error = np.sqrt(((v - by_hand(effects, v[0], mask)) ** 2).mean()) / v.std()
    np.testing.assert_allclose(matching(effects, v, mask), error)


@given(seed=st.integers(0, 10**6))
def test_all_of_them_match_exactly_and_none_explains_nothing_but_the_offset(seed):
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(3, 2, 16))
    effects[..., 0] = 0
    v = reconstruct(effects[:, 0], effects[:, 1], rng.normal(size=3))
    np.testing.assert_allclose(matching(effects, v), 0, atol=1e-12)
    none = matching(effects, v, np.zeros_like(effects, dtype=bool))
    offset = (v - v[:, :1]).mean(-1) ** 2 / v.var(-1)
    np.testing.assert_allclose(none**2, 1 + offset)


def test_leading_axes_are_kept():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(4, 3, 2, 8))
    v = rng.normal(size=(4, 3, 8))
    found = matching(effects, v, np.abs(effects) > 0.5)
    one = matching(effects[2, 1], v[2, 1], np.abs(effects[2, 1]) > 0.5)
    assert found.shape == (4, 3)
    assert found[2, 1] == pytest.approx(float(one))


def test_scores_without_spread_have_no_error():
    assert np.isnan(matching(np.zeros((2, 4)), np.full(4, 3.0)))


def test_strength_by_rank_falls_from_one():
    effects = np.random.default_rng(1).normal(size=(5, 2, 32))
    shares = sorted_strength(effects, np.arange(1, 65))
    assert shares.shape == (5, 64)
    assert (shares[:, 0] == 1).all()
    assert (np.diff(shares) <= 0).all()
    np.testing.assert_allclose(np.sort(shares[0]) * np.abs(effects[0]).max(), np.sort(np.abs(effects[0]).ravel()))
    assert np.isnan(sorted_strength(np.zeros((2, 4)), [1])).all()
