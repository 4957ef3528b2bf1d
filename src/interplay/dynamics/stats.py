"""Random draws over samples, and intervals: percentile bootstraps, Wilson's interval, sign flips, permutations.

Samples are resampled (prompts, or rows of a data set), never the interactions within one, which depend on each other. An interval
says how far a figure would move with other samples of the same kind, nothing about another training seed.
"""

import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
_CHUNK = 4_000_000  # numbers held at a time
FEWEST = 6  # prompts: with fewer, 2^-(S-1) signs are more than 5 %, so no sign-flip interval can exclude zero [ours]
_PERMUTED = 2_000_000  # numbers permuted at a time; sets the order of draws


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


def interval(x: np.ndarray, counts: np.ndarray) -> Interval:
    """Mean over samples of x `[S, K]` and its percentile bootstrap interval by counts `[R, S]` (`resample_counts`), NaN skipped.
    Columns with fewer than two defined samples have no interval (NaN).
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
        tail = (1 - LEVEL) / 2
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


def ratio_of_means(pairs: np.ndarray, resamples: int, rng: np.random.Generator) -> Figure:
    """Mean of the second column over mean of the first, with a paired percentile interval (NaN for one pair). pairs `[S, 2]`."""
    nan = float("nan")
    if not len(pairs):
        return Figure(nan, nan, nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        under, over = pairs.mean(axis=0)
        means = resample_counts(len(pairs), resamples, rng) @ pairs
        drawn = means[:, 1] / means[:, 0]
        ratio = float(over / under)
    drawn = drawn[np.isfinite(drawn)]
    lo, hi = np.quantile(drawn, [0.025, 0.975]) if len(drawn) and len(pairs) > 1 else (nan, nan)
    return Figure(ratio, float(lo), float(hi))


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
    if not enough.any():
        return Interval(value, lo, hi, samples)
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
    statistic: Callable[..., np.ndarray],
    lowest: int,
    distance: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Half-widths [T]: a checkpoint further than this above the lowest differs from it, at 95 % for all of them at once.

    Each prompt's values are permuted among checkpoints; the threshold is the 95 % quantile of the range of the statistic over
    checkpoints (Tukey's). Then step-down: checkpoints beyond it are set aside and the rest is tested again [ours].

    tables     one or more `[T, P]`, permuted together: rows are checkpoints, columns prompts
    statistic  of tables `[..., T, P]`, gives `[..., T]`
    distance   [T], observed, above that of `lowest`

    >>> c = np.array([[0.0, 1, 2, 3, 4, 5], [0.1, 0.9, 2.1, 2.9, 4.1, 4.9], [9.0, 9, 9, 9, 9, 9]])
    >>> d = c.mean(axis=1) - c[0].mean()
    >>> half = exchanged((c,), lambda x: x.mean(axis=-1), 0, d, 500, np.random.default_rng(0))
    >>> (d > half).tolist()
    [False, False, True]
    """
    half = np.zeros(len(distance))
    left = np.arange(len(distance))
    while len(left) > 1:
        some = tuple(table[left] for table in tables)
        steps, prompts = some[0].shape
        ranges = []
        chunk = max(1, _PERMUTED // (steps * prompts))
        for done in range(0, resamples, chunk):  # each prompt's values in random order
            order = rng.random((min(chunk, resamples - done), steps, prompts)).argsort(axis=1)
            values = statistic(*(np.take_along_axis(np.broadcast_to(t, order.shape), order, axis=1) for t in some))
            ranges.append(values.max(axis=1) - values.min(axis=1))
        threshold = np.quantile(np.concatenate(ranges), LEVEL, method="higher")
        half[left] = threshold
        far = left[distance[left] > threshold + 1e-12]
        far = far[far != lowest]
        if not len(far):
            break
        left = np.setdiff1d(left, far)
    half[lowest] = 0.0
    return half
