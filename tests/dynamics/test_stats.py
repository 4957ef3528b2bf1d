"""Intervals over samples."""

import numpy as np
import pytest

from interplay.dynamics import stats
from interplay.dynamics.stats import interval, resample_counts


def counts(samples, resamples=1000):
    return resample_counts(samples, resamples, np.random.default_rng(0))


@pytest.mark.parametrize("constant", [0.1, 1 / 3, -1e9, 0.0])
def test_a_constant_has_no_width_and_is_itself(constant):
    got = interval(np.full((7, 1), constant), counts(7))
    assert got.value[0] == got.lo[0] == got.hi[0] == constant


def test_agrees_with_a_plain_loop():
    x = np.random.default_rng(1).normal(size=(6, 3))
    c = counts(6, 500)
    got = interval(x, c)
    means = np.array([[np.repeat(x[:, k], row.astype(int)).mean() for row in c] for k in range(3)])
    assert got.value == pytest.approx(x.mean(0))
    assert got.lo == pytest.approx(np.quantile(means, 0.025, axis=1))
    assert got.hi == pytest.approx(np.quantile(means, 0.975, axis=1))


def test_nan_is_skipped_and_counted():
    x = np.array([[1.0, np.nan, np.nan], [3.0, np.nan, 2.0], [np.nan, np.nan, np.nan]])
    got = interval(x, counts(3))
    assert got.samples.tolist() == [2, 0, 1]
    assert got.value[0] == 2
    assert (got.lo[0], got.hi[0]) == (1, 3)
    assert np.isnan([got.value[1], got.lo[1], got.hi[1], got.lo[2], got.hi[2]]).all()
    assert got.value[2] == 2


def test_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    got = interval(rng.normal(size=(40, 2000)), counts(40, 500))
    assert 0.91 < ((got.lo <= 0) & (got.hi >= 0)).mean() < 0.97


def test_chunks_change_nothing(monkeypatch):
    x = np.random.default_rng(2).normal(size=(5, 50))
    whole = interval(x, counts(5, 100))
    monkeypatch.setattr(stats, "_CHUNK", 700)
    assert np.allclose(np.array(interval(x, counts(5, 100))), np.array(whole))
