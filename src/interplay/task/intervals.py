"""Intervals over rows of a data set: Wilson's for a share, a percentile bootstrap for everything else. Arrays only.

Rows are what is resampled; an interval speaks of other rows of the same kind, not of another training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from interplay.dynamics.bootstrap import LEVEL


class Figure(NamedTuple):
    """A value with the ends of its 95 % interval; NaN where there is none."""

    value: float
    lo: float
    hi: float


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float, float]:
    """Share and its Wilson interval.

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.8, 0.49, 0.943]
    """
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # At 0 and at 1 an end is the share itself, but for rounding.
    return share, float(min(share, max(0.0, centre - half))), float(max(share, min(1.0, centre + half)))


def percentile(value: float, resampled: np.ndarray, level: float = LEVEL) -> Figure:
    """A value with the percentile interval of its resamples [R]. No ends where under half of the resamples are finite.

    >>> [round(x, 3) for x in percentile(20.0, np.arange(41))]  # 0, 1, ..., 40: 2.5 % lie below 1
    [20.0, 1.0, 39.0]
    """
    finite = resampled[np.isfinite(resampled)]
    if len(finite) < max(1, len(resampled) / 2):
        return Figure(float(value), float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Figure(float(value), float(low), float(high))


def mean_of(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of x [..., rows] in each resample, [R, ...]; NaN rows are left out, a resample of only those gives NaN.

    counts: [R, rows], how often each row is drawn (`dynamics.bootstrap.resample_counts`).

    >>> mean_of(np.array([1.0, 2.0, np.nan]), np.array([[1, 1, 1], [0, 3, 0], [0, 0, 3]]))
    array([1.5, 2. , nan])
    """
    x = np.asarray(x, dtype=np.float64)
    return ratio_of(x, np.ones_like(x), counts)


def ratio_of(over: np.ndarray, under: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum of `over` by sum of `under`, both [..., rows], in each resample: [R, ...]. Rows where either is NaN are left out.

    >>> ratio_of(np.array([3.0, 1.0]), np.array([2.0, 1.0]), np.array([[1, 1], [2, 0]]))  # 4/3 and 6/4
    array([1.33333333, 1.5       ])
    """
    over, under = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    known = np.isfinite(over) & np.isfinite(under)
    a, b = np.where(known, over, 0.0), np.where(known, under, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.tensordot(counts, a, (1, -1)) / np.tensordot(counts, b, (1, -1)))


def macro_f1(gold: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray) -> float:
    """F1 of each label that occurs as gold or as prediction, then their mean: `f1_score(average="macro")` of scikit-learn.

    >>> round(macro_f1([0, 0, 1, 1], [0, 1, 1, 2]), 4)  # F1 of the labels 0, 1, 2: 2/3, 1/2, 0
    0.3889
    """
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    labels, number = np.unique(np.concatenate([gold, predicted]), return_inverse=True)
    occurs = np.bincount(number)  # 2 tp + fp + fn
    hits = np.bincount(number[: len(gold)][gold == predicted], minlength=len(labels))
    return float(np.mean(2 * hits / occurs))


def macro_f1_of(gold: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`macro_f1` in each resample: [R] for gold, predicted [rows] and counts [R, rows].

    The same figure from sums of counts, since a thousand calls of it at each checkpoint would take long.

    >>> macro_f1_of(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), np.array([[1, 1, 1, 1], [1, 0, 1, 0]])).round(4)
    array([0.3889, 1.    ])
    """
    total = np.zeros(len(counts))
    present = np.zeros(len(counts))
    for label in np.union1d(gold, predicted):
        is_gold, is_predicted = gold == label, predicted == label
        hits = counts @ (is_gold & is_predicted).astype(np.float64)
        size = counts @ (is_gold.astype(np.float64) + is_predicted)  # 2 tp + fp + fn
        occurs = size > 0
        total += np.divide(2 * hits, size, out=np.zeros_like(size), where=occurs)
        present += occurs
    return total / present
