"""Effects: from scores over coalitions to certified AND-OR interactions. Arrays only; importing it loads no torch."""

from interplay.effects.dividends import dividends
from interplay.effects.interactions import Interactions, Salient, SampledInteractions, default_tolerance, extract
from interplay.effects.moebius import moebius, or_moebius, orders, reconstruct, walsh, walsh_energy
from interplay.effects.sampled import extract_sampled, sample_coalitions

__all__ = [
    "Interactions",
    "Salient",
    "SampledInteractions",
    "default_tolerance",
    "dividends",
    "extract",
    "extract_sampled",
    "moebius",
    "or_moebius",
    "orders",
    "reconstruct",
    "sample_coalitions",
    "walsh",
    "walsh_energy",
]
