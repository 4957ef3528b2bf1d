"""Interactions over checkpoints: which are preserved, emerge and are removed, with measures, nulls and intervals."""

from interplay.dynamics.compute import trajectory
from interplay.dynamics.measures import MEASURES
from interplay.dynamics.result import Trajectory
from interplay.dynamics.sets import DEFINITIONS, SETS, Partition

__all__ = ["DEFINITIONS", "MEASURES", "SETS", "Partition", "Trajectory", "trajectory"]
