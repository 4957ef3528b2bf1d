"""Churn floors: what a change without training "removes" and "emerges", and how many times that a training step does.

Two templates, two precisions or two draws of words of one checkpoint also differ in their salient interactions [ours].
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.measures import CHURN_MEASURES, MEASURES, floor_values, set_values
from interplay.dynamics.sets import CHURN_SETS, DEFINITIONS, RATIO, partition
from interplay.dynamics.stats import interval, ratio_of_means

FLOORS = ["reference", "floor", "definition", "set", "measure", "value", "lo", "hi", "samples"]
MULTIPLES = ["reference", "floor", "definition", "set", "measure", "step", "ratio", "lo", "hi", "samples"]


class Twin(NamedTuple):
    """One sample twice: effects over checkpoints `[T, 2, 2^n]`, those of the reference under W variations `[W, 2, 2^n]`."""

    effects: np.ndarray
    twins: np.ndarray


class Churn(NamedTuple):
    """`floors` has one row a definition x set x measure, `multiples` one more axis, the step (columns: FLOORS, MULTIPLES)."""

    floors: pd.DataFrame
    multiples: pd.DataFrame


def restrict(effects: np.ndarray, words: Sequence[int]) -> np.ndarray:
    """Effects among some of the words: `[..., 2, 2^n]` -> `[..., 2, 2^m]`, bit j of the new index = words[j]."""
    chosen = np.zeros(1 << len(words), dtype=np.int64)
    for bit, word in enumerate(words):
        chosen |= (np.arange(len(chosen)) >> bit & 1) << word
    return effects[..., chosen]


def shared_words(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Places in each of the words that two draws from one text have in common; words are offsets in the text."""
    both = [word for word in first if word in second]
    return [first.index(word) for word in both], [second.index(word) for word in both]


def churn(
    samples: Sequence[Twin | None],
    steps: Sequence[int],
    reference: int,
    floor: str,
    *,
    ratio: float = RATIO,
) -> Churn:
    """The floor of one variation at the reference step, and every later step as a multiple of it.

    samples    one `Twin` a sample, or None where the variation could not be measured; n may differ
    steps      T optimiser steps, ascending; `reference` is one of them
    floor      name of the variation, for the tables

    A multiple is the mean over samples at a step by the mean of the floor over the same samples, with the interval of such a ratio.
    """
    at = steps.index(reference)
    used = [s for s in samples if s is not None]
    if not used:
        return Churn(pd.DataFrame(columns=FLOORS), pd.DataFrame(columns=MULTIPLES))
    keys = list(itertools.product(DEFINITIONS, CHURN_SETS, CHURN_MEASURES))
    found = np.array([_figures(s, at, keys, ratio) for s in used])  # [S, K, 1 + T]: the floor, then every step
    floors = interval(found[:, :, 0], *np.array([MEASURES[measure].bounds for _, _, measure in keys]).T)
    rows = [(reference, floor, *key, *row) for key, row in zip(keys, zip(*floors, strict=True), strict=True)]
    multiples = []
    for k, key in enumerate(keys):
        for t in range(at + 1, len(steps)):
            both = found[:, k][:, [0, 1 + t]]
            both = both[~np.isnan(both).any(axis=1)]
            ratios = ratio_of_means(both)
            multiples.append((reference, floor, *key, steps[t], *ratios, len(both)))
    return Churn(pd.DataFrame(rows, columns=FLOORS), pd.DataFrame(multiples, columns=MULTIPLES))


def _figures(sample: Twin, at: int, keys: list[tuple[str, str, str]], ratio: float) -> np.ndarray:
    """`[K, 1 + T]`: each figure between the reference and its twins, then at every checkpoint."""
    ref = sample.effects[at]
    floor = {d: floor_values(sample.effects, at, sample.twins, d, ratio) for d in DEFINITIONS}
    over = {d: set_values(partition(sample.effects, at, d, ratio), sample.effects, ref, 0) for d in DEFINITIONS}
    return np.array([[floor[d][measure, name, 0], *over[d][measure, name, 0]] for d, name, measure in keys])
