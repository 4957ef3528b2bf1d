"""What the sets of a partition come to: counts, strengths, shares, signed sums by order. No nulls, no means over samples.

The same function serves the checkpoints of a trajectory, the churn floors and every other way of looking at them, so that a
figure and what it is held against are always the same quantity.
"""

import numpy as np

from interplay.dynamics import measures
from interplay.dynamics.sets import SETS, VALUED, Partition


def set_values(
    part: Partition, effects: np.ndarray, at_reference: np.ndarray, top: int
) -> dict[tuple[str, str, int], np.ndarray]:
    """The measures that are held against the churn floor, by (measure, set, order). Leading axes are kept."""
    out: dict[tuple[str, str, int], np.ndarray] = {}
    total = {name: _strength_and_count(name, part, effects, at_reference) for name in SETS}
    omega_ref = (  # what removed is a share of
        measures.strength(at_reference, part.removed | part.kept),
        measures.count(part.removed | part.kept),
    )
    for name in SETS:
        out["strength", name, 0], out["count", name, 0] = total[name]
        if name != "all":
            whole = omega_ref if name == "removed" else total["all"]
            out["strength_fraction", name, 0] = measures.quotient(total[name][0], whole[0])
            out["count_fraction", name, 0] = measures.quotient(total[name][1], whole[1])
    for name in VALUED:
        mask = getattr(part, name)
        w = effects_of(name, mask, effects, at_reference)
        out["mean_order", name, 0] = measures.mean_order(w, mask)
        for measure, sums in zip(("positive", "negative"), measures.by_order(w, mask), strict=True):
            out[measure, name, 0] = sums.sum(axis=-1)
            for order in range(1, top + 1):
                out[measure, name, order] = sums[..., order] if order < sums.shape[-1] else np.zeros(sums.shape[:-1])
    return out


def effects_of(name: str, mask: np.ndarray, effects: np.ndarray, at_reference: np.ndarray) -> np.ndarray:
    """Removed interactions are weighed by their effects at the reference, all others by those at t [paper]."""
    return np.broadcast_to(at_reference, mask.shape) if name == "removed" else effects


def _strength_and_count(
    name: str, part: Partition, effects: np.ndarray, ref: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mask = getattr(part, name)
    return measures.strength(effects_of(name, mask, effects, ref), mask), measures.count(mask)
