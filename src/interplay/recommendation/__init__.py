"""Trajectory in, Recommendation out: which checkpoint to keep, and why. Or only the log that a training left (`logged`)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interplay.recommendation.result import Evidence, Recommendation
    from interplay.recommendation.rule import recommend

__all__ = ["Evidence", "Recommendation", "recommend"]


def __getattr__(name: str) -> Any:  # on first use: `logged` needs no pandas
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'rule' if name == 'recommend' else 'result'}"), name)
