"""Transforms against their definitions, and there and back exactly on integers."""

import numpy as np
import pytest
from effect_games import (
    and_by_definition,
    co_moebius,
    or_by_definition,
    or_moebius,
    or_zeta,
    scores_by_definition,
    zeta,
)
from hypothesis import given
from hypothesis import strategies as st

from interplay.effects.moebius import moebius, orders, reconstruct, walsh_energy


@st.composite
def integer_games(draw, most=6):
    n = draw(st.integers(0, most))
    return np.array(draw(st.lists(st.integers(-(10**6), 10**6), min_size=2**n, max_size=2**n)))


@given(integer_games())
def test_transforms_invert_each_other_exactly(v):
    for there, back in ((moebius, zeta), (zeta, moebius), (or_moebius, or_zeta), (or_zeta, or_moebius)):
        assert np.array_equal(back(there(v)), v)
        assert there(v).dtype == np.int64


@given(integer_games())
def test_either_transform_alone_explains_the_game(v):
    nothing = np.zeros_like(v)
    assert np.array_equal(reconstruct(moebius(v), nothing, v[0]), v)
    assert np.array_equal(reconstruct(nothing, or_moebius(v), v[0]), v)


@pytest.mark.parametrize("n", range(6))
def test_transforms_are_their_definitions(n):
    rng = np.random.default_rng(n)
    v, a, b = rng.integers(-9, 10, size=(3, 2**n))
    assert moebius(v).tolist() == and_by_definition(v)
    assert or_moebius(v).tolist() == or_by_definition(v)
    assert reconstruct(a, b, 7).tolist() == scores_by_definition(a, b, 7)
    signs = [[(-1) ** (s & t).bit_count() for t in range(2**n)] for s in range(2**n)]
    energy = np.bincount(orders(n), (np.array(signs) @ v / 2**n) ** 2)
    np.testing.assert_allclose(walsh_energy(v), energy, atol=1e-12)


@given(integer_games())
def test_or_is_the_signed_co_moebius_transform(v):
    order = orders(len(v).bit_length() - 1)
    assert or_moebius(v).tolist() == ((-1) ** (order + 1) * np.array(co_moebius(v))).tolist()


@given(integer_games())
def test_going_from_and_to_or_twice_is_the_identity(a):
    def switch(x):  # the OR effects of the game with AND effects x: K, up to its sign
        return or_moebius(zeta(x))

    assert np.array_equal(switch(switch(a)), a)


@given(integer_games())
def test_walsh_energy_is_the_mean_square(v):
    v = v / 7.0
    energy = walsh_energy(v)
    assert energy.shape == (orders(len(v).bit_length() - 1)[-1] + 1,)
    np.testing.assert_allclose(energy.sum(), (v**2).mean(), rtol=1e-9)
    np.testing.assert_allclose(energy[1:].sum(), v.var(), rtol=1e-6, atol=1e-6)


def test_leading_axes_and_inputs_are_left_alone():
    v = np.random.default_rng(0).normal(size=(2, 3, 16))
    before = v.copy()
    for f in (moebius, walsh_energy):
        assert np.array_equal(f(v)[1, 2], f(v[1, 2]))
        assert f(v[:0]).shape[:2] == (0, 3)
    a, b = v, v[::-1]
    assert np.array_equal(reconstruct(a, b, a[..., 0])[0, 1], reconstruct(a[0, 1], b[0, 1], a[0, 1, 0]))
    assert np.array_equal(v, before)


def test_orders_is_popcount_and_read_only():
    assert orders(5).tolist() == [s.bit_count() for s in range(32)]
    with pytest.raises(ValueError, match="read-only"):
        orders(5)[0] = 1
