"""Intervals over samples, and random draws: skewness-corrected t, Fieller's, Wilson's, percentile bootstraps, permutations.

Samples are prompts, or rows of a data set, never the interactions within one, which depend on each other. An interval says how
far a figure would move with other samples of the same kind, nothing about another training seed. docs/design/dynamics.md has the
coverage of each.
"""

import hashlib
import json
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
_CHUNK = 4_000_000  # numbers held at a time
FEWEST = 6  # prompts: with fewer, 2^-(S-1) signs are more than 5 %, so no sign-flip interval can exclude zero [ours]
_PERMUTED = 250_000  # numbers permuted at a time


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """A random generator that depends on the seed and the key alone, the same on every machine.

    >>> int(generator(0, "a", 1).integers(10**6)), int(generator(0, "a", 2).integers(10**6))
    (320202, 198943)
    """
    text = json.dumps([seed, *key], ensure_ascii=True)
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))


class Interval(NamedTuple):
    """A mean over samples with its interval; `samples` is the number of samples that are not NaN. Each `[K]`."""

    value: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    samples: np.ndarray


def resample_counts(samples: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each sample is drawn in each resample: `[resamples, samples]`, every row sums to `samples`."""
    drawn = rng.integers(0, samples, size=(resamples, samples))
    flat = drawn + samples * np.arange(resamples)[:, None]
    return np.bincount(flat.ravel(), minlength=resamples * samples).reshape(resamples, samples).astype(np.float64)


def t_quantile(degrees: np.ndarray) -> np.ndarray:
    """97.5 % quantile of Student's t with 1, 2, ... degrees of freedom: the expansion of Cornish and Fisher, within 1 %,
    with one and two degrees exact. (scipy is not among what a run needs.)

    >>> t_quantile(np.array([1, 2, 3, 11])).round(2).tolist()
    [12.71, 4.3, 3.16, 2.2]
    """
    z, v = NormalDist().inv_cdf((1 + LEVEL) / 2), np.maximum(degrees, 1).astype(np.float64)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    t = z + sum(term / v**power for power, term in enumerate(terms, 1))
    return np.where(v == 1, math.tan(math.pi * LEVEL / 2), np.where(v == 2, LEVEL * math.sqrt(2 / (1 - LEVEL**2)), t))


def interval(x: np.ndarray, lowest: np.ndarray | float = -np.inf, highest: np.ndarray | float = np.inf) -> Interval:
    """Mean over samples of x `[S, K]`, NaN skipped, with its t interval corrected for skewness: Hall's transformation of the
    studentised mean (1992), with quantiles of t instead of the normal ones [ours].

    Without skewness, and for two samples, it is the t interval. The ends stay within what the figure can be, `lowest` to
    `highest` (each `[K]` or a number). Columns with fewer than two defined samples have no interval (NaN).

    >>> [round(float(end[0]), 2) for end in interval(np.array([[1.0], [1], [2], [2], [9]]))[:3]]  # plain t: -1.2 to 7.2
    [3.0, 0.53, 13.63]
    """
    x = np.asarray(x, dtype=np.float64)
    defined = ~np.isnan(x)
    samples = defined.sum(axis=0)
    # Deviations from the first defined sample, so that a constant gives exactly itself whatever the rounding of the sums.
    first = x[defined.argmax(axis=0), np.arange(x.shape[1])]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = first + np.where(defined, x - first, 0.0).sum(axis=0) / samples
        deviation = np.where(defined, x - value, 0.0)
        error = np.sqrt((deviation**2).sum(axis=0) / (samples * (samples - 1)))  # of the mean; NaN for one sample
        cubes = (np.where(error > 0, deviation / error, 0.0) ** 3).sum(axis=0)
        skew = np.where(samples > 2, cubes / (samples * (samples - 1) * (samples - 2)), 0.0)  # of the mean, at most 1

        def transformed(t: np.ndarray) -> np.ndarray:
            return np.where(np.abs(skew) < 1e-6, t, 3 / skew * (np.cbrt(1 + skew * (t - skew / 6)) - 1))

        t = t_quantile(samples - 1)
        lo, hi = value - error * transformed(t), value - error * transformed(-t)
    return Interval(value, np.clip(lo, lowest, highest), np.clip(hi, lowest, highest), samples)


def resampled(
    curve: Callable[[np.ndarray], np.ndarray], rows: int, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """`curve` of counts [r, rows] for all resamples, [R, T], in blocks that fit in memory."""
    block = max(1, _CHUNK // max(rows, 1))
    sizes = [min(block, resamples - a) for a in range(0, resamples, block)]
    return np.concatenate([curve(resample_counts(rows, size, rng)) for size in sizes])


class Figure(NamedTuple):
    """A value with the ends of its 95 % interval; NaN where there is none."""

    value: float
    lo: float
    hi: float


def wilson(successes: int, trials: int) -> Figure:
    """Fraction of successes with its Wilson interval."""
    z, p = 1.96, successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    # At 0 and at 1 an end is the fraction itself, but for rounding.
    return Figure(p, float(min(p, max(0.0, centre - half))), float(max(p, min(1.0, centre + half))))


def percentile(value: float, resampled: np.ndarray) -> Figure:
    """A value with the percentile interval of its resamples [R]; no ends where under half of the resamples are finite."""
    finite = resampled[np.isfinite(resampled)]
    if len(finite) < max(1, len(resampled) / 2):
        return Figure(float(value), float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(value), float(low), float(high))


def mean_of(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of x [..., rows] in each resample, [R, ...], NaN left out; counts [R, rows] from `resample_counts`."""
    x = np.asarray(x, dtype=np.float64)
    return ratio_of(x, np.ones_like(x), counts)


def ratio_of(over: np.ndarray, under: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum of `over` by sum of `under`, both [..., rows], in each resample: [R, ...]. Rows where either is NaN are left out."""
    over, under = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    known = np.isfinite(over) & np.isfinite(under)
    a, b = np.where(known, over, 0.0), np.where(known, under, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.tensordot(counts, a, (1, -1)) / np.tensordot(counts, b, (1, -1)))


def ratio_of_means(pairs: np.ndarray) -> Figure:
    """Mean of the second column over mean of the first, both not negative, with Fieller's interval. pairs `[S, 2]`.

    No interval for one pair, and where the first mean cannot be told from 0: the ratio then has no upper end.

    >>> [round(x, 2) for x in ratio_of_means(np.array([[1.0, 2.0], [2.0, 5.0], [3.0, 5.0], [2.0, 4.0]]))]
    [2.0, 1.44, 3.27]
    """
    nan = float("nan")
    if not len(pairs):
        return Figure(nan, nan, nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        under, over = pairs.mean(axis=0)
        ratio = float(over / under)
        if len(pairs) < 2:
            return Figure(ratio, nan, nan)
        # The ratios r for which the t interval of the mean of (over - r under) holds 0: a r^2 - 2 b r + c <= 0.
        t = t_quantile(np.array(len(pairs) - 1))
        (a, b), (_, c) = np.outer([under, over], [under, over]) - t**2 * np.cov(pairs.T) / len(pairs)
        half = np.sqrt(max(b * b - a * c, 0.0))
    if not a > 0:
        return Figure(ratio, nan, nan)
    return Figure(ratio, float(max((b - half) / a, 0.0)), float((b + half) / a))


def paired_interval(d: np.ndarray, resamples: int, rng: np.random.Generator) -> Interval:
    """Mean over prompts of each column of d `[prompts, steps]`, NaN skipped, with intervals good for all columns at once.

    A wild bootstrap over prompts: rows of the centred table change sign as a whole, and the 95 % quantile of the largest
    studentised mean over the columns scales every interval [ours]. Columns of fewer than six prompts get no interval (NaN).
    """
    defined = ~np.isnan(d)
    samples = defined.sum(axis=0)
    value = np.where(defined, d, 0.0).sum(axis=0) / np.where(samples, samples, np.nan)
    enough = samples >= FEWEST
    lo, hi = np.full(d.shape[1], np.nan), np.full(d.shape[1], np.nan)
    centred = np.where(defined, d - value, 0.0)[:, enough]
    counts = samples[enough].astype(float)
    squares = (centred**2).sum(axis=0)
    error = np.sqrt(squares / (counts * (counts - 1)))
    signs = rng.choice([-1.0, 1.0], size=(resamples, len(d)))
    means = signs @ centred / counts
    # The variance of a flipped column: its squares do not change, its mean does.
    variance = (squares - counts * means**2) / (counts * (counts - 1))
    moving = error > 1e-12 * max(1e-300, float(np.nanmax(np.abs(d))))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(means) / np.sqrt(np.maximum(variance, 0.0))
    t = np.nan_to_num(t[:, moving], nan=0.0, posinf=np.inf)
    scale = float(np.quantile(t.max(axis=1), LEVEL, method="higher")) if moving.any() else 0.0
    half = np.where(moving, error * (scale if np.isfinite(scale) else np.nan), 0.0)
    lo[enough], hi[enough] = value[enough] - half, value[enough] + half
    return Interval(value, lo, hi, samples)


def exchanged(
    tables: tuple[np.ndarray, ...],
    statistic: Callable[..., tuple[np.ndarray, np.ndarray]],
    lowest: int,
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Half-widths [T]: a checkpoint further than this above the lowest differs from it, at 95 % for all of them at once.

    Each prompt's values are permuted among checkpoints; the threshold is the 95 % quantile of the largest difference of two
    checkpoints over its standard error (Tukey's). Then step-down: checkpoints beyond it are set aside and the rest is tested
    again [ours]. Exact where checkpoints are exchangeable within a prompt. Where only their spread differs, dividing by the
    standard errors keeps chance findings at .06 to .12 instead of .15 to .36 (docs/design/stopping.md).

    tables     one or more `[T, P]`, permuted together: rows are checkpoints, columns prompts
    statistic  of tables `[..., T, P]`, gives the figure `[..., T]` and what each prompt contributes to its change `[..., T, P]`

    >>> c = np.array([[0.0, 1, 2, 3, 4, 5], [0.1, 0.9, 2.1, 2.9, 4.1, 4.9], [9.0, 9.1, 9, 9.2, 9, 9]])
    >>> half = exchanged((c,), lambda x: (x.mean(axis=-1), x), 0, 500, np.random.default_rng(0))
    >>> (c.mean(axis=1) - c[0].mean() > half).tolist()
    [False, False, True]
    """
    half = np.zeros(len(tables[0]))
    left = np.arange(len(half))
    while len(left) > 1:
        some = tuple(table[left] for table in tables)
        steps, prompts = some[0].shape
        largest = []
        chunk = max(1, _PERMUTED // (steps * max(steps, prompts)))
        for done in range(0, resamples, chunk):  # each prompt's values in random order
            order = rng.random((min(chunk, resamples - done), steps, prompts)).argsort(axis=1)
            permuted = (np.take_along_axis(np.broadcast_to(t, order.shape), order, axis=1) for t in some)
            difference, error = _pairwise(*statistic(*permuted))
            largest.append(np.divide(difference, error, out=np.zeros_like(error), where=error > 0).max(axis=(1, 2)))
        threshold = np.quantile(np.concatenate(largest), LEVEL, method="higher")
        difference, error = (x[left == lowest][0] for x in _pairwise(*statistic(*some)))
        half[left] = threshold * error
        far = left[(difference > half[left] + 1e-12) & (left != lowest)]
        if not len(far):
            break
        left = np.setdiff1d(left, far)
    return half


def _pairwise(figure: np.ndarray, contributed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of checkpoints and their standard errors over prompts, `[..., T, T]` each."""
    centred = contributed - contributed.mean(axis=-1, keepdims=True)
    prompts = centred.shape[-1]
    shared = centred @ np.swapaxes(centred, -1, -2) / (prompts * (prompts - 1))
    own = np.diagonal(shared, axis1=-2, axis2=-1)
    error = np.sqrt(np.maximum(own[..., :, None] + own[..., None, :] - 2 * shared, 0.0))
    return np.abs(figure[..., :, None] - figure[..., None, :]), error
