"""How well the interactions stand for the model: matching error on all coalitions, and how few of them are strong.

Measures of the table, means over prompts: `rms` (error of the salient interactions alone, over the standard deviation of the
scores) and `r2` (1 - rms^2, the fraction of the scores' variance they explain), with a random set as null; `rms_all` (error of all); and
`sorted_strength` (strength of the `rank`-th strongest as a fraction of the strongest; `rank` is 0 elsewhere).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from interplay.dynamics.stats import generator, interval
from interplay.effects.moebius import reconstruct

Array = NDArray[Any]

RANDOM_SETS = 10  # draws of the matching error's null, per prompt and step [ours]
COLUMNS = ["step", "measure", "rank", "value", "lo", "hi", "null", "null_lo", "null_hi", "samples"]


def matching(effects: ArrayLike, scores: ArrayLike, mask: ArrayLike | None = None) -> Array:
    """Error `[..]` of the logical model of the interactions in `mask` (None: all) against the scores `[.., 2^n]`  [paper eq 3].

    Root mean square error over all coalitions / standard deviation of the scores: 0 = exact, 1 = no better than their mean; NaN
    where these are all the same. effects `[.., 2, 2^n]` in log-odds, row 0 AND, row 1 OR.

    >>> e = np.array([[0.0, 0, 0, 4], [0, 0, 0, 0]])       # one AND of two words
    >>> float(matching(e, [1.0, 1, 1, 5]))                 # exact
    0.0
    >>> round(float(matching(e, [1.0, 1, 1, 5], e > 9)), 4)    # 1 everywhere: mean square error 16/4 = 4, variance 3
    1.1547
    """
    v, e = np.asarray(scores, dtype=np.float64), np.asarray(effects, dtype=np.float64)
    if mask is not None:
        e = np.where(mask, e, 0.0)
    model = reconstruct(e[..., 0, :], e[..., 1, :], v[..., 0])
    spread = v.std(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, np.sqrt(((v - model) ** 2).mean(axis=-1)) / spread, np.nan)


def sorted_strength(effects: ArrayLike, ranks: ArrayLike) -> Array:
    """Strength at the given ranks (1 = strongest) as a fraction of the strongest: `[.., 2, 2^n]` -> `[.., R]`; NaN if all are 0."""
    e = np.asarray(effects, dtype=np.float64)
    at = np.asarray(ranks)
    size = -np.sort(-np.abs(e.reshape(*e.shape[:-2], -1)), axis=-1)
    found = np.where(at <= size.shape[-1], size[..., np.minimum(at, size.shape[-1]) - 1], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return found / size[..., :1]


class Fitted(NamedTuple):
    """One prompt at one checkpoint: effects `[2, 2^n]`, scores `[2^n]` (both log-odds), and which effects are salient."""

    effects: np.ndarray
    scores: np.ndarray
    salient: np.ndarray


def fidelity(samples: Mapping[int, Sequence[Fitted]], *, seed: int = 0) -> pd.DataFrame:
    """The table from every step's prompts, in the same order at every step."""
    first = next(iter(samples.values()))
    # About 40 ranks, evenly on a log axis.
    ranks = np.unique(np.geomspace(1, max(one.effects.size for one in first), 40).round().astype(np.int64))
    rows = []
    for step, prompts in samples.items():
        salient = np.array([matching(*one) for one in prompts])
        nulls = np.array(
            [_random_sets(one, generator(seed, "fidelity", f"{step}-{i}")) for i, one in enumerate(prompts)]
        )
        every = np.array([matching(one.effects, one.scores) for one in prompts])
        for measure, values, null, bounds in (
            ("rms", salient, nulls[:, 0], (0.0, math.inf)),
            ("r2", 1 - salient**2, nulls[:, 1], (-math.inf, 1.0)),
            ("rms_all", every, math.nan * every, (0.0, math.inf)),
        ):
            found = interval(np.column_stack([values, null]), *bounds)
            rows.append((step, measure, 0, *np.stack(found[:3]).T.ravel(), int(found.samples[0])))
        strengths = interval(np.stack([sorted_strength(one.effects, ranks) for one in prompts]), 0.0, 1.0)
        for rank, value, lo, hi, number in zip(ranks, *strengths, strict=True):
            rows.append((step, "sorted_strength", int(rank), value, lo, hi, math.nan, math.nan, math.nan, int(number)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _random_sets(one: Fitted, rng: np.random.Generator) -> np.ndarray:
    """Null of rms and r2: as many interactions as are salient, drawn among all that are not zero. `[2]`."""
    present = np.flatnonzero(one.effects)
    size = min(int(one.salient.sum()), len(present))
    masks = np.zeros((RANDOM_SETS, one.effects.size), dtype=bool)
    for mask in masks:
        mask[rng.choice(present, size=size, replace=False)] = True
    drawn = matching(one.effects, one.scores, masks.reshape(RANDOM_SETS, *one.effects.shape))
    return np.array([drawn.mean(), (1 - drawn**2).mean()])
