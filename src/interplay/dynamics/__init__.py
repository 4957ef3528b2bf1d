"""Interactions over checkpoints: which are preserved, emerge and are removed, with measures, nulls and intervals.

Names are imported on first use: two models are compared without pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interplay.dynamics.compute import trajectory
    from interplay.dynamics.measures import MEASURES
    from interplay.dynamics.result import Trajectory
    from interplay.dynamics.sets import DEFINITIONS, SETS, Partition

__all__ = ["DEFINITIONS", "MEASURES", "SETS", "Partition", "Trajectory", "trajectory"]
_WHERE = {"trajectory": "compute", "MEASURES": "measures", "Trajectory": "result"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE.get(name, 'sets')}"), name)
