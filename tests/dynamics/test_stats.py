"""Intervals over samples: by hand, and how often they cover what they should."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from interplay.dynamics.stats import exchanged, interval, ratio_of_means, t_quantile

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.coverage import VALUES, coverage, ratio_coverage  # noqa: E402


@pytest.mark.parametrize("constant", [0.1, 1 / 3, -1e9, 0.0])
def test_a_constant_has_no_width_and_is_itself(constant):
    got = interval(np.full((7, 1), constant))
    assert got.value[0] == got.lo[0] == got.hi[0] == constant


def test_quantiles_of_t_are_scipys():
    degrees = np.arange(1, 200)
    assert t_quantile(degrees) == pytest.approx(student.ppf(0.975, degrees), rel=8e-3)


def test_without_skewness_it_is_the_t_interval():
    x = np.array([[1.0, 4.0], [2.0, 6.0], [3.0, np.nan], [4.0, np.nan]])
    got, half = interval(x), student.ppf(0.975, 3) * np.sqrt(5 / 3 / 4)
    assert (got.lo[0], got.hi[0]) == pytest.approx((2.5 - half, 2.5 + half), abs=2e-2)
    assert (got.lo[1], got.hi[1]) == pytest.approx(
        (5 - student.ppf(0.975, 1), 5 + student.ppf(0.975, 1))
    )  # two samples


def test_the_ends_are_where_halls_transformed_t_is_the_quantile():
    x = np.random.default_rng(1).exponential(size=9)
    got = interval(x[:, None])
    a = 9 / (8 * 7) * ((x - x.mean()) ** 3).sum() / x.std(ddof=1) ** 3 / 3  # skewness / sqrt(n)
    for end, sign in ((got.lo[0], 1), (got.hi[0], -1)):
        t = (x.mean() - end) / (x.std(ddof=1) / 3)
        assert t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6 == pytest.approx(sign * student.ppf(0.975, 8), rel=1e-3)
    assert got.hi[0] - got.value[0] > got.value[0] - got.lo[0]  # further on the side of the long tail


def test_nan_is_skipped_and_counted():
    x = np.array([[1.0, np.nan, np.nan], [3.0, np.nan, 2.0], [np.nan, np.nan, np.nan]])
    got = interval(x)
    assert got.samples.tolist() == [2, 0, 1]
    assert got.value[[0, 2]].tolist() == [2, 2]
    assert np.isnan([got.value[1], got.lo[1], got.hi[1], got.lo[2], got.hi[2]]).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9), st.floats(-10, 10), st.floats(0.1, 10))
def test_the_mean_lies_inside_and_the_interval_follows_scale_and_shift(values, shift, scale):
    x = np.array(values)[:, None]
    got, moved = interval(x), interval(shift + scale * x)
    assert got.lo[0] <= got.value[0] <= got.hi[0]
    tolerance = 1e-6 * max(1, np.abs(x).max())
    assert [moved.lo[0], moved.hi[0]] == pytest.approx(
        [shift + scale * got.lo[0], shift + scale * got.hi[0]], abs=tolerance, rel=1e-6
    )


def test_ends_stay_within_what_the_figure_can_be():
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    got = interval(x, 0.0, np.array([1.0, np.inf]))
    assert got.lo.tolist() == [0, 0]
    assert got.hi[0] == 1 < got.hi[1]


@pytest.mark.parametrize(("prompts", "least"), [(6, 0.89), (8, 0.90), (12, 0.91), (16, 0.91)])
@pytest.mark.parametrize("values", [name for name in VALUES if name != "sufficiency, mostly right"])
def test_it_covers_the_mean_of_such_values(values, prompts, least):
    """The table of docs/design/dynamics.md with fewer draws: standard error .005. The percentile bootstrap has .74 to .93."""
    mean = VALUES[values](np.random.default_rng(2), 1_000_000).mean()
    *_, used = coverage(VALUES[values], mean, prompts, 2500)
    assert least <= used <= 0.995


@pytest.mark.parametrize("prompts", [8, 12])
@pytest.mark.parametrize("values", VALUES)
def test_a_multiple_covers_the_ratio_of_means(values, prompts):
    assert ratio_coverage(VALUES[values], prompts, 400)[0] >= 0.91  # .95 and more, standard error .011


def test_ends_of_a_multiple_are_where_the_difference_is_just_told_from_zero():
    pairs = np.random.default_rng(0).exponential(1.0, (10, 2)) + 0.5
    got = ratio_of_means(pairs)
    assert got.lo < got.value < got.hi
    for end in (got.lo, got.hi):
        d = pairs[:, 1] - end * pairs[:, 0]
        assert abs(d.mean()) == pytest.approx(student.ppf(0.975, 9) * d.std(ddof=1) / np.sqrt(10), rel=1e-3)


def test_a_floor_that_is_not_told_from_zero_gives_no_interval():
    got = ratio_of_means(np.array([[0.0, 3.0], [0.0, 2.0], [1.0, 4.0]]))
    assert got.value == 9
    assert np.isnan([got.lo, got.hi]).all()
    assert np.isnan(ratio_of_means(np.array([[2.0, 4.0]]))[1:]).all()
    assert np.isnan(ratio_of_means(np.zeros((0, 2)))).all()


@pytest.mark.parametrize(("spread", "most"), [(np.full(6, 0.6), 0.09), (np.array([0.2] * 5 + [1.2]), 0.15)])
def test_checkpoints_that_are_alike_are_seldom_told_apart(spread, most):
    """Level .05 where checkpoints are exchangeable, about .09 where the spread of one differs (without standard errors: .3)."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(150):
        base, noise = rng.normal(0, 0.5, 12), rng.normal(size=(6, 12)) * spread[:, None]
        x = np.exp(base + noise - spread[:, None] ** 2 / 2)
        figure, lowest = x.mean(axis=1), int(x.mean(axis=1).argmin())
        half = exchanged((x,), lambda y: (y.mean(axis=-1), y), lowest, 200, rng)
        found += (figure - figure[lowest] > half).any()
    assert found / 150 <= most
