"""Measures under chance: random signs, permuted words, other prompts, random subsets. Each null is the mean over its draws.

Draws are seeded by (seed, sample id, step): a trajectory does not change when a sample or checkpoint is added.
"""

from collections.abc import Sequence
from itertools import islice, permutations
from math import factorial

import numpy as np

from interplay.dynamics.measures import loss_of

_CHUNK = 4_000_000  # numbers held at a time


def random_signs(weights: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean of rho = |sum s |w|| / sum |w| over random signs s, the same in all rows. weights `[C, L]`, 0 outside the set."""
    size = np.abs(weights)
    used = np.flatnonzero(size.any(axis=0))
    size, total, length = size[:, used], size.sum(axis=1), weights.shape[1]
    summed = np.zeros(len(weights))
    for done in range(0, draws, step := max(1, _CHUNK // length)):
        signs = rng.integers(0, 2, size=(min(step, draws - done), length), dtype=np.int8)[:, used] * 2.0 - 1.0
        summed += np.abs(signs @ size.T).sum(axis=0)
    return np.divide(summed / draws, total, out=np.full(len(weights), np.nan), where=total > 0)


def word_permutations(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Different permutations of n words other than the identity: all n! - 1 where these are at most `draws`, else a sample."""
    if factorial(n) - 1 <= draws:
        return np.array(list(islice(permutations(range(n)), 1, None)), dtype=np.int64).reshape(-1, n)
    seen = {tuple(range(n))}
    found = []
    while len(found) < draws:
        new = tuple(rng.permutation(n).tolist())
        if new not in seen:
            seen.add(new)
            found.append(new)
    return np.array(found, dtype=np.int64)


def permuted_words(
    weights: np.ndarray, baseline_sign: np.ndarray, draws: int, rng: np.random.Generator, n: int
) -> np.ndarray:
    """Mean of gamma over permutations of the baseline LLM's word indices, `[C]`; NaN for an empty set.

    weights `[C, 2 * 2^n]` signed effects, 0 outside the set; baseline_sign `[2, 2^n]` as in `measures.gamma`.
    """
    used = np.flatnonzero(weights.any(axis=0))
    row, column = used >> n, used & ((1 << n) - 1)
    bits = ((column[:, None] >> np.arange(n)) & 1).astype(np.float64)  # [U, n]
    perms = word_permutations(n, draws, rng)
    return _mean_gamma(weights[:, used], [baseline_sign[row, (bits @ 2.0**p).astype(np.int64)] for p in perms])


def other_prompts(weights: np.ndarray, signs: Sequence[np.ndarray], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean of gamma against the baseline LLM on other prompts of as many words, `[C]`: what all prompts share by position.

    weights as for `permuted_words`; signs: one `[2, 2^n]` another prompt, all of them or `draws` drawn. NaN without any.
    """
    used = np.flatnonzero(weights.any(axis=0))
    chosen = range(len(signs)) if len(signs) <= draws else rng.choice(len(signs), size=draws, replace=False)
    return _mean_gamma(weights[:, used], [signs[i].ravel()[used] for i in chosen])


def _mean_gamma(weights: np.ndarray, signs: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of gamma `[C]` of weights `[C, U]` over the signs `[U]` of a baseline LLM; NaN without signs or weights."""
    up, down, total = np.maximum(weights, 0), np.maximum(-weights, 0), len(signs) * np.abs(weights).sum(axis=1)
    summed = sum((up @ (sign > 0) + down @ (sign < 0) for sign in signs), np.zeros(len(weights)))
    return np.divide(summed, total, out=np.full(len(weights), np.nan), where=total > 0)


def random_subset_losses(effects: np.ndarray, sizes: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean of -log sigmoid(sum of a random subset) for each size in `sizes`, nested within a draw. effects `[m]`: drawn from."""
    sizes = np.asarray(sizes, dtype=np.int64)
    summed = np.zeros(len(sizes))
    for done in range(0, draws, step := max(1, _CHUNK // max(1, len(effects)))):
        rows = min(step, draws - done)
        shuffled = rng.permuted(np.broadcast_to(effects, (rows, len(effects))), axis=1)
        sums = np.concatenate([np.zeros((rows, 1)), np.cumsum(shuffled, axis=1)], axis=1)
        summed += loss_of(sums[:, sizes]).sum(axis=0)
    return summed / draws
