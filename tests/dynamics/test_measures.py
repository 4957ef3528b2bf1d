"""Measures by hand, and the identities that hold over all effects."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interplay.dynamics import measures as m

# AND{0} = 3, AND{1} = -1, AND{0,1} = 2, OR{0,1} = -4
W = np.array([[0.0, 3.0, -1.0, 2.0], [0.0, 0.0, 0.0, -4.0]])
ALL = W != 0
NONE = np.zeros_like(ALL)


def test_by_hand():
    assert m.count(ALL) == 4
    assert m.strength(W, ALL) == 10
    assert m.net(W, ALL) == 0
    assert m.rho(W, ALL) == 0
    assert m.rho(W, W > 0) == 1
    assert m.quotient(m.net(W, W > 0), m.count(W > 0)) == 2.5
    assert m.mean_order(W, ALL) == pytest.approx((3 + 1 + 2 * 2 + 4 * 2) / 10)
    up, down = m.by_order(W, ALL)
    assert up.tolist() == [0, 3, 2]
    assert down.tolist() == [0, -1, -4]
    assert m.loss_of(m.net(W, W > 0)) == pytest.approx(math.log1p(math.exp(-5)))
    assert m.loss_of(m.net(W, W < 0)) == pytest.approx(math.log1p(math.exp(5)))


def test_empty_set_ratios_are_nan_and_sums_are_zero():
    for ratio in (m.rho, m.mean_order):
        assert np.isnan(ratio(W, NONE))
    assert np.isnan(m.gamma(W, NONE, np.sign(W)))
    assert np.isnan(m.sign_agreement(W, W, NONE))
    assert m.strength(W, NONE) == m.net(W, NONE) == m.count(NONE) == 0
    assert m.loss_of(m.net(W, NONE)) == pytest.approx(math.log(2))


def test_gamma_is_weighted_by_strength_and_needs_the_sign_and_the_kind():
    sign = np.array([[0, 1, 1, 0], [0, 0, 0, -1]])
    # AND{0} agrees (3), AND{1} has the other sign, AND{0,1} is not salient there, OR agrees (4)
    assert m.gamma(W, ALL, sign) == pytest.approx(7 / 10)
    assert m.gamma(W, ALL, sign[::-1]) == 0  # an AND is no OR


def test_leading_axes_are_kept():
    w = np.stack([W, 2 * W, 0 * W])
    assert m.strength(w, w != 0).tolist() == [10, 20, 0]
    assert m.by_order(w, w != 0)[0].shape == (3, 3)
    assert np.array_equal(m.rho(w, w != 0), [0, 0, np.nan], equal_nan=True)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_sum_of_all_effects_is_the_gap_so_rho_of_everything_is_gap_over_l1(seed, n):
    rng = np.random.default_rng(seed)
    e = rng.normal(size=(2, 1 << n))
    e[:, 0] = 0
    e[1, 1 << np.arange(n)] = 0
    inside = np.arange(1 << n)
    v = np.array([sum(e[0, s] for s in inside if s & t == s) + sum(e[1, s] for s in inside if s & t) for t in inside])
    everything = np.ones_like(e, bool)
    assert m.net(e, everything) == pytest.approx(v[-1] - v[0])
    got = m.scale(e, v)
    assert m.rho(e, everything) == pytest.approx(got["total_effect"] / got["l1"])
    assert got["l1_per_total_effect"] == pytest.approx(1 / m.rho(e, everything))
    assert got["cancelled_per_sd"] == pytest.approx((np.abs(e).sum() - abs(e.sum())) / v.std())


def test_walsh_high_of_known_games():
    bits = (np.arange(16)[:, None] >> np.arange(4)) & 1
    additive, parity = bits @ np.array([1.0, 2.0, -3.0, 0.5]), (-1.0) ** bits.sum(1)
    degree_2 = (-1.0) ** bits[:, :2].sum(1)
    assert m.walsh_high(additive) == pytest.approx(0)
    assert m.walsh_high(parity) == pytest.approx(1)
    assert m.walsh_high(degree_2) == pytest.approx(0)  # 2 is not above 4 / 2
    assert m.walsh_high(parity + degree_2) == pytest.approx(0.5)
    assert np.isnan(m.walsh_high(np.full(16, 0.1)))


def test_constant_scores_have_no_spread_and_no_ratio_to_it():
    got = m.scale(np.zeros((2, 8)), np.full(8, 0.1))
    assert got["sd"] == got["total_effect"] == got["l1"] == 0
    assert all(np.isnan(got[name]) for name in ("l1_per_sd", "l1_per_total_effect", "cancelled_per_sd", "walsh_high"))


def test_noise_floor_is_what_independent_errors_give():
    n, sigma = 5, 0.3
    rng = np.random.default_rng(0)
    a = rng.normal(0, sigma, size=(4000, 1 << n))
    for bit in range(n):
        pairs = a.reshape(4000, -1, 2, 1 << bit)
        pairs[:, :, 1] -= pairs[:, :, 0]
    order = np.array([bin(s).count("1") for s in range(1 << n)])
    measured = [np.abs(a[:, order == k]).sum(1).mean() for k in range(1, n + 1)]
    floor = m.noise_floor(sigma, n)
    assert floor[1:] == pytest.approx(measured, rel=0.03)
    assert floor[0] == pytest.approx(floor[1:].sum())


def test_loss_does_not_overflow():
    assert m.loss_of(np.array([1e4, -1e4])).tolist() == [0.0, 1e4]
