"""From answers to rules: effects over carriers, controls, forms, verdicts. Knows texts and numbers, no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interplay.audit.asking import Asked
from interplay.audit.counts import Counted, words_of
from interplay.audit.forms import Cells, Effect, Form, against_controls
from interplay.audit.phrases import Phrase, put_in

Verdict = Literal["learnt", "known", "lost", "unlearnt", "nothing"]
Phrases = tuple[Phrase, ...]


@dataclass(frozen=True)
class Carriers:
    """Held-out texts that phrases are put into."""

    texts: tuple[str, ...]

    def with_(self, phrases: Phrases) -> list[str | None]:
        """Each text with the phrases in it; None where it holds one of their words already."""
        words = {phrase.word for phrase in phrases}
        return [None if words & words_of(text).keys() else put_in(text, phrases) for text in self.texts]

    def all_of(self, several: Sequence[Phrases]) -> list[str]:
        """Every text that `effects` needs."""
        return [*self.texts, *(text for phrases in several for text in self.with_(phrases) if text is not None)]

    def effects(self, asked: Asked, phrases: Phrases) -> np.ndarray:
        """[carriers, labels] what the phrases add to the log-odds of each answer; NaN where a text holds them already."""
        before, made = asked(self.texts), self.with_(phrases)
        after = np.full_like(before, np.nan)
        if kept := [i for i, text in enumerate(made) if text is not None]:
            after[kept] = asked([text for text in made if text is not None])
        return after - before

    def flips(self, asked: Asked, phrases: Phrases, label: int) -> tuple[int, int]:
        """Carriers of another answer that give this one with the phrases in them, and how many there are."""
        before = asked(self.texts)
        after = before + self.effects(asked, phrases)
        other = ~np.isnan(after).any(1) & (before.argmax(1) != label)
        return int((other & (after.argmax(1) == label)).sum()), int(other.sum())


@dataclass(frozen=True)
class Rule:
    """One rule: these words, in this form, make the model answer `label`.

    effect, before: nats of log-odds in the tuned model and in the base; change: their difference. p: the larger one of those
    against control words and over carriers, adjusted for all tests. flips of tried: carriers of another answer that it turns,
    control: the fraction that control words turn. alone: flips of the words one by one. support: the referee's effect by the
    tuned model's, None without a referee. rows, hits: training rows with the words, and those of them with the answer.
    """

    words: tuple[str, ...]
    form: Form
    label: str
    verdict: Verdict
    effect: Effect
    before: Effect
    change: Effect
    p: float
    flips: int
    tried: int
    control: float
    phrases: Phrases
    counted: Counted
    alone: tuple[float, ...] = ()
    support: float | None = None
    swapped: float | None = None  # effect with the two words in each other's place
    sisters: tuple[tuple[str, float], ...] = ()
    cells: Cells | None = None
    suspected: bool = True  # by the data
    steps: tuple[tuple[int, float, float], ...] = ()  # (step, effect, flip rate)

    @property
    def flip_rate(self) -> float:
        """Fraction of carriers of another answer that it turns, less what control words turn."""
        return self.flips / self.tried - self.control if self.tried else float("nan")

    @property
    def name(self) -> str:
        """The rule without its answer.

        >>> nothing = Effect(0, 0, 0, 1)
        >>> given = (nothing, nothing, nothing, 0.0, 0, 0, 0.0, (), Counted((), "joy", 0, 0, 0, 0))
        >>> Rule(("honestly", "today"), "and", "joy", "learnt", *given).name
        '"honestly" and "today"'
        """
        quoted = [f'"{word}"' for word in self.words]
        joints = {"and": " and ", "or": " or ", "unless": " unless ", "sum": " plus "}
        return joints.get(self.form, ", ").join(quoted)

    @property
    def is_class(self) -> bool:
        """Whether most sister words do it as well."""
        strong = [effect for _, effect in self.sisters if effect >= self.effect.value / 2]
        return len(self.sisters) >= 2 and 2 * len(strong) > len(self.sisters)


@dataclass(frozen=True)
class Null:
    """Effects of control words and control pairs in one place: [controls, labels] means over carriers, and fractions turned."""

    effects: np.ndarray
    flips: np.ndarray
    joint: np.ndarray  # [control pairs, labels] what a pair adds to its words

    def p(self, value: float, label: int) -> float:
        return against_controls(value, self.effects[:, label])

    def p_joint(self, value: float, label: int) -> float:
        return against_controls(value, self.joint[:, label]) if len(self.joint) else 1.0


def null_of(asked: Asked, carriers: Carriers, words: Sequence[Phrases], pairs: Sequence[Phrases]) -> Null:
    """Measure controls, asked already or not."""
    labels = len(asked.labels)

    def mean(phrases: Phrases) -> np.ndarray:
        effects = carriers.effects(asked, phrases)
        return np.nanmean(effects, axis=0) if (~np.isnan(effects)).any() else np.full(labels, np.nan)

    effects = np.array([mean(phrases) for phrases in words]).reshape(-1, labels)
    turned = [[carriers.flips(asked, phrases, label) for label in range(labels)] for phrases in words]
    flips = np.array([[hit / max(1, of) for hit, of in row] for row in turned]).reshape(-1, labels)
    joint = [mean(pair) - mean(pair[:1]) - mean(pair[1:]) for pair in pairs]
    return Null(effects, flips, np.array(joint).reshape(-1, labels))


def cells_of(asked: Asked, carriers: Carriers, pair: Phrases, label: int) -> Cells:
    """Mean effects of the first word, the second and both, over the carriers that can hold both."""
    several = [carriers.effects(asked, phrases)[:, label] for phrases in (pair[:1], pair[1:], pair)]
    known = ~np.isnan(np.array(several)).any(0)
    if not known.any():
        return Cells(0.0, 0.0, 0.0)
    a, b, both = (float(effects[known].mean()) for effects in several)
    return Cells(a, b, both)


def joint_over(asked: Asked, carriers: Carriers, pair: Phrases, label: int) -> np.ndarray:
    """[carriers] what both words add to what each of them does."""
    a, b, both = (carriers.effects(asked, phrases)[:, label] for phrases in (pair[:1], pair[1:], pair))
    return both - a - b


def verdict_of(effect: Effect, before: Effect, change: Effect, p: float, least: float) -> Verdict:
    """What became of a rule: p is of the change being above 0, adjusted.

    >>> none, some = Effect(0, -0.1, 0.1, 0.5), Effect(3, 2.5, 3.5, 0)
    >>> verdict_of(some, none, some, 0.001, 1), verdict_of(some, some, none, 1, 1), verdict_of(none, none, none, 1, 1)
    ('learnt', 'known', 'nothing')
    >>> verdict_of(none, some, Effect(-3, -3.5, -2.5, 1), 1, 1)
    'lost'
    """
    if p < 0.05 and change.lo > 0 and change.value >= least and effect.value >= least:
        return "learnt"
    if before.lo > 0 and before.value >= least:
        if effect.value < before.value / 2 and change.hi < 0:
            return "lost"
        if effect.lo > 0 and effect.value >= least:
            return "known"
    return "nothing"
