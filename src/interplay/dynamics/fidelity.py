"""How well the interactions stand for the model at every checkpoint, as a table: matching error with its null, strength by rank.

One table (`fidelity.parquet`), columns `COLUMNS`. Rows with `rank` 0 hold the matching error, the others the strength by rank:

- `rms`      error of the salient interactions alone, over the standard deviation of the scores; null: a random set
- `r2`       share of the scores' variance they give back; null: a random set
- `rms_all`  error of all interactions; no null
- `sorted_strength`  strength of the `rank`-th strongest interaction as a share of the strongest; no null

The random set has as many interactions as are salient, drawn among all that are not zero. Means and intervals are over
prompts. The quantities of one prompt are in `fit`; nothing is read or written here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.fit import matching, sorted_strength
from interplay.dynamics.stats import generator, interval, resample_counts

RANDOM_SETS = 10  # draws of the matching error's null, per prompt and step [ours]
COLUMNS = ["step", "measure", "rank", "value", "lo", "hi", "null", "null_lo", "null_hi", "samples"]


class Fitted(NamedTuple):
    """One prompt at one checkpoint: effects `[2, 2^n]`, scores `[2^n]` (both log-odds), and which effects are salient."""

    effects: np.ndarray
    scores: np.ndarray
    salient: np.ndarray


def fidelity(samples: Mapping[int, Sequence[Fitted]], *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The table from every step's prompts, in the same order at every step (columns `COLUMNS`).

    >>> e = np.array([[0.0, 1, 2, 4], [0, 0, 0, 0.01]]); v = np.array([0.0, 1.01, 2.01, 7.01])
    >>> table = fidelity({0: [Fitted(e, v, e > 0.2)]})
    >>> table.loc[table["rank"] == 0, ["measure", "samples"]].values.tolist()
    [['rms', 1], ['r2', 1], ['rms_all', 1]]
    >>> table.loc[table["measure"] == "sorted_strength", "value"].tolist()[:4]
    [1.0, 0.5, 0.25, 0.0025]
    """
    first = next(iter(samples.values()))
    counts = resample_counts(len(first), resamples, generator(seed, "fidelity", len(first)))
    ranks = _ranks(max(one.effects.size for one in first))
    rows = []
    for step, prompts in samples.items():
        salient = [matching(*one) for one in prompts]
        nulls = [_random_sets(one, generator(seed, "fidelity", f"{step}-{i}")) for i, one in enumerate(prompts)]
        every = [matching(one.effects, one.scores) for one in prompts]
        for measure, values, null in (
            ("rms", [x.rms for x in salient], [x[0] for x in nulls]),
            ("r2", [x.r2 for x in salient], [x[1] for x in nulls]),
            ("rms_all", [x.rms for x in every], [math.nan] * len(every)),
        ):
            found = interval(np.column_stack([np.array(values, float), np.array(null, float)]), counts)
            rows.append((step, measure, 0, *np.stack(found[:3]).T.ravel(), int(found.samples[0])))
        strengths = interval(np.stack([sorted_strength(one.effects, ranks) for one in prompts]), counts)
        for rank, value, lo, hi, number in zip(ranks, *strengths, strict=True):
            rows.append((step, "sorted_strength", int(rank), value, lo, hi, math.nan, math.nan, math.nan, int(number)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _ranks(most: int) -> np.ndarray:
    """About 40 ranks from 1 to `most`, evenly on a log axis."""
    return np.unique(np.geomspace(1, most, 40).round().astype(np.int64))


def _random_sets(one: Fitted, rng: np.random.Generator) -> np.ndarray:
    """Null of rms and r2: as many interactions as are salient, drawn among all that are not zero. `[2]`."""
    present = np.flatnonzero(one.effects)
    size = min(int(one.salient.sum()), len(present))
    masks = np.zeros((RANDOM_SETS, one.effects.size), dtype=bool)
    for mask in masks:
        mask[rng.choice(present, size=size, replace=False)] = True
    shape = (RANDOM_SETS, *one.effects.shape)
    drawn = matching(
        np.broadcast_to(one.effects, shape),
        np.broadcast_to(one.scores, (RANDOM_SETS, len(one.scores))),
        masks.reshape(shape),
    )
    return np.array([drawn.rms.mean(), drawn.r2.mean()])
