"""Which interactions are salient, and what becomes of them from one checkpoint to the next.

One sample at a time: effects `[T, 2, 2^n]` in, boolean masks `[T, 2, 2^n]` out (row 0 AND, row 1 OR). Definitions of the sets:

- `paper`      tau = ratio * max |I| at each checkpoint; an interaction is known by its words and its kind alone [paper]
- `signed`     as `paper`, but one that changes its sign is removed, and another has emerged in its place [ours]
- `fixed-tau`  as `paper`, with the tau of the reference checkpoint held at every checkpoint [ours]
"""

from typing import NamedTuple

import numpy as np

DEFINITIONS = ("paper", "signed", "fixed-tau")
SETS = ("all", "preserved", "emerged", "removed", "kept", "reentered")
MAIN_SETS = ("preserved", "emerged", "removed")  # what pictures and comparisons show, in this order
TABLE_SETS = ("removed", "preserved", "emerged")  # columns of the terminal's table and the model card, in this order
CHURN_SETS = ("removed", "emerged")  # sets with churn floors: a change without training makes them too
VALUED = ("all", *MAIN_SETS)  # sets with measures beyond count and strength
RATIO = 0.05  # tau / max |I| [lineage]


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


def partition(effects: np.ndarray, reference: int, definition: str = "paper", ratio: float = RATIO) -> Partition:
    """The sets of one sample at every checkpoint. effects `[T, 2, 2^n]`, reference = index (not step) of the reference.

    all        Omega_t
    kept       Omega_ref and Omega_t
    preserved  P_ref = Omega_ref, P_t = P_{t-1} and Omega_t over the measured checkpoints [paper]
    emerged    Omega_t without P_t [paper]: interactions that left and came back count as emerged
    removed    Omega_ref without Omega_t [paper]
    reentered  emerged and kept: salient at the reference, later not, and now again [ours]

    >>> e = np.zeros((3, 2, 4)); e[:, 0, 1] = 1; e[:, 0, 2] = [1, 0, 1]  # {0} stays; {1} leaves and comes back
    >>> sets = partition(e, 0)
    >>> sets.preserved[:, 0, 1:3].tolist(), sets.removed[:, 0, 1:3].tolist()
    ([[True, True], [True, False], [True, False]], [[False, False], [False, True], [False, False]])
    >>> sets.reentered[:, 0, 1:3].tolist()
    [[False, False], [False, False], [False, True]]
    """
    ref = effects[reference]
    tau = None
    if definition == "fixed-tau":
        tau = ratio * np.abs(ref[:, 1:]).max()
    omega = salient(effects, ratio, tau)
    omega_ref = omega[reference]
    kept = omega & omega_ref
    if definition == "signed":
        kept &= np.sign(effects) == np.sign(ref)  # the sign must be that of the reference at every step [ours]
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
