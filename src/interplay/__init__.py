"""Interplay: what supervised fine-tuning does to a language model's reasoning, and when to stop.

The public face is lazy: `import interplay` loads neither torch nor transformers; each name is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_WHERE = {
    "Change": "interplay.explanation.explanation",
    "Explanation": "interplay.explanation.explanation",
    "InterplayError": "interplay.errors",
    "Interactions": "interplay.effects",
    "Row": "interplay.data.rows",
    "Run": "interplay.runfolder",
    "Sample": "interplay.data.rows",
    "Scores": "interplay.scoring",
    "Trajectory": "interplay.dynamics",
    "explain": "interplay.explanation.explain",
    "card": "interplay.verbs",
    "compare": "interplay.verbs",
    "export": "interplay.verbs",
    "extract": "interplay.effects",
    "load_model": "interplay.models",
    "make_sample": "interplay.data.samples",
    "recommend": "interplay.verbs",
    "run": "interplay.verbs",
    "score": "interplay.scoring",
    "score_answers": "interplay.scoring",
    "track": "interplay.verbs",
    "trajectory": "interplay.dynamics",
}
__all__ = [
    "Change",
    "Explanation",
    "Interactions",
    "InterplayError",
    "Row",
    "Run",
    "Sample",
    "Scores",
    "Trajectory",
    "__version__",
    "card",
    "compare",
    "explain",
    "export",
    "extract",
    "load_model",
    "make_sample",
    "recommend",
    "run",
    "score",
    "score_answers",
    "track",
    "trajectory",
]

if TYPE_CHECKING:
    from interplay.data.rows import Row, Sample
    from interplay.data.samples import make_sample
    from interplay.dynamics import Trajectory, trajectory
    from interplay.effects import Interactions, extract
    from interplay.errors import InterplayError
    from interplay.explanation.explain import explain
    from interplay.explanation.explanation import Change, Explanation
    from interplay.models import load_model
    from interplay.runfolder import Run
    from interplay.scoring import Scores, score, score_answers
    from interplay.verbs import card, compare, export, recommend, run, track


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'interplay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
