"""Intervals over samples: a percentile bootstrap of a mean that skips NaN, for thousands of columns at once.

The samples (prompts) are what is resampled, never the interactions within one: interactions of one prompt are not
independent, prompts are. The interval says how far the mean would move with other prompts of the same kind; it says
nothing about another training seed.
"""

from typing import NamedTuple

import numpy as np

LEVEL = 0.95
_CHUNK = 4_000_000  # numbers held at a time: resamples x columns


class Interval(NamedTuple):
    """A mean over samples with its interval; `samples` is the number of samples that are not NaN. Each `[K]`."""

    value: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    samples: np.ndarray


def resample_counts(samples: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each sample is drawn in each resample: `[resamples, samples]`, every row sums to `samples`.

    >>> import numpy as np
    >>> resample_counts(3, 4, np.random.default_rng(0)).sum(axis=1)
    array([3., 3., 3., 3.])
    """
    drawn = rng.integers(0, samples, size=(resamples, samples))
    flat = drawn + samples * np.arange(resamples)[:, None]
    return np.bincount(flat.ravel(), minlength=resamples * samples).reshape(resamples, samples).astype(np.float64)


def interval(x: np.ndarray, counts: np.ndarray, level: float = LEVEL) -> Interval:
    """Mean over samples (axis 0) and its percentile bootstrap interval, NaN skipped.

    x `[S, K]`, counts `[R, S]` from `resample_counts`. A column with fewer than two defined samples has no interval (NaN):
    one prompt says nothing about others. A resample that happens to draw only undefined samples is left out.

    >>> import numpy as np
    >>> counts = resample_counts(3, 200, np.random.default_rng(0))
    >>> got = interval(np.array([[1.0, 0.1], [2.0, 0.1], [np.nan, 0.1]]), counts)
    >>> got.value, got.samples
    (array([1.5, 0.1]), array([2, 3]))
    >>> got.lo, got.hi  # of {1, 2} the extreme resamples are all-1 and all-2; a constant has no width
    (array([1. , 0.1]), array([2. , 0.1]))
    """
    x = np.asarray(x, dtype=np.float64)
    defined = ~np.isnan(x)
    samples = defined.sum(axis=0)
    # Deviations from the first defined sample, so that a constant gives exactly itself whatever the rounding of the sums.
    first = x[defined.argmax(axis=0), np.arange(x.shape[1])]
    deviation = np.where(defined, x - first, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = first + deviation.sum(axis=0) / samples
    lo, hi = np.full(x.shape[1], np.nan), np.full(x.shape[1], np.nan)
    columns = np.flatnonzero(samples >= 2)
    step = max(1, _CHUNK // len(counts))
    for start in range(0, len(columns), step):
        part = columns[start : start + step]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (counts @ deviation[:, part]) / (counts @ defined[:, part].astype(np.float64))
        means.sort(axis=0)  # NaN last
        usable = (~np.isnan(means)).sum(axis=0)
        tail = (1 - level) / 2
        lo[part] = first[part] + _sorted_quantile(means, usable, tail)
        hi[part] = first[part] + _sorted_quantile(means, usable, 1 - tail)
    return Interval(value, lo, hi, samples)


def _sorted_quantile(means: np.ndarray, usable: np.ndarray, q: float) -> np.ndarray:
    """The q-quantile (linear) of the first `usable[k]` numbers of each sorted column k."""
    position = q * (usable - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, usable - 1)
    columns = np.arange(means.shape[1])
    low, high = means[below, columns], means[above, columns]
    return low + (position - below) * (high - low)
