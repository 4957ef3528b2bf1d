"""What became of the salient interactions between two models: removed, kept, new, and how much of the strength that is."""

from typing import NamedTuple

import numpy as np

from interplay.dynamics import measures
from interplay.dynamics.sets import partition


class Changed(NamedTuple):
    """One interaction under both models: its kind ("and", "or"), its coalition, its two effects in nats."""

    kind: str
    mask: int
    before: float
    after: float
    salient: tuple[bool, bool]

    @property
    def flipped(self) -> bool:
        """Salient in both, with another sign."""
        return all(self.salient) and self.before * self.after < 0


class Total(NamedTuple):
    """A set in figures: how many, their strength (sum of |I|, nats), and both as shares of the salient ones of their model."""

    count: int
    strength: float
    count_share: float | None
    strength_share: float | None


class Changes(NamedTuple):
    """What became of the salient interactions from A to B, strongest first; `of` counts those of A and of B."""

    removed: tuple[Changed, ...]
    kept: tuple[Changed, ...]
    new: tuple[Changed, ...]
    of: tuple[int, int]
    gone: Total
    come: Total


def changes(before: np.ndarray, after: np.ndarray) -> Changes:
    """The sets between two models, from their effects `[2, 2^n]` each (row 0 AND, row 1 OR).

    Removed ones are weighed at A, new ones at B; kept ones are known by their words and kind alone, their sign may flip [paper].

    >>> a, b = np.zeros((2, 2, 4))
    >>> a[0, 1:], b[0, 1:] = [2, 1, 0], [-2, 0, 4]  # {0} turns round, {1} leaves, {0, 1} comes
    >>> found = changes(a, b)
    >>> [(c.mask, c.flipped) for c in found.kept], [c.mask for c in found.removed], [c.mask for c in found.new]
    ([(1, True)], [2], [3])
    >>> found.gone.count_share, found.gone.strength_share  # 1 of 2, 1 of 3 nats
    (0.5, 0.3333333333333333)
    """
    both = np.stack([before, after])
    sets = partition(both, 0)

    def chosen(mask: np.ndarray, size: np.ndarray) -> tuple[Changed, ...]:
        kinds, masks = np.nonzero(mask)
        rank = np.argsort(-size[kinds, masks], kind="stable")
        return tuple(
            Changed(
                ("and", "or")[kind],
                int(s),
                float(before[kind, s]),
                float(after[kind, s]),
                (bool(sets.all[0, kind, s]), bool(sets.all[1, kind, s])),
            )
            for kind, s in zip(kinds[rank], masks[rank], strict=True)
        )

    def total(mask: np.ndarray, side: int) -> Total:
        figures = [float(f(mask)) for f in (measures.count, lambda m: measures.strength(both[side], m))]
        whole = [float(f(sets.all[side])) for f in (measures.count, lambda m: measures.strength(both[side], m))]
        shares = [part / all_ if all_ else None for part, all_ in zip(figures, whole, strict=True)]
        return Total(int(figures[0]), figures[1], *shares)

    size = np.abs(both)
    return Changes(
        chosen(sets.removed[1], size[0]),
        chosen(sets.kept[1], size.max(axis=0)),
        chosen(sets.emerged[1], size[1]),
        (int(sets.all[0].sum()), int(sets.all[1].sum())),
        total(sets.removed[1], 0),
        total(sets.emerged[1], 1),
    )
