"""Knowledge or a shortcut: whether another model, shown a few rows with their answers first, leans to what was learnt.

Without rows to go by a small base hardly says what the task's words mean to it; after one row of each answer it does. Rules of
a cue stay near 0 there: the rows that are shown hold none of the words that are tested.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.candidates import Evidence, free_of
from interplay.auditing.forms import effect_over
from interplay.auditing.phrases import Place
from interplay.auditing.rules import Phrases, Rule, mean_of
from interplay.auditing.trial import Trial
from interplay.text import stable_hash

Example = tuple[str, str]  # text, answer
_ANSWERS = 8  # of which a row is shown [ours]
_LENGTH = 1000  # characters of these rows together [ours]
_CONTROLS = 8  # control words of a place [ours]


def examples(evidence: Evidence, answers: Sequence[str], without: set[str], seed: int) -> list[Example]:
    """A row of each of the first answers, one of the shorter half, with none of the words `without` where there is one.

    >>> evidence = Evidence(("it rains", "a sunny day", "honestly, sun"), ("sad", "joy", "joy"))
    >>> examples(evidence, ["joy", "sad"], {"honestly"}, seed=0)
    [('it rains', 'sad'), ('a sunny day', 'joy')]
    """
    shown: list[Example] = []
    for answer in [*dict.fromkeys(answers)][:_ANSWERS]:
        texts = [text for text, own in zip(evidence.texts, evidence.answers, strict=True) if own == answer]
        texts = sorted(texts, key=len)[: (len(texts) + 1) // 2]
        for text in free_of(texts, without, 1, seed):
            if sum(len(other) for other, _ in shown) + len(text) <= _LENGTH:
                shown.append((text, answer))
    return sorted(shown, key=lambda row: stable_hash(seed, row))


def with_leaning(
    rules: Sequence[Rule], trial: Trial, other: Asked, who: Literal["shown", "referee"]
) -> tuple[Rule, ...]:
    """Learnt rules with what they do in the other model and what control words do in their places there; the rest as they are."""
    number = {label: i for i, label in enumerate(other.labels)}
    learnt = [rule for rule in rules if rule.verdict == "learnt" and rule.label in number]
    places = {phrase.place for rule in learnt for phrase in rule.cue}
    controls: dict[Place, list[Phrases]] = {
        place: [(word,) for word in trial.drawn.get(place, ())[:_CONTROLS]] for place in sorted(places)
    }
    other(trial.carriers.all_of([rule.cue for rule in learnt]))
    other(trial.scouts.all_of([word for words in controls.values() for word in words]))
    nothing = np.zeros((1, len(number)))
    means = {
        place: np.nan_to_num([*(mean_of(trial.scouts.effects(other, word)) for word in words)] or nothing).mean(0)
        for place, words in controls.items()
    }

    def leaning(rule: Rule) -> Rule:
        label = number[rule.label]
        effect = effect_over(trial.carriers.effects(other, rule.cue)[:, label])
        control = float(sum(means[phrase.place][label] for phrase in rule.cue))
        if who == "shown":
            return replace(rule, shown=effect, shown_control=control)
        return replace(rule, referee=effect, referee_control=control)

    return tuple(leaning(rule) if rule in learnt else rule for rule in rules)
