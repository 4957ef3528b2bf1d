"""Rank correlation between two curves over the checkpoints of one trajectory, with a bootstrap interval.

Checkpoints of one training depend on each other, so they stay fixed, and the prompts and rows behind the curves are resampled.
The interval says nothing about another training, and does not test whether the two are related.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.stats import mean_of, percentile, resampled

FEWEST = 5  # checkpoints: of two unrelated curves, three agree or disagree perfectly in 1 of 3 cases, five in 1 of 60


class Curve(NamedTuple):
    value: np.ndarray  # [T] over checkpoints, NaN where not measured
    resampled: np.ndarray | None = None  # [R, T] the curve in R resamples; None where there is nothing to resample


class Correlation(NamedTuple):
    """Spearman's rank correlation with a 95 % percentile interval, and over how many checkpoints; NaN where it is not defined."""

    spearman: float
    lo: float
    hi: float
    checkpoints: int


def curve_of_samples(samples: np.ndarray, resamples: int, rng: np.random.Generator) -> Curve:
    """The mean curve of `samples` [S, T], NaN left out, and the same of resampled rows.

    >>> curve = curve_of_samples(np.array([[0.0, 1.0, 2.0], [0.0, 3.0, np.nan]]), 3, np.random.default_rng(2))
    >>> curve.value, curve.resampled
    (array([0., 2., 2.]), array([[0., 2., 2.],
           [0., 1., 2.],
           [0., 2., 2.]]))
    """
    x = np.asarray(samples, dtype=np.float64).T
    value = mean_of(x, np.ones((1, len(samples))))[0]
    return Curve(value, resampled(lambda counts: mean_of(x, counts), len(samples), resamples, rng))


def correlate(a: Curve, b: Curve, *, steps: np.ndarray | None = None, from_step: int | None = None) -> Correlation:
    """Spearman's rank correlation of two curves over the checkpoints where both are measured, from `from_step` on (None: all).

    steps: [T] step of each checkpoint; needed with `from_step`. NaN for a constant curve or fewer than 5 checkpoints. A
    resample in which either curve is constant or has a hole is left out; without half of them there is no interval.

    >>> a = Curve(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    >>> correlate(a, Curve(np.array([1.0, 3.0, 2.0, 4.0, 5.0]))).spearman  # 1 - 6 * (0 + 1 + 1 + 0 + 0) / (5 * 24)
    0.9
    >>> correlate(a, Curve(np.array([9.0, 1.0, 2.0, 3.0, 4.0])), steps=np.array([0, 5, 10, 20, 40]), from_step=5)[0::3]
    (nan, 4)
    """
    used = np.isfinite(a.value) & np.isfinite(b.value)
    if from_step is not None:
        assert steps is not None
        used &= np.asarray(steps) >= from_step
    count = int(used.sum())
    nothing = Correlation(float("nan"), float("nan"), float("nan"), count)
    if count < FEWEST:
        return nothing
    spearman = round(float(spearman_rows(a.value[None, used], b.value[None, used])[0]), 12)
    if not np.isfinite(spearman) or (a.resampled is None and b.resampled is None):
        return nothing._replace(spearman=spearman)
    x, y = (c.value[None, used] if c.resampled is None else c.resampled[:, used] for c in (a, b))
    return Correlation(*percentile(spearman, spearman_rows(x, y)), count)


def spearman_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row of x and y, [R, T] each (or one row for all); NaN for constant rows or NaN in one.

    >>> spearman_rows(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), np.array([[3.0, 2.0, 1.0]]))
    array([-1., nan])
    """
    a, b = (pd.DataFrame(z).rank(axis=1).to_numpy() - (z.shape[1] + 1) / 2 for z in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        spearman = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    spearman[~(np.isfinite(x).all(1) & np.isfinite(y).all(1))] = np.nan
    return spearman
