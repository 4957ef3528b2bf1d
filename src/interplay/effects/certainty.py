"""Which effects stand in every nearly optimal split, and what the others are exchangeable with.

The least sum of |effects| leaves freedom: AND{i} + AND{j} = AND{i,j} + OR{i,j}, and many more such identities cost nearly the
same both ways. So the programme is solved again under a few other costs, each within `COST_SPREAD` of 1: all answers are splits
within that of the least sum. [ours]; measured in docs/design/solver.md.

Shapes: effects [..., 2, 2^n] (row 0 AND, row 1 OR), alternatives [..., K, 2, 2^n].
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALTERNATIVES = 6  # other splits [ours]
COST_SPREAD = 1e-2  # of the cost of an effect [ours]
ALTERNATIVE_OMEGA, ALTERNATIVE_GAP = 1e-2, 1e-2  # a weak ridge, so that the costs decide; no finer than their spread
TYPES = ("and", "or")
COMPARABLE = 2.0  # sizes within this factor of each other count as the same interaction [ours]


@functools.lru_cache(maxsize=16)
def other_costs(n: int) -> NDArray[np.float64]:
    """[K, 2, 2^n] factors on the cost of each effect, the same for every table of n words."""
    return 1.0 + COST_SPREAD * np.random.default_rng(n).random((ALTERNATIVES, 2, 1 << n))


def standing(effects: Any, alternatives: Any) -> NDArray[np.float64]:
    """The fraction of the alternatives in which an effect has its sign and at least half its size, [..., 2, 2^n].

    >>> standing([[0.0, 2.0, 1.0, 0.0]], [[[0.0, 2.1, 0.0, 1.0]], [[0.0, 1.9, 0.9, 0.0]]])
    array([[1. , 1. , 0.5, 1. ]])
    """
    effects, alternatives = np.asarray(effects, dtype=np.float64), np.asarray(alternatives, dtype=np.float64)
    signed = alternatives * np.sign(effects)[..., None, :, :]
    return (signed >= np.abs(effects)[..., None, :, :] / COMPARABLE).mean(axis=-3)


def exchangeable(effects: Any, alternatives: Any, chosen: tuple[int, int]) -> tuple[int, int] | None:
    """(row, coalition) of what gains most where the `chosen` effect (row, coalition) loses; None where nothing moves.

    One table: effects [2, 2^n], alternatives [K, 2, 2^n].

    >>> exchangeable([[0.0, 2.0, 1.0, 0.0]], [[[0.0, 2.1, 0.0, 1.0]], [[0.0, 1.9, 0.9, 0.0]]], (0, 2))
    (0, 3)
    """
    moved = np.asarray(alternatives, dtype=np.float64) - np.asarray(effects, dtype=np.float64)
    together = np.abs(np.tensordot(moved[:, chosen[0], chosen[1]], moved, (0, 0)))
    together[chosen] = 0.0
    row, coalition = np.unravel_index(int(together.argmax()), together.shape)
    return (int(row), int(coalition)) if together[row, coalition] > 0 else None


def certainty(
    effects: Any, alternatives: Any, chosen: Sequence[tuple[int, int]]
) -> list[tuple[float | None, tuple[str, int] | None]]:
    """Of each `chosen` (row, coalition) of one table: the fraction in which it stands, and what is exchangeable with it.

    That is (type, coalition), None where it stands in all. (None, None) where there are no alternatives.
    """
    if alternatives is None or not len(alternatives):
        return [(None, None)] * len(chosen)
    share, found = standing(effects, alternatives), []
    for at in chosen:
        other = exchangeable(effects, alternatives, at) if share[at] < 1 else None
        found.append((float(share[at]), other and (TYPES[other[0]], other[1])))
    return found
