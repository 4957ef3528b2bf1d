"""Effects: from scores over coalitions to certified AND-OR interactions. Arrays only; importing it loads no torch."""

from interplay.effects.interactions import Interactions, SampledInteractions, extract
from interplay.effects.sampled import extract_sampled, sample_coalitions

__all__ = ["Interactions", "SampledInteractions", "extract", "extract_sampled", "sample_coalitions"]
