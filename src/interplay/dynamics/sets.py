"""Which interactions are salient, and what becomes of them from one checkpoint to the next.

One sample at a time: effects `[T, 2, 2^n]` in, boolean masks `[T, 2, 2^n]` out (row 0 AND, row 1 OR). Definitions of the sets:

- `common`  tau = ratio * max |I| over all checkpoints of the prompt; one that changes its sign, or its size by more than a factor
            of 2, is removed as it was, and has emerged as it is [ours]
- `paper`   tau = ratio * max |I| at each checkpoint; an interaction is known by its words and its kind alone [paper]
- `signed`  as `paper`, but one that changes its sign is removed, and another has emerged in its place [ours]
"""

from typing import NamedTuple

import numpy as np

from interplay.effects.certainty import COMPARABLE

MAIN_DEFINITION = "common"  # what pages, tables and figures show first
DEFINITIONS = (MAIN_DEFINITION, "paper", "signed")
SETS = ("all", "preserved", "emerged", "removed", "kept", "reentered")
MAIN_SETS = ("preserved", "emerged", "removed")  # what pictures and comparisons show, in this order
TABLE_SETS = ("removed", "preserved", "emerged")  # columns of the terminal's table and the model card, in this order
CHURN_SETS = ("removed", "emerged")  # sets with churn floors: a change without training makes them too
VALUED = ("all", *MAIN_SETS)  # sets with measures beyond count and strength
RATIO = 0.05  # tau / max |I| [lineage]
RESOLVED = 0.01  # of the largest effect: a change under it is of the size of the solver's tolerance [ours]


class Partition(NamedTuple):
    """The sets of one sample under one definition, boolean `[T, 2, 2^n]`; before the reference step only `all` is not empty."""

    all: np.ndarray
    preserved: np.ndarray
    emerged: np.ndarray
    removed: np.ndarray
    kept: np.ndarray
    reentered: np.ndarray


def salient(effects: np.ndarray, ratio: float = RATIO, tau: np.ndarray | float | None = None) -> np.ndarray:
    """Omega: |I| > tau, with tau = ratio * max |I| over AND and OR together unless it is given [lineage]; order 0 is left out.
    effects `[..., 2, 2^n]`; tau broadcasts against the leading axes.

    >>> salient(np.array([[9.0, 2.0, -0.1, 1.0], [0.0, 0.0, 0.0, 0.11]]))  # tau = 0.05 * 2 = 0.1, exceeded strictly
    array([[False,  True, False,  True],
           [False, False, False,  True]])
    """
    size = np.abs(effects)
    size[..., 0] = 0.0
    if tau is None:
        tau = ratio * size.max(axis=(-2, -1))
    return size > np.asarray(tau)[..., None, None]


def changed(before: np.ndarray, after: np.ndarray, ratio: float = RATIO) -> np.ndarray:
    """Which effects `[2, 2^n]` changed: by over ratio * the largest change, and over what a split resolves [ours].

    >>> changed(np.array([[0, 1.0, 2.0, 0.0]]), np.array([[0, 3.0, 2.01, 0.05]]))
    array([[False,  True, False, False]])
    """
    least = RESOLVED * max(np.abs(x[..., 1:]).max() for x in (before, after))
    size = np.abs(after - before)
    return salient(after - before, tau=max(ratio * size[..., 1:].max(), least))


def thresholds(effects: np.ndarray, definition: str = MAIN_DEFINITION, ratio: float = RATIO) -> np.ndarray:
    """tau at every checkpoint, `[T]`. effects `[T, 2, 2^n]`.

    >>> e = np.zeros((2, 2, 4)); e[:, 0, 1] = [1, 20]
    >>> thresholds(e, "common"), thresholds(e, "paper")
    (array([1., 1.]), array([0.05, 1.  ]))
    """
    largest = np.abs(effects[..., 1:]).max(axis=(-2, -1))
    return ratio * (np.full_like(largest, largest.max()) if definition == "common" else largest)


def partition(
    effects: np.ndarray,
    reference: int,
    definition: str = MAIN_DEFINITION,
    ratio: float = RATIO,
    tau: np.ndarray | float | None = None,
) -> Partition:
    """The sets of one sample at every checkpoint. effects `[T, 2, 2^n]`, reference = index (not step) of the reference;
    tau `[T]` or one number, by default `thresholds`.

    all        Omega_t
    kept       Omega_ref and Omega_t
    preserved  P_ref = Omega_ref, P_t = P_{t-1} and Omega_t over the measured checkpoints [paper]
    emerged    Omega_t without P_t [paper]: interactions that left and came back count as emerged
    removed    Omega_ref without kept [paper]
    reentered  emerged and kept: salient at the reference, later not, and now again [ours]

    >>> e = np.zeros((3, 2, 4)); e[:, 0, 1] = 1; e[:, 0, 2] = [1, 0, 1]  # {0} stays; {1} leaves and comes back
    >>> sets = partition(e, 0)
    >>> sets.preserved[:, 0, 1:3].tolist(), sets.removed[:, 0, 1:3].tolist()
    ([[True, True], [True, False], [True, False]], [[False, False], [False, True], [False, False]])
    >>> sets.reentered[:, 0, 1:3].tolist()
    [[False, False], [False, False], [False, True]]
    """
    ref = effects[reference]
    omega = salient(effects, ratio, thresholds(effects, definition, ratio) if tau is None else tau)
    omega_ref = omega[reference]
    kept = omega & omega_ref
    if definition != "paper":
        kept &= np.sign(effects) == np.sign(ref)  # the sign must be that of the reference at every step [ours]
    if definition == "common":
        size, before = np.abs(effects), np.abs(ref)
        kept &= (size <= COMPARABLE * before) & (before <= COMPARABLE * size)
    preserved = np.zeros_like(omega)
    preserved[reference:] = np.logical_and.accumulate(kept[reference:], axis=0)
    emerged = omega & ~preserved
    removed = omega_ref & ~kept
    reentered = kept & ~preserved
    for mask in (kept, emerged, removed, reentered):
        mask[:reference] = False
    return Partition(omega, preserved, emerged, removed, kept, reentered)


def pack(sets: Partition) -> np.ndarray:
    """Six masks as one uint8 array: bit j is the j-th name of `SETS`."""
    return np.packbits(np.stack(sets), axis=0, bitorder="little")[0]


def unpack(code: np.ndarray) -> Partition:
    return Partition(*np.unpackbits(code[None], axis=0, count=len(SETS), bitorder="little").astype(bool))
