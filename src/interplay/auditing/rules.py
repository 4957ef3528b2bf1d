"""From answers to rules: effects over carriers, controls, forms, verdicts. Knows texts and numbers, no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.counts import Counted, words_of
from interplay.auditing.forms import LEAST, Cells, Effect, Form, against_controls
from interplay.auditing.phrases import Phrase, Place, put_in

Verdict = Literal["learnt", "known", "lost", "unlearnt", "nothing", "followed"]  # followed: untested
Phrases = tuple[Phrase, ...]
LEVEL = 0.05  # of an adjusted p
_SEEN = 0.5  # nats that show a lean, however large the effect in the tuned model is [ours]


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
        other = ~np.isnan(after).any(1) & ~asked.gives(before, label)
        return int((other & asked.gives(after, label)).sum()), int(other.sum())


@dataclass(frozen=True)
class Rule:
    """One rule: these words, in this form, make the model answer `label`.

    effect, before: nats of log-odds in the tuned model and in the base; change: their difference. p: the larger one of those
    against control words and over carriers, adjusted for all tests. flips of tried: carriers of another answer that it turns,
    control: the fraction that control words turn. alone: flips of the words one by one. Of a learnt rule, shown: the effect in
    the base that is shown rows with their answers first, referee: in another model shown the same; None without one.
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
    shown: Effect | None = None
    shown_control: float = 0.0  # effect of control words there
    referee: Effect | None = None
    referee_control: float = 0.0
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
        quoted = [f'"{word}"' for word in (*self.words, *(self.alike if self.is_class else ()))]
        joints = {"and": " and ", "unless": " unless ", "sum": " plus ", "or": " or ", "word": " or "}
        return (" and then " if self.in_order else joints.get(self.form, ", ")).join(quoted)

    @property
    def cue(self) -> Phrases:
        """What makes the rule act: of an exception the word without the one that takes it back, of a class its strongest word."""
        if self.form == "unless" or len(self.words) > 2:
            return tuple(phrase for phrase in self.phrases if phrase.word == self.words[0])
        return self.phrases

    @property
    def base_leans(self) -> bool:
        return self.shown is not None and _leans(self.shown, self.shown_control, self.effect)

    @property
    def referee_leans(self) -> bool:
        return self.referee is not None and _leans(self.referee, self.referee_control, self.effect)

    @property
    def is_shared(self) -> bool:
        """Whether it is likelier knowledge than a shortcut: what words mean, other models mostly know; a cue of these rows they cannot."""
        return self.base_leans or self.referee_leans

    @property
    def alike(self) -> tuple[str, ...]:
        """Sister words with half of the effect or more."""
        return tuple(word for word, effect in self.sisters if effect >= self.effect.value / 2)

    @property
    def is_class(self) -> bool:
        """Whether it is a rule of several words that are like each other, or most sister words do it as well."""
        return len(self.words) > 2 or (len(self.sisters) >= 2 and 2 * len(self.alike) > len(self.sisters))

    @property
    def in_order(self) -> bool:
        """Whether the two words work in this order only: in each other's place they have less than half of the effect."""
        return self.form == "and" and self.swapped is not None and self.swapped < self.effect.value / 2


def _leans(other: Effect, control: float, own: Effect) -> bool:
    """Whether another model leans to a rule: beyond what control words do there, its effect has an interval above 0, and is a tenth of
    the effect here, or half a nat: a model that was trained for long multiplies its effects, what it began with does not [ours].

    >>> here, there = Effect(3.0, 2.0, 4.0, 0.0), Effect(0.5, 0.2, 0.8, 0.01)
    >>> _leans(there, 0.1, here), _leans(there, 0.3, here), _leans(Effect(0.2, 0.1, 0.3, 0.01), 0.0, here)
    (True, False, False)
    >>> _leans(there, 0.0, Effect(9.0, 8.0, 10.0, 0.0)), _leans(there, 0.1, Effect(9.0, 8.0, 10.0, 0.0))
    (True, False)
    """
    return other.lo > control and other.value - control >= min(own.value / 10, _SEEN)


@dataclass(frozen=True)
class Null:
    """Effects of control words by place, [controls, labels] means over carriers; fractions turned; and control pairs."""

    effects: dict[Place, np.ndarray]
    flips: dict[Place, np.ndarray]
    joint: np.ndarray  # [control pairs, labels] what a pair adds to its words

    def p(self, value: float, place: Place, label: int) -> float:
        others = [effects[:, label] for other, effects in self.effects.items() if other != place]
        return against_controls(value, self.effects[place][:, label], others)

    def p_joint(self, value: float, label: int) -> float:
        return against_controls(value, self.joint[:, label])

    def turned(self, place: Place, label: int) -> float:
        """Fraction of carriers of another answer that control words in this place turn into this one."""
        flips = self.flips[place][:, label]
        return float(flips.mean()) if len(flips) else 0.0


def null_of(asked: Asked, carriers: Carriers, words: dict[Place, list[Phrase]], pairs: Sequence[Phrases]) -> Null:
    """Measure controls, asked already or not."""
    labels = len(asked.labels)

    def mean(phrases: Phrases) -> np.ndarray:
        return mean_of(carriers.effects(asked, phrases))

    def rates(phrase: Phrase) -> list[float]:
        turned = [carriers.flips(asked, (phrase,), label) for label in range(labels)]
        return [hit / max(1, of) for hit, of in turned]

    def table(rows: list) -> np.ndarray:
        return np.array(rows).reshape(-1, labels)

    effects = {place: table([mean((phrase,)) for phrase in drawn]) for place, drawn in words.items()}
    flips = {place: table([rates(phrase) for phrase in drawn]) for place, drawn in words.items()}
    return Null(effects, flips, table([mean(pair) - mean(pair[:1]) - mean(pair[1:]) for pair in pairs]))


def mean_of(effects: np.ndarray) -> np.ndarray:
    """[labels] mean over the carriers that have the effect; NaN where none has."""
    known = ~np.isnan(effects).any(1)
    return effects[known].mean(0) if known.any() else np.full(effects.shape[1], np.nan)


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


def verdict_of(
    effect: Effect, before: Effect, change: Effect, p: float, lost: float = 1.0, taught: bool = False
) -> Verdict:
    """What became of a rule.

    p: of the change being above 0, adjusted; lost: of its being below 0. taught: the data hold it beyond doubt.

    >>> none, some = Effect(0, -0.1, 0.1, 0.5), Effect(3, 2.5, 3.5, 0)
    >>> verdict_of(some, none, some, 0.001), verdict_of(some, some, none, 1), verdict_of(none, none, none, 1)
    ('learnt', 'known', 'nothing')
    >>> verdict_of(none, some, Effect(-3, -3.5, -2.5, 1), 1, 0.001), verdict_of(none, none, none, 1, taught=True)
    ('lost', 'unlearnt')
    """
    had = before.lo > 0 and before.value >= LEAST
    if had and effect.value < before.value / 2 and change.value <= -LEAST and lost < LEVEL:
        return "lost"
    if had and before.value >= effect.value / 2:
        return "known" if effect.lo > 0 and effect.value >= LEAST else "nothing"
    if p < LEVEL and change.lo > 0 and change.value >= LEAST and effect.value >= LEAST:
        return "learnt"
    return "unlearnt" if taught and effect.hi < LEAST else "nothing"
