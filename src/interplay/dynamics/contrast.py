"""Two models on one prompt: which interactions were removed, kept and new between them.

Sets are those of `sets.partition` with the first model as reference. Each model has its own tau (a fraction of its largest
effect), so a model whose scores merely grew has lost nothing.
"""

from typing import NamedTuple

import numpy as np

from interplay.dynamics import measures
from interplay.dynamics.sets import RATIO, partition


class PairedInteraction(NamedTuple):
    """One interaction under both models."""

    kind: str  # "and", "or"
    mask: int
    before: float  # effects, log-odds
    after: float
    salient: tuple[bool, bool]  # in which of the two models

    @property
    def flipped(self) -> bool:
        """Salient in both, with another sign."""
        return all(self.salient) and self.before * self.after < 0


class SetTotal(NamedTuple):
    count: int
    strength: float  # sum of |I|, log-odds
    count_fraction: float | None  # of the salient interactions of its model; None where that model has none
    strength_fraction: float | None


class ContrastSets(NamedTuple):
    """What became of the salient interactions from model A to model B, strongest first."""

    removed: tuple[PairedInteraction, ...]  # by their effect in A
    kept: tuple[PairedInteraction, ...]  # by the larger effect of both
    new: tuple[PairedInteraction, ...]  # by their effect in B
    salient: tuple[int, int]  # number of salient interactions in A and in B
    removed_total: SetTotal  # of `removed`, weighed in A
    new_total: SetTotal  # of `new`, weighed in B
    floor: "ContrastSets | None" = None  # the same sets between two wordings of A; None if not measured

    def multiples(self) -> dict[str, dict[str, float | None]]:
        """How many times their floor `removed` and `new` are, in number and fraction of strength; None where it is 0."""
        assert self.floor is not None

        def times(ours: float | None, floor: float | None) -> float | None:
            return ours / floor if ours is not None and floor else None

        pairs = {
            "removed": (self.removed_total, self.floor.removed_total),
            "new": (self.new_total, self.floor.new_total),
        }
        figures = ("count", "strength_fraction")
        return {name: {x: times(getattr(a, x), getattr(b, x)) for x in figures} for name, (a, b) in pairs.items()}


def contrast(
    before: np.ndarray, after: np.ndarray, ratio: float = RATIO, floor: np.ndarray | None = None
) -> ContrastSets:
    """The sets between two models, from their effects `[2, 2^n]` each (row 0 AND, row 1 OR), log-odds.

    floor: effects of the first model under a second wording. The sign of a kept interaction may flip [paper].

    >>> a, b = np.zeros((2, 2, 4))
    >>> a[0, 1:], b[0, 1:] = [2, 1, 0], [-2, 0, 4]  # {0} changes its sign, {1} leaves, {0, 1} comes
    >>> found = contrast(a, b)
    >>> [(c.mask, c.flipped) for c in found.kept], [c.mask for c in found.removed], [c.mask for c in found.new]
    ([(1, True)], [2], [3])
    >>> found.removed_total.count_fraction, found.removed_total.strength_fraction  # 1 of 2, 1 of 3
    (0.5, 0.3333333333333333)
    >>> reworded = np.zeros((2, 4)); reworded[0, 1:] = [3, 0, 0]  # {1} also leaves between two wordings of A
    >>> contrast(a, b, floor=reworded).multiples()["removed"]
    {'count': 1.0, 'strength_fraction': 1.0}
    """
    both = np.stack([before, after])
    sets = partition(both, 0, ratio=ratio)

    def chosen(mask: np.ndarray, size: np.ndarray) -> tuple[PairedInteraction, ...]:
        kinds, masks = np.nonzero(mask)
        rank = np.argsort(-size[kinds, masks], kind="stable")
        result = []
        for kind, s in zip(kinds[rank], masks[rank], strict=True):
            salient = bool(sets.all[0, kind, s]), bool(sets.all[1, kind, s])
            effects = float(before[kind, s]), float(after[kind, s])
            result.append(PairedInteraction(("and", "or")[kind], int(s), *effects, salient))
        return tuple(result)

    def total(mask: np.ndarray, side: int) -> SetTotal:
        count, strength = int(mask.sum()), float(measures.strength(both[side], mask))
        whole = int(sets.all[side].sum())  # an interaction that is salient is not zero
        all_strength = float(measures.strength(both[side], sets.all[side]))
        return SetTotal(count, strength, count / whole if whole else None, strength / all_strength if whole else None)

    size = np.abs(both)
    return ContrastSets(
        removed=chosen(sets.removed[1], size[0]),
        kept=chosen(sets.kept[1], size.max(axis=0)),
        new=chosen(sets.emerged[1], size[1]),
        salient=(int(sets.all[0].sum()), int(sets.all[1].sum())),
        removed_total=total(sets.removed[1], 0),
        new_total=total(sets.emerged[1], 1),
        floor=None if floor is None else contrast(before, floor, ratio),
    )
