"""Trajectory in, Recommendation out: which checkpoint to keep, and why."""

from interplay.recommendation.rule import Evidence, Recommendation, recommend

__all__ = ["Evidence", "Recommendation", "recommend"]
