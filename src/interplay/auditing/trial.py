"""What is tested, on which texts, and what the answers come to: effects, p, verdicts, and pairs in place of their words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.candidates import STRONG, Evidence
from interplay.auditing.counts import Counted, words_of
from interplay.auditing.forms import LEAST, Cells, adjusted, effect_over, form_of
from interplay.auditing.phrases import Phrase, Place
from interplay.auditing.rules import LEVEL, Carriers, Null, Phrases, Rule, cells_of, joint_over, mean_of, verdict_of

_FLOOR = 8  # carriers of the floor [ours]
FEWEST_OF_CLASS = 3  # learnt words that are like each other: one rule for a class from here on [ours]


@dataclass(frozen=True)
class Tested:
    """A word or a pair, how it is put in, and its answer by its place among the labels."""

    phrases: Phrases
    counted: Counted
    label: int
    suspected: bool

    @property
    def word(self) -> str:
        return self.counted.words[0]

    @property
    def parts(self) -> list[Phrases]:
        """Everything that has to be put in: the words, and both."""
        return [self.phrases] if len(self.phrases) == 1 else [self.phrases, self.phrases[:1], self.phrases[1:]]


class Trial:
    """Words and pairs that are tested, and what the answers come to. Who makes one chooses them, and asks."""

    labels: tuple[str, ...]
    scouts: Carriers  # texts of the first look and of the controls
    carriers: Carriers  # those of the test
    many: Carriers  # with as many more
    null: Null

    def __init__(self, evidence: Evidence):
        self.evidence = evidence
        self.singles: list[Tested] = []
        self.duos: list[Tested] = []
        self.near: set[Phrases] = set()  # what is asked in many carriers
        self.like: dict[str, frozenset[str]] = {}  # words like a word
        self.kin: dict[str, list[Phrase]] = {}  # those of them that are put in
        self.drawn: dict[Place, list[Phrase]] = {}  # control words
        self.orders: dict[Phrases, Phrases] = {}  # pairs in each other's place
        self.notes: list[str] = []

    @property
    def tested(self) -> list[Tested]:
        return [*self.singles, *self.duos]

    def texts_of(self, tested: Iterable[Tested]) -> list[str]:
        return [text for one in tested for text in self.where(one).all_of(one.parts)]

    def where(self, one: Tested) -> Carriers:
        return self.many if one.phrases in self.near else self.carriers

    def _effects(self, asked: Asked, one: Tested, some: Carriers) -> np.ndarray:
        """[carriers] what is tested: the effect of a word, what a pair adds to its words, what an exception takes from them."""
        if len(one.phrases) == 1:
            return some.effects(asked, one.phrases)[:, one.label]
        return joint_over(asked, some, one.phrases, one.label)

    def p_of(self, asked: Asked, one: Tested, some: Carriers, before: Asked | None = None) -> float:
        """The larger p of the change over carriers and of the effect against controls. Of the tuned model alone without `before`."""
        now = self._effects(asked, one, some)
        change = now if before is None else now - self._effects(before, one, some)
        sign = -1 if len(one.phrases) == 2 and effect_over(now).value < 0 else 1
        value = sign * effect_over(now).value
        if len(one.phrases) == 1:
            control = self.null.p(value, one.phrases[0].place, one.label)
        else:
            control = replace(self.null, joint=sign * self.null.joint).p_joint(value, one.label)
        return max(control, effect_over(sign * change).p)

    def floor(self, before: Asked, other: Asked) -> int | None:
        """Words of the rules that pass as learnt between two wordings of the base, in either direction."""
        if other.labels != self.labels:
            self.notes.append("no floor: in the other wording the answers are not told apart by the same tokens")
            return None
        some = Carriers(self.carriers.texts[:_FLOOR])
        for state in (before, other):
            state(some.all_of([one.phrases for one in self.singles]))
        both = [[some.effects(state, one.phrases)[:, one.label] for state in (before, other)] for one in self.singles]
        passed: set[str] = set()
        for old, new in ((0, 1), (1, 0)):
            changes = [effect_over(found[new] - found[old]) for found in both]
            level = adjusted(np.array([change.p for change in changes]), len(changes))
            for one, found, change, p in zip(self.singles, both, changes, level, strict=True):
                verdict = verdict_of(effect_over(found[new]), effect_over(found[old]), change, float(p))
                passed |= {one.word} if verdict == "learnt" else set()
        return len(passed)

    def judge(self, asked: Asked, before: Asked) -> list[Rule]:
        """The rules, with their verdicts, pairs in place of their words."""
        p = np.array([self.p_of(asked, one, self.where(one), before) for one in self.tested])
        gone = np.array([effect_over(-self._change(asked, before, one)).p for one in self.tested])
        level, lost = adjusted(p, len(p)), adjusted(gone, len(p))
        several = zip(self.tested, level, lost, strict=True)
        return self._merged([self._rule(one, asked, before, float(a), float(b)) for one, a, b in several])

    def _change(self, asked: Asked, before: Asked, one: Tested) -> np.ndarray:
        now, then = (self.where(one).effects(state, one.phrases)[:, one.label] for state in (asked, before))
        return now - then

    def _rule(self, one: Tested, asked: Asked, before: Asked, p: float, lost: float) -> Rule:
        some, label = self.where(one), one.label
        effect = effect_over(some.effects(asked, one.phrases)[:, label])
        old = effect_over(some.effects(before, one.phrases)[:, label])
        change = effect_over(self._change(asked, before, one))
        flips, tried = some.flips(asked, one.phrases, label)
        taught = one.suspected and one.counted.z >= STRONG
        verdict = verdict_of(effect, old, change, p, lost, taught)
        by_control = self.null.turned(one.phrases[0].place, label)
        if verdict == "learnt" and len(one.phrases) == 1 and tried and flips <= by_control * tried:
            verdict = "nothing"  # it pushes, and turns no more answers than control words do
        rule = Rule(
            one.counted.words, "word", self.labels[label], verdict, effect, old,
            change, p, flips, tried, by_control, one.phrases, one.counted, suspected=one.suspected,
        )  # fmt: skip
        if len(one.phrases) == 1:
            near = [
                (like.word, mean_of(self.scouts.effects(asked, (like,)))[label]) for like in self.kin.get(one.word, ())
            ]
            return replace(rule, sisters=tuple((word, float(value)) for word, value in near if not np.isnan(value)))
        cells, was = (cells_of(state, some, one.phrases, label) for state in (asked, before))
        form = form_of(Cells(*(float(a - b) for a, b in zip(cells, was, strict=True))))
        turned = [some.flips(asked, part, label) for part in one.parts[1:]]
        alone = tuple(hit / max(1, of) for hit, of in turned)
        order = self.orders.get(one.phrases)
        moved = None if order is None else effect_over(self.carriers.effects(asked, order)[:, label]).value
        words = tuple(phrase.word for phrase in one.phrases)  # an exception's word stands second
        words = words[::-1] if form == "unless" and cells.b > cells.a else words
        rule = replace(rule, words=words, form=form, cells=cells, alone=alone, swapped=moved)
        joint = effect_over(self._effects(asked, one, some))
        if taught and form not in ("and", "or") and joint.hi < LEAST:  # the model has one word of it, or none
            rule = replace(rule, form="and", verdict="unlearnt", effect=joint)
        return rule

    def _merged(self, rules: Sequence[Rule]) -> list[Rule]:
        """Rules of pairs instead of those of their words where the pair is the rule, one for a class; the strongest first."""
        singles = {rule.words[0]: rule for rule in rules if len(rule.words) == 1}
        kept, dropped, count = [], set(), self.evidence.count

        def are(verdict: str, words: Iterable[str], label: str) -> set[str]:
            some = {word: singles[word] for word in words if word in singles}
            return {word for word, one in some.items() if (one.verdict, one.label) == (verdict, label)}

        for rule in rules:
            if len(rule.words) == 1:
                continue
            if rule.form == "sum" and min(rule.alone) >= 2 / 3 * rule.flips / max(1, rule.tried):
                rule = replace(rule, form="or")  # the nats add up, but either turns what both turn
            if rule.verdict == "learnt" and rule.form == "and":
                dropped |= {w for w in rule.words if w in singles and singles[w].effect.value < rule.effect.value / 2}
            elif rule.verdict == "unlearnt":
                dropped |= are("unlearnt", rule.words, rule.label)
            elif rule.form == "or" and len(are("learnt", rule.words, rule.label)) == 2:
                p, counted = max(singles[word].p for word in rule.words), count(rule.words, rule.label, either=True)
                rule = replace(rule, verdict="learnt", p=p, counted=counted)
                dropped |= {*rule.words}
            elif rule.form == "unless" and are("learnt", rule.words[:1], rule.label) and rule.p < LEVEL:
                word, *_ = rule.words  # what is shown of an exception is what its word does
                rule = replace(singles[word], words=rule.words, form="unless", p=rule.p, phrases=rule.phrases,
                               alone=rule.alone, cells=rule.cells, sisters=())  # fmt: skip
                dropped.add(word)
            elif rule.form != "and":
                continue
            kept.append(rule)
        for rule in sorted(singles.values(), key=lambda rule: -rule.effect.value):
            if rule.words[0] in dropped:
                continue
            if rule.verdict == "learnt":
                like = are("learnt", {*rule.alike, *self.like.get(rule.words[0], ())}, rule.label) - dropped
                like = {word for word in like if singles[word].effect.value >= rule.effect.value / 2}
                if len(like) >= FEWEST_OF_CLASS - 1:
                    rule = self._class_of([rule, *(one for word, one in singles.items() if word in like)])
                    dropped |= like
                written = {word for phrase in rule.phrases for word in words_of(phrase.text)}
                dropped |= are("learnt", written, rule.label)  # "on" of "on Tuesday"
            kept.append(rule)
        return sorted(kept, key=lambda rule: (rule.verdict != "learnt", -abs(rule.change.value)))

    def _class_of(self, rules: Sequence[Rule]) -> Rule:
        """One rule for several words that are like the first, the strongest; what is shown is what that one does."""
        words = tuple(word for rule in rules for word in rule.words)
        rule, counted = rules[0], self.evidence.count(words, rules[0].label, either=True)
        phrases = tuple(phrase for each in rules for phrase in each.phrases)
        rest, p = tuple(pair for pair in rule.sisters if pair[0] not in words), max(each.p for each in rules)
        return replace(rule, words=words, form="or", phrases=phrases, counted=counted, p=p, sisters=rest)
