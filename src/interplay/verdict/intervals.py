"""Intervals over probes for checkpoints that are compared because one of them is the lowest. No models, no rule."""

import math

import numpy as np

from interplay.dynamics.bootstrap import LEVEL


def simultaneous(
    c: np.ndarray, lowest: int, resamples: int, rng: np.random.Generator, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean difference of each column of c to the column `lowest`, with intervals good for all pairs of columns at once.

    c `[samples, steps]`. A paired wild bootstrap over samples: whole rows of the centred table change sign, the largest
    studentised difference over all pairs is kept, and its `level` quantile scales every interval [ours]. Plain paired
    percentile intervals would find a difference in 43-75 % of pure-noise tables of 12 samples and 5-8 checkpoints (the
    lowest is picked by looking, and 12 samples are few); these do in 3-5 %. Two samples never suffice.

    >>> c = np.array([[1.0, 5.0], [2.0, 6.1], [3.0, 6.9], [4.0, 8.0], [5.0, 9.2], [6.0, 9.9], [0.0, 4.0], [1.0, 5.1]])
    >>> value, lo, hi = simultaneous(c, 0, 1000, np.random.default_rng(0))
    >>> value.round(3).tolist(), bool(lo[1] > 3.9), bool(hi[1] < 4.2)
    ([0.0, 4.025], True, True)
    """
    samples, steps = c.shape
    first, second = np.triu_indices(steps, 1)
    tiny = 1e-12 * np.abs(c).max()  # equal up to rounding is equal

    centred = c[:, first] - c[:, second]
    centred -= centred.mean(axis=0)
    centred[np.abs(centred) <= tiny] = 0.0
    largest = np.empty(resamples)
    chunk = max(1, 2_000_000 // centred.size)
    for done in range(0, resamples, chunk):
        rows = min(chunk, resamples - done)
        flipped = rng.choice([-1.0, 1.0], size=(rows, samples, 1)) * centred
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(flipped.mean(axis=1)) / _standard_error(flipped)
        largest[done : done + rows] = np.nan_to_num(t, nan=0.0, posinf=np.inf).max(axis=1)
    quantile = np.quantile(largest, level, method="higher")

    differences = c - c[:, [lowest]]
    differences[np.abs(differences) <= tiny] = 0.0
    value = differences.mean(axis=0)
    half = quantile * _standard_error(differences) if np.isfinite(quantile) else np.full(steps, np.inf)
    half[lowest] = 0.0
    return value, value - half, value + half


def _standard_error(table: np.ndarray) -> np.ndarray:
    """Of the mean over samples; table `[..., samples, K]`."""
    return table.std(axis=-2, ddof=1) / math.sqrt(table.shape[-2])
