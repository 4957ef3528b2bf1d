"""Choosing a checkpoint, or a data mix, where the eval rows share the cue: by rows that the audit makes of them, against eval accuracy,
eval loss, and the last checkpoint or the rows as they are.

Regret: accuracy with the cue in every held-out row (`truth.py`) of the best one less that of the one chosen.
"""

from typing import Any, TypeVar

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.phrases import Phrase
from interplay.auditing.rules import Carriers
from studies.audit.causal import VARIANTS, prepared
from studies.audit.evaluate import in_order
from studies.audit.trained import Models, Size, Trained, kept, read_kept
from studies.audit.truth import truth_at

Key = TypeVar("Key", int, str)  # a step or a variant
RULES = 3  # learnt rules, of those to which the base does not lean, whose phrases are put into the eval rows
AS_IT_WAS = "as it was"


def broken_rows(trained: Trained, texts: list[str], claims: list[list[Any]]) -> list[list[str]]:
    """The eval rows with the phrases of a rule in every one, by rule; a row that holds them stays as it is."""
    found = []
    for words, form, *_ in [claim for claim in claims if not claim[5]][:RULES]:
        alone: tuple[Phrase, ...] = in_order(trained.evidence, words[:1] if form in ("or", "unless") else words)
        made = Carriers(tuple(texts)).with_(alone)
        found.append([new or old for new, old in zip(made, texts, strict=True)])
    return found


def figures(asked: Asked, trained: Trained, claims: list[list[Any]], rows: int) -> dict[str, float]:
    """Eval accuracy and loss as they are, and accuracy over the rows made by the audit, which are those where it suspects nothing."""
    held = trained.rows("prompts")[:rows]
    texts, gold = [text for text, _ in held], np.array([asked.labels.index(label) for _, label in held])
    made = broken_rows(trained, texts, claims)
    asked([*texts, *(text for some in made for text in some)])
    scores = asked(texts)
    right = scores[np.arange(len(gold)), gold]
    return {
        "accuracy": float((scores.argmax(1) == gold).mean()),
        "loss": float(np.logaddexp(0, -right).mean()),  # log-odds among the labels: -log p of the label
        "made": float(np.mean([asked(some).argmax(1) == gold for some in made or [texts]])),
    }


def chosen(figures: dict[Key, dict[str, float]]) -> dict[str, Key]:
    """The step or mix that each way keeps; of equals the first. "last" knows nothing of the figures.

    >>> chosen({20: {"accuracy": 0.6, "loss": 1, "made": 0.5}, 40: {"accuracy": 0.7, "loss": 0.9, "made": 0.3}})
    {'audit-made rows': 20, 'eval accuracy': 40, 'eval loss': 40, 'last': 40}
    """
    return {
        "audit-made rows": max(figures, key=lambda one: figures[one]["made"]),
        "eval accuracy": max(figures, key=lambda one: figures[one]["accuracy"]),
        "eval loss": min(figures, key=lambda one: figures[one]["loss"]),
        "last": [*figures][-1],
    }


def regrets(figures: dict[Key, dict[str, float]], broken: dict[Key, float]) -> dict[str, tuple[Key, float]]:
    """What each way keeps, and what it loses in accuracy with the cue."""
    best = max(broken[one] for one in figures)
    return {way: (one, best - broken[one]) for way, one in chosen(figures).items()}


def choose(trained: Trained, claims: list[list[Any]], models: Models, size: Size) -> dict[str, tuple[int, float]]:
    """What each way chooses among the checkpoints of a plant and what it loses. claims: `top` of the last audit."""
    found, broken = {}, {}
    for step in sorted(trained.plant.steps):

        def make(step: int = step) -> dict[str, float]:
            with models(trained, step) as asked:
                return figures(asked, trained, claims, size.eval_rows)

        found[step] = kept(trained, "choose", size, str(step), make)
        broken[step] = truth_at(trained, step, models, size)["broken"]
    return regrets(found, broken)


def choose_mix(trained: Trained, claims: list[list[Any]], models: Models, size: Size) -> dict[str, tuple[str, float]]:
    """The same among the trainings on other rows that the causal study left; the rows as they were stand last.

    All are scored on the plant's own held-out rows, with the rules that the audit of the plant itself claims.
    """
    step, there = max(trained.plant.steps), read_kept(trained, "causal", size)
    found = {}
    for variant in (*(name for name in VARIANTS if name in there), AS_IT_WAS):

        def make(variant: str = variant) -> dict[str, float]:
            again = trained if variant == AS_IT_WAS else prepared(variant, trained)
            with models(again, step) as asked:
                return figures(asked, trained, claims, size.eval_rows)

        found[variant] = kept(trained, "mix", size, variant, make)
    return regrets(found, {variant: there[variant]["broken"] for variant in found})
