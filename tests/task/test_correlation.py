"""Rank correlations against scipy and by hand; which resamples make their interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from interplay.dynamics.stats import mean_of
from interplay.task.correlation import Correlation, Curve, correlate, curve_of_samples, spearman_rows


@given(st.integers(0, 10_000), st.integers(2, 8), st.booleans())
def test_rows_are_correlated_as_scipy_does(seed, checkpoints, ties):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 5, checkpoints))
    if ties:
        x, y = x.round(), y.round()
    got = spearman_rows(x, y)
    for a, b, rank in zip(x, y, got, strict=True):
        if len(set(a)) == 1 or len(set(b)) == 1:
            assert np.isnan(rank)
        else:
            assert rank == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)
            shown = correlate(Curve(a), Curve(b))
            assert shown.checkpoints == checkpoints
            if checkpoints < 5:
                assert np.isnan(shown.spearman), "a rank correlation of so few says nothing"
            else:
                assert shown.spearman == round(float(spearmanr(a, b).statistic), 12)


def test_interval_resamples_prompts_and_rows():
    """Two prompts that go opposite ways: resamples of one alone give 1 or -1, of both give nothing, a flat mean."""
    samples = np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0, 0.5]])
    counts = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    rising = Curve(np.arange(5.0), np.tile(np.arange(5.0), (4, 1)))
    curve = curve_of_samples(samples, 4, np.random.default_rng(0))
    got = correlate(curve._replace(resampled=mean_of(samples.T, counts)), rising)
    # Means: 2, 2, 2, 2, 2.25: ranks 2.5 four times, then 5: 1/sqrt(2).
    assert got.spearman == pytest.approx(np.sqrt(0.5))
    assert (got.lo, got.hi, got.checkpoints) == (-1.0, 1.0, 5)
    same = correlate(curve_of_samples(samples[:1], 4, np.random.default_rng(0)), rising)
    assert same == Correlation(1.0, 1.0, 1.0, 5)


def test_a_curve_of_one_number_a_step_is_not_resampled():
    rng = np.random.default_rng(0)
    samples = np.arange(5.0) + rng.normal(0, 2, size=(12, 5))
    curve = curve_of_samples(samples, 500, rng)
    got = correlate(curve, Curve(np.array([5.0, 3.0, 2.0, 1.0, 0.5])))
    assert -1 <= got.lo <= got.spearman <= got.hi <= 1
    assert got.lo < got.hi
    alone = correlate(Curve(curve.value), Curve(np.array([5.0, 3.0, 2.0, 1.0, 0.5])))
    assert alone.spearman == got.spearman
    assert np.isnan([alone.lo, alone.hi]).all()


def test_only_checkpoints_from_a_step_on_where_both_are_known():
    steps = np.array([0, 10, 20, 40, 80, 160, 320])
    a = Curve(np.array([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    b = Curve(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, np.nan]))
    assert correlate(a, b, steps=steps)[0::3] == (pytest.approx(1 / 7), 6)
    assert correlate(a, b, steps=steps, from_step=10)[0::3] == (1.0, 5)
    assert correlate(a, b, steps=steps, from_step=20).checkpoints == 4
    assert np.isnan(correlate(a, b, steps=steps, from_step=20).spearman), "four points agree perfectly in 1 of 12 cases"


def test_what_never_changes_goes_with_nothing():
    got = correlate(Curve(np.ones(5), np.ones((10, 5))), Curve(np.arange(5.0), np.tile(np.arange(5.0), (10, 1))))
    assert np.isnan(got[:3]).all()
    assert got.checkpoints == 5


def test_undefined_resamples_are_left_out_up_to_half():
    rising = np.tile(np.arange(5.0), (10, 1))
    holes = rising.copy()
    holes[:4, 2] = np.nan
    got = correlate(Curve(np.arange(5.0), rising), Curve(np.arange(5.0), holes))
    assert got == Correlation(1.0, 1.0, 1.0, 5)
    holes[:6, 2] = np.nan
    got = correlate(Curve(np.arange(5.0), rising), Curve(np.arange(5.0), holes))
    assert got.spearman == 1.0
    assert np.isnan([got.lo, got.hi]).all()
