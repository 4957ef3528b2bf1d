"""The Harsanyi dividends (Moebius transform) of explained scores: ANDs alone, for libraries without ORs."""

import itertools

from interplay.effects.interactions import Interactions, SampledInteractions
from interplay.effects.moebius import moebius


def dividends(found: Interactions | SampledInteractions) -> dict[tuple[int, ...], float]:
    """The dividend of each set of words, by positions; () holds v(empty). Their sum over the subsets of T is the score of T.

    OR of S is the sum over its non-empty subsets T of (-1)^(|T| + 1) AND of T. Sampled effects give only the sets that occur.

    >>> from interplay.effects import extract
    >>> either = dividends(extract([0, 1, 1, 1], tolerance=0))      # one OR of both words
    >>> {members: round(value, 6) + 0.0 for members, value in either.items()}
    {(): 0.0, (0,): 1.0, (1,): 1.0, (0, 1): -1.0}
    """
    if isinstance(found, Interactions):
        values = moebius(found.scores()).tolist()
        return {_members(mask, found.n): value for mask, value in enumerate(values)}
    sums = {(): float(found.v_empty)}
    for mask, is_or, effect in zip(found.masks.tolist(), found.is_or.tolist(), found.effects.tolist(), strict=True):
        chosen = _members(mask, found.n)
        for size in range(1, len(chosen) + 1) if is_or else [len(chosen)]:
            sign = -1.0 if is_or and size % 2 == 0 else 1.0
            for part in itertools.combinations(chosen, size):
                sums[part] = sums.get(part, 0.0) + sign * effect
    return sums


def _members(mask: int, n: int) -> tuple[int, ...]:
    return tuple(i for i in range(n) if mask >> i & 1)
