"""Which checkpoints differ from the lowest one, which was picked by looking. Arrays in, arrays out; no models, no rule."""

from collections.abc import Callable

import numpy as np

from interplay.dynamics.bootstrap import LEVEL

_CHUNK = 2_000_000  # numbers held at once


def exchanged(
    tables: tuple[np.ndarray, ...],
    statistic: Callable[..., np.ndarray],
    lowest: int,
    distance: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> np.ndarray:
    """Half-widths [T]: a checkpoint further than this above the lowest differs from it, at `level` for all of them at once.

    Were the checkpoints alike, each probe's values could be handed round among them. So they are, probe by probe, and the
    `level` quantile of the range of the statistic over checkpoints is the threshold (Tukey's, by permutation; exact, however
    few or skewed the probes). Then step-down: what lies beyond is set aside and the rest is asked again, so that one checkpoint
    that is far off does not hide the differences between the others [ours].

    tables     one or more `[T, P]`, permuted together: rows are checkpoints, columns probes
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
        threshold = np.quantile(_ranges(some, statistic, resamples, rng), level, method="higher")
        half[left] = threshold
        far = left[distance[left] > threshold + 1e-12]
        far = far[far != lowest]
        if not len(far):
            break
        left = np.setdiff1d(left, far)
    half[lowest] = 0.0
    return half


def _ranges(
    tables: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Largest minus smallest statistic over checkpoints, [resamples], each probe's values in random order."""
    steps, probes = tables[0].shape
    found = np.empty(resamples)
    chunk = max(1, _CHUNK // (steps * probes))
    for done in range(0, resamples, chunk):
        rows = min(chunk, resamples - done)
        order = rng.random((rows, steps, probes)).argsort(axis=1)
        values = statistic(*(np.take_along_axis(np.broadcast_to(t, order.shape), order, axis=1) for t in tables))
        found[done : done + rows] = values.max(axis=1) - values.min(axis=1)
    return found
