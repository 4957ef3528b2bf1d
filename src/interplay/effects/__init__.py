"""Effects: from scores over coalitions to certified AND-OR interactions. Arrays only; importing it loads no torch."""

from interplay.effects.interactions import Interactions, Salient, extract
from interplay.effects.moebius import (
    moebius,
    or_moebius,
    or_zeta,
    orders,
    reconstruct,
    walsh,
    walsh_energy,
    zeta,
)

__all__ = [
    "Interactions",
    "Salient",
    "extract",
    "moebius",
    "or_moebius",
    "or_zeta",
    "orders",
    "reconstruct",
    "walsh",
    "walsh_energy",
    "zeta",
]
