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

_MODULES = {
    "interplay.auditing.audit": ("audit",),
    "interplay.auditing.result": ("Audit",),
    "interplay.callback.callback": ("InteractionCallback",),
    "interplay.data.rows": ("Row", "Sample"),
    "interplay.data.samples": ("make_sample",),
    "interplay.dynamics": ("Trajectory", "trajectory"),
    "interplay.effects": ("Interactions", "extract"),
    "interplay.effects.values": ("keep_one", "leave_one_out", "pairwise", "shapley"),
    "interplay.errors": ("InterplayError",),
    "interplay.explanation.explain": ("explain",),
    "interplay.explanation.explanation": ("Change", "Explanation"),
    "interplay.models.loading": ("load_model",),
    "interplay.runfolder": ("Run",),
    "interplay.scoring.scores": ("Scores", "score", "score_answers"),
    "interplay.verbs": ("card", "compare", "diff", "export", "init", "recommend", "run", "test", "track"),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(["__version__", *_WHERE])

if TYPE_CHECKING:
    from interplay.auditing.audit import audit
    from interplay.auditing.result import Audit
    from interplay.callback.callback import InteractionCallback
    from interplay.data.rows import Row, Sample
    from interplay.data.samples import make_sample
    from interplay.dynamics import Trajectory, trajectory
    from interplay.effects import Interactions, extract
    from interplay.effects.values import keep_one, leave_one_out, pairwise, shapley
    from interplay.errors import InterplayError
    from interplay.explanation.explain import explain
    from interplay.explanation.explanation import Change, Explanation
    from interplay.models.loading import load_model
    from interplay.runfolder import Run
    from interplay.scoring.scores import Scores, score, score_answers
    from interplay.verbs import card, compare, diff, export, init, recommend, run, test, track


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'interplay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
