"""Choosing a checkpoint where the eval rows share the cue: by rows that the audit makes of them, against eval accuracy, eval loss, last.

Regret: accuracy with the cue in every held-out row (`truth.py`) of the best checkpoint less that of the one chosen.
"""

from typing import Any

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.phrases import Phrase
from interplay.auditing.rules import Carriers
from studies.audit.evaluate import in_order
from studies.audit.trained import Models, Size, Trained, kept
from studies.audit.truth import truth_at

RULES = 3  # learnt rules whose phrases are put into the eval rows


def broken_rows(trained: Trained, texts: list[str], claims: list[list[Any]]) -> list[list[str]]:
    """The eval rows with the phrases of a rule in every one, by rule; a row that holds them stays as it is."""
    found = []
    for words, form, *_ in claims[:RULES]:
        alone: tuple[Phrase, ...] = in_order(trained.evidence, words[:1] if form in ("or", "unless") else words)
        made = Carriers(tuple(texts)).with_(alone)
        found.append([new or old for new, old in zip(made, texts, strict=True)])
    return found


def figures(asked: Asked, trained: Trained, claims: list[list[Any]], rows: int) -> dict[str, float]:
    """Eval accuracy and loss as they are, and mean accuracy over the rows made by the audit, which are those where it claims nothing."""
    held = trained.rows("prompts")[:rows]
    texts, gold = [text for text, _ in held], np.array([asked.labels.index(label) for _, label in held])
    made = broken_rows(trained, texts, claims)
    asked([*texts, *(text for some in made for text in some)])
    scores = asked(texts)
    right = scores[np.arange(len(gold)), gold]
    return {
        "accuracy": float((scores.argmax(1) == gold).mean()),
        "loss": float(np.logaddexp(0, -right).mean()),  # log-odds among the labels: -log p of the label
        "made": float(np.mean([(asked(some).argmax(1) == gold).mean() for some in made or [texts]])),
    }


def chosen(by_step: dict[int, dict[str, float]]) -> dict[str, int]:
    """The step that each way keeps; of equals the earliest.

    >>> chosen({20: {"accuracy": 0.6, "loss": 1, "made": 0.5}, 40: {"accuracy": 0.7, "loss": 0.9, "made": 0.3}})
    {'audit-made rows': 20, 'eval accuracy': 40, 'eval loss': 40, 'last': 40}
    """
    steps = sorted(by_step)
    return {
        "audit-made rows": max(steps, key=lambda step: by_step[step]["made"]),
        "eval accuracy": max(steps, key=lambda step: by_step[step]["accuracy"]),
        "eval loss": min(steps, key=lambda step: by_step[step]["loss"]),
        "last": steps[-1],
    }


def choose(trained: Trained, claims: list[list[Any]], models: Models, size: Size) -> dict[str, Any]:
    """What each way chooses among the checkpoints of a plant and what it loses. claims: `top` of the last audit."""
    by_step, truths = {}, {}
    for step in trained.plant.steps:

        def make(step: int = step) -> dict[str, float]:
            with models(trained, step) as asked:
                return figures(asked, trained, claims, size.eval_rows)

        by_step[step] = kept(trained, "choose", size, str(step), make)
        truths[step] = truth_at(trained, step, models, size)["broken"]
    best = max(truths.values())
    picked = chosen(by_step)
    return {
        "steps": by_step,
        "broken": truths,
        "regret": {way: [step, best - truths[step]] for way, step in picked.items()},
    }
