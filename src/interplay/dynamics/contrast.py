"""What changed in the interactions of one prompt from one state to another: two models, or two checkpoints."""

from typing import NamedTuple

import numpy as np

from interplay.dynamics import measures
from interplay.dynamics.sets import RATIO, changed, salient, thresholds
from interplay.effects.certainty import COMPARABLE, TYPES, certainty

OUTCOMES = ("new", "gone", "flipped", "stronger", "weaker", "kept")


class ChangedInteraction(NamedTuple):
    """One interaction in both states."""

    type: str  # "and", "or"
    mask: int
    before: float  # effects, log-odds
    after: float
    change: float  # after - before
    outcome: str  # one of `OUTCOMES`
    above_floor: bool | None  # larger than any change by another wording of the first state; None where not measured
    # The fraction of other splits, as sparse, in which it changes alike (None without others), and what changes in its place.
    certain: float | None = None
    instead: tuple[str, int] | None = None  # type, coalition


class Floor(NamedTuple):
    """What another wording of the first state changes."""

    largest: float  # |change| of one interaction, log-odds
    total: float  # sum of |change| over all


class Contrast(NamedTuple):
    """The changes of one prompt from A to B."""

    changes: tuple[ChangedInteraction, ...]  # |change| over 5 % of the largest one, strongest first
    total: float  # sum of |change| over all interactions, log-odds
    tau: float  # salient in A, in B: over this size, the same for both
    salient: tuple[int, int]  # number in A and in B
    rho: tuple[float, float]  # the fraction of their strength that does not cancel
    floor: Floor | None = None  # None if not measured


def outcomes(before: np.ndarray, after: np.ndarray, tau: np.ndarray | float) -> np.ndarray:
    """What happened to each interaction, as one of `OUTCOMES`; tau is common to both states.

    new        salient after, not before
    gone       salient before, not after
    flipped    another sign
    stronger   more than twice as strong; weaker: less than half
    kept       the rest: the same sign within a factor of two

    >>> outcomes(np.array([0, 2, 2, 1, 3, 2]), np.array([2, 0, -1.5, 3, 1, 3]), 0.5).tolist()
    ['new', 'gone', 'flipped', 'stronger', 'weaker', 'kept']
    """
    a, b = np.abs(before), np.abs(after)
    rules = [(a <= tau) & (b > tau), (a > tau) & (b <= tau), before * after < 0, b > COMPARABLE * a, a > COMPARABLE * b]
    return np.select(rules, OUTCOMES[:5], OUTCOMES[5])


def contrast(
    before: np.ndarray,
    after: np.ndarray,
    ratio: float = RATIO,
    floor: np.ndarray | None = None,
    others: np.ndarray | None = None,
) -> Contrast:
    """The changes between two states, from their effects `[2, 2^n]` each (row 0 AND, row 1 OR), log-odds.

    floor: effects of the first state under a second wording.
    others: the change in K other splits of both, [K, 2, 2^n] (`Interactions.alternatives`).

    >>> a, b = np.zeros((2, 2, 4))
    >>> a[0, 1:], b[0, 1:] = [2, 1, 0], [-2, 0, 5]  # {0} changes its sign, {1} leaves, {0, 1} comes
    >>> [(c.mask, c.change, c.outcome) for c in contrast(a, b).changes]
    [(3, 5.0, 'new'), (1, -4.0, 'flipped'), (2, -1.0, 'gone')]
    >>> reworded = np.zeros((2, 4)); reworded[0, 1:] = [3, 0, 0]  # {1} also leaves between two wordings of A
    >>> found = contrast(a, b, floor=reworded)
    >>> found.floor, [c.above_floor for c in found.changes]
    (Floor(largest=1.0, total=2.0), [True, True, False])
    """
    both, change = np.stack([before, after]), after - before
    tau = float(thresholds(both, "common", ratio)[0])
    omega, apart = salient(both, tau=tau), None
    a, b = omega.sum(axis=(-2, -1)).tolist()
    if floor is not None:
        moved = np.abs(floor - before)[:, 1:]
        apart = Floor(float(moved.max()), float(moved.sum()))
    kinds, masks = np.nonzero(changed(before, after, ratio))
    rank = np.argsort(-np.abs(change[kinds, masks]), kind="stable")
    at = kinds[rank], masks[rank]
    columns = before[at], after[at], change[at], outcomes(before[at], after[at], tau)
    sure = certainty(change, others, list(zip(*(x.tolist() for x in at), strict=True)))
    return Contrast(
        changes=tuple(
            ChangedInteraction(TYPES[kind], *row, None if apart is None else abs(row[3]) > apart.largest, *said)
            for (kind, *row), said in zip(zip(*(c.tolist() for c in (*at, *columns)), strict=True), sure, strict=True)
        ),
        total=float(measures.change(after, before)),
        tau=tau,
        salient=(a, b),
        rho=tuple(measures.rho(both, omega).tolist()),
        floor=apart,
    )
