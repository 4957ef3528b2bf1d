"""Interplay: what supervised fine-tuning taught a language model, in words, and which checkpoint to keep.

    model = interplay.load_model("HuggingFaceTB/SmolLM2-135M-Instruct")
    print(interplay.explain(model, "I was not happy with the food", target="sadness"))
    run = interplay.track("Qwen/Qwen2.5-0.5B", checkpoints="out/", data="heldout.jsonl")  # or interplay.Run("runs/demo")
    print(run.summary(), run.recommendation)
    run.report("report.html")

Names are imported on first use: `import interplay` loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_WHERE = {
    "Change": "interplay.explanation.explanation",
    "Explanation": "interplay.explanation.explanation",
    "InteractionCallback": "interplay.callback.callback",
    "Interactions": "interplay.effects",
    "InterplayError": "interplay.errors",
    "Row": "interplay.data.rows",
    "Run": "interplay.runfolder",
    "Sample": "interplay.data.rows",
    "Scores": "interplay.scoring",
    "Trajectory": "interplay.dynamics",
    "card": "interplay.verbs",
    "compare": "interplay.verbs",
    "explain": "interplay.explanation.explain",
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
    "InteractionCallback",
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
    from interplay.callback.callback import InteractionCallback
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
