"""Planted games of many words as lists of terms, and how many of them a sparse fit names."""

import numpy as np


def planted(n, ands, ors, seed, lowest=1, highest=3):
    rng = np.random.default_rng(seed)
    sets = []
    for count, low in ((ands, lowest), (ors, max(2, lowest))):
        taken = {}
        while len(taken) < count:
            words = rng.choice(n, rng.integers(low, highest + 1), replace=False)
            taken[sum(1 << int(i) for i in words)] = None
        sets += list(taken)
    effects = rng.uniform(0.5, 1.5, ands + ors) * rng.choice([-1.0, 1.0], ands + ors)
    return np.array(sets, dtype=np.uint64), np.arange(ands + ors) >= ands, effects


def recovery(found, masks, is_or):
    kept = found.salient()
    chosen = kept.and_ | kept.or_
    named = set(zip(found.masks[chosen].tolist(), found.is_or[chosen].tolist(), strict=True))
    true = set(zip(masks.tolist(), is_or.tolist(), strict=True))
    return len(named & true) / len(true), len(named & true) / max(1, len(named))
