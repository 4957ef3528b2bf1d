"""The search for rules: what is asked of the tuned model, of the base, and what it comes to.

A first look on a few texts chooses words and pairs: those that the data point to, common ones, and without training rows those
that single answers need. Other texts, the carriers, then test the few that were chosen: what chose a rule does not test it.
docs/design/audit.md has the reasons.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from interplay.audit.asking import Asked
from interplay.audit.candidates import STRONG, SUSPECT, Evidence, free_of, needed, telling
from interplay.audit.counts import Counted, words_of
from interplay.audit.forms import LEAST, Cells, Effect, adjusted, effect_over, form_of
from interplay.audit.phrases import Phrase, Place, swapped, take_out
from interplay.audit.rules import (
    LEVEL,
    Carriers,
    Null,
    Phrases,
    Rule,
    Verdict,
    cells_of,
    joint_over,
    mean_of,
    null_of,
    verdict_of,
)
from interplay.errors import InterplayError

State = Callable[[], AbstractContextManager[Asked]]
Sisters = Callable[[str, int], Sequence[str]]  # words like this one, at most so many


@dataclass(frozen=True)
class Budget:
    """How much is asked; all numbers are ours. The passes of a model grow with (words + pairs) x carriers + looks x few."""

    few: int = 4  # texts of the first look and of the controls
    carriers: int = 12  # further texts that test; as many more where a rule is near the line
    words: int = 20  # that the data suspect
    pairs: int = 6
    scan: int = 30  # common words beside them
    natural: int = 8  # texts whose words are left out one by one, where no training rows name suspects
    active: int = 8  # words that are tested, and whose pairs, exceptions and sisters are
    controls: int = 30
    sisters: int = 4


BUDGET = Budget()
_TOLD = 3  # words and pairs of the data that are tested whatever the first look says, so that "not learnt" is told
_FLOOR = 8  # carriers of the floor
_NEAR = 3e-4  # p from which on more carriers are asked: what is below it passes with a dozen tests


@dataclass(frozen=True)
class Found:
    """The rules, strongest first, and what was asked.

    looked: words of the first look; tests: rules that were tested, for which p is adjusted. floor: rules that two wordings of
    the base would seem to have learnt, None where there was one wording.
    """

    rules: tuple[Rule, ...]
    looked: int
    tests: int
    controls: int
    carriers: int
    floor: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tested:
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


def find_rules(
    tuned: State,
    base: State,
    evidence: Evidence,
    held: Sequence[str],
    *,
    budget: Budget = BUDGET,
    seed: int = 0,
    sisters: Sisters = lambda word, most: (),
    referee: State | None = None,
    rephrased: State | None = None,
) -> Found:
    """Rules of the rows that the tuned model follows, with what the base does.

    held: held-out texts, from which carriers are drawn. rephrased: the base in another wording, for the floor. The base is
    opened twice; each state answers at least as long as it is open, and later for what it was asked before.

    Raises InterplayError where under four texts are left as carriers, there is one answer only, or the answers differ.
    """
    search = _Search(evidence, budget, seed, sisters)
    search.draw(held)
    with base() as before:
        search.look_before(before)
    with tuned() as asked:
        if asked.labels != before.labels:
            raise InterplayError(
                f"the base answers {before.labels}, the tuned model {asked.labels}: give both the same"
            )
        search.choose(asked, held)
    with base() as before:
        before(search.texts_of(search.tested))
    helper = None
    if referee is not None:
        with referee() as helper:
            helper(search.texts_of(search.tested))
    floor = None
    if rephrased is not None:
        with rephrased() as other:
            floor = search.floor(before, other)
    rules = search.judge(asked, before, helper)
    looked, controls = len(search.named) + len(search.scanned), sum(map(len, search.null.effects.values()))
    texts = len(search.carriers.texts)
    return Found(tuple(rules), looked, len(search.tested), controls, texts, floor, tuple(search.notes))


@dataclass
class _Search:
    evidence: Evidence
    budget: Budget
    seed: int
    sisters: Sisters
    notes: list[str] = field(default_factory=list)
    near: set[Phrases] = field(default_factory=set)  # what is asked in more carriers
    kin: dict[str, list[Phrase]] = field(default_factory=dict)
    orders: dict[Phrases, Phrases] = field(default_factory=dict)
    singles: list[_Tested] = field(default_factory=list)
    duos: list[_Tested] = field(default_factory=list)

    @property
    def tested(self) -> list[_Tested]:
        return [*self.singles, *self.duos]

    def draw(self, held: Sequence[str]) -> None:
        """The suspects, the texts of the first look (`scouts`), the carriers, and the carriers with more to them (`many`)."""
        budget, evidence = self.budget, self.evidence
        self.words, self.pairs = evidence.suspects(budget.words, budget.pairs)
        self.named = {word for found in (*self.words, *self.pairs) for word in found.words}
        self.scanned = evidence.common(budget.scan, self.named)
        self.phrases = {word: evidence.phrase(word) for word in (*self.named, *self.scanned)}
        if not evidence.teaches:
            kind = "no training rows" if not evidence.trained else "under two answers in the training rows"
            self.notes.append(
                f"{kind}: only common words of the held-out texts and words that single answers need were looked at; "
                "rare words, exceptions, and what was in the data but not learnt stay unseen"
            )
        texts = free_of(held, self.named, budget.few + 2 * budget.carriers, self.seed)
        holders = {word: sum(word in words_of(text) for text in texts) for word in self.named}
        if often := sorted(word for word, count in holders.items() if 2 * count > len(texts)):
            for word in often:
                texts = [take_out(text, self.phrases[word]) for text in texts]
            self.notes.append(f"most held-out texts hold {', '.join(often)}: taken out of them, to be put in")
        texts = [text for text in dict.fromkeys(texts) if words_of(text)]
        if len(texts) < 4:
            raise InterplayError(f"{len(texts)} held-out texts are too few to put words into: give a dozen or more")
        self.scouts, rest = Carriers(tuple(texts[: budget.few])), texts[budget.few :]
        if len(rest) < 2 * budget.few:
            rest = texts
            self.notes.append(f"{len(texts)} held-out texts both choose the rules and test them: give a dozen or more")
        self.carriers, self.many = Carriers(tuple(rest[: budget.carriers])), Carriers(tuple(rest))

    def texts_of(self, tested: Iterable[_Tested]) -> list[str]:
        return [text for one in tested for text in self.where(one).all_of(one.parts)]

    def where(self, one: _Tested) -> Carriers:
        return self.many if one.phrases in self.near else self.carriers

    def _look(self, asked: Asked, texts: int, words: Iterable[str]) -> dict[str, np.ndarray]:
        """[labels] mean effects of each word on the first texts, 0 where all of them hold it."""
        some, words = Carriers(self.scouts.texts[:texts]), list(words)
        asked(some.all_of([(self.phrases[word],) for word in words]))
        return {word: np.nan_to_num(mean_of(some.effects(asked, (self.phrases[word],)))) for word in words}

    def look_before(self, before: Asked) -> None:
        if len(before.labels) < 2:
            raise InterplayError("there is one answer only: nothing can turn it into another")
        self.before = self._look(before, 2, [*(found.words[0] for found in self.words), *self.scanned])

    def choose(self, asked: Asked, held: Sequence[str]) -> None:
        """What is tested: words by the first look, their sisters, pairs, controls; and all of it is asked."""
        self.labels = asked.labels
        natural = self._natural(asked, held) if not self.evidence.teaches else []
        self._choose_words(asked)
        asked(self.texts_of(self.singles))

        def strength(one: _Tested) -> float:
            return effect_over(self.carriers.effects(asked, one.phrases)[:, one.label]).value

        active = sorted((one for one in self.singles if strength(one) >= LEAST), key=strength, reverse=True)
        self._ask_sisters(asked, active)
        self._choose_pairs(asked, active, natural)
        asked(self.texts_of(self.duos))
        for duo in self.duos:
            cells = cells_of(asked, self.carriers, duo.phrases, duo.label)
            if cells.both >= LEAST and form_of(cells) == "and":
                self.orders[duo.phrases] = swapped(*duo.phrases)
        asked(self.carriers.all_of(list(self.orders.values())))
        self._ask_controls(asked)
        first = sorted((self._p(asked, one, self.carriers), i) for i, one in enumerate(self.tested))
        close = [self.tested[i].phrases for p, i in first if _NEAR < p < LEVEL]
        self.near = {*close[: self.budget.active // 2]}
        asked(self.texts_of(one for one in self.tested if one.phrases in self.near))

    def _natural(self, asked: Asked, held: Sequence[str]) -> list[tuple[str, str, int]]:
        """Words that answers to held-out texts need join the scan; pairs of them in one text are (word, word, label)."""
        lost = needed(asked, telling(held, self.budget.natural, self.scanned))
        for text, word, _, _ in lost:
            if word not in self.phrases and len(self.scanned) < self.budget.scan + self.budget.active:
                self.phrases[word] = self.evidence.phrase(word, [text])
                self.scanned.append(word)
                self.before[word] = np.zeros(len(asked.labels))
        known = [(text, word, label) for text, word, label, _ in lost if word in self.phrases]
        return [(a[1], b[1], a[2]) for a, b in combinations(known, 2) if a[0] == b[0]][: self.budget.pairs]

    def _choose_words(self, asked: Asked) -> None:
        number = {label: i for i, label in enumerate(asked.labels)}
        self.pairs = [found for found in self.pairs if found.label in number]
        suspects = {found.words[0]: found for found in self.words if found.label in number}
        now = self._look(asked, len(self.scouts.texts), suspects) | self._look(asked, 2, self.scanned)

        def top(scores: dict[str, np.ndarray], most: int) -> list[tuple[str, int]]:
            """(word, label) of the largest scores [labels]."""
            best = sorted(
                ((float(each.max()), word, int(each.argmax())) for word, each in scores.items()), reverse=True
            )
            return [(word, label) for score, word, label in best[:most] if score >= LEAST]

        chosen = [(word, number[found.label]) for word, found in suspects.items()][:_TOLD]
        own = {word: np.where(np.array(asked.labels) == found.label, now[word], 0) for word, found in suspects.items()}
        gain = {word: np.where(now[word] >= LEAST, now[word] - self.before[word], 0) for word in self.scanned}
        loss = {word: np.where(was >= LEAST, was - now[word], 0) for word, was in self.before.items() if word in now}
        active = self.budget.active
        for word, label in dict([*top(loss, active // 4), *top(gain, active // 2), *top(own, active), *chosen]).items():
            found = suspects.get(word)
            told = found is not None and number[found.label] == label
            counted = found if told else self.evidence.count((word,), asked.labels[label])
            self.singles.append(_Tested((self.phrases[word],), counted, label, told))

    def _ask_sisters(self, asked: Asked, active: Sequence[_Tested]) -> None:
        for one in active[: self.budget.active // 2]:
            like = self.sisters(one.word, self.budget.sisters)
            kin = {word: self.phrases.get(word, one.phrases[0].like(word)) for word in like if word != one.word}
            self.kin[one.word] = list(kin.values())
        asked(self.scouts.all_of([(phrase,) for each in self.kin.values() for phrase in each]))

    def _choose_pairs(self, asked: Asked, active: Sequence[_Tested], natural: Sequence[tuple[str, str, int]]) -> None:
        evidence, number = self.evidence, {label: i for i, label in enumerate(self.labels)}
        found = [(pair, True) for pair in self.pairs]
        found += [(evidence.count((a, b), self.labels[label]), False) for a, b, label in natural]
        exceptions = evidence.exceptions([one.counted for one in active if one.suspected])
        found += [(pair, True) for pair in exceptions[: self.budget.pairs] if pair.z <= -SUSPECT]
        both = [
            (evidence.count((a.word, b.word), self.labels[a.label]), a.suspected)
            for a, b in combinations([one for one in active if one.suspected or not evidence.teaches], 2)
            if a.label == b.label and not self._akin(a.word, b.word)
        ]
        found += both[: self.budget.pairs]
        duos: dict[frozenset[str], _Tested] = {}
        for pair, suspected in found:
            for word in pair.words:
                self.phrases.setdefault(word, evidence.phrase(word))
            label = number[pair.label]
            duos.setdefault(frozenset(pair.words), _Tested(self._in_order(pair), pair, label, suspected))
        asked(self.scouts.all_of([part for duo in duos.values() for part in duo.parts]))

        def joint(duo: _Tested) -> float:
            return abs(cells_of(asked, self.scouts, duo.phrases, duo.label).joint)

        strong = {one.word for one in active}
        told = [duo for duo in duos.values() if duo.counted.z >= STRONG][:_TOLD]
        told += [duo for duo in duos.values() if strong >= {*duo.counted.words} and duo not in told][:_TOLD]
        rest = [
            duo for duo in sorted(duos.values(), key=joint, reverse=True) if duo not in told and joint(duo) >= LEAST / 2
        ]
        self.duos = [*told, *rest[: max(0, self.budget.pairs - len(told))]]

    def _akin(self, a: str, b: str) -> bool:
        return any(phrase.word == y for x, y in ((a, b), (b, a)) for phrase in self.kin.get(x, ()))

    def _in_order(self, pair: Counted) -> Phrases:
        """Both phrases, the first as the rows of the answer have them."""
        a, b = (self.phrases[word] for word in pair.words)
        rank = {"front": 0, "inside": 1, "behind": 2}
        first = rank[a.place] < rank[b.place]
        if a.place == b.place:
            first = self.evidence.in_order(a.word, b.word, pair.label)
        a, b = (a, b) if first else (b, a)
        if a.place == b.place and a.at > b.at:
            a, b = replace(a, at=b.at), replace(b, at=a.at)
        return a, b

    def _ask_controls(self, asked: Asked) -> None:
        """A null over the places that phrases stand in, and one of pairs."""
        likes: dict[Place, Phrase] = {}
        for phrase in (phrase for one in self.tested for phrase in one.phrases):
            likes.setdefault(phrase.place, phrase)
        each = max(10, self.budget.controls // max(1, len(likes)))
        without = self.named | {one.word for one in self.tested}
        drawn = {place: self.evidence.controls(like, each, without, self.seed) for place, like in sorted(likes.items())}
        pairs = []
        for i in range(self.budget.controls // 2 if self.duos else 0):
            one, other = (drawn[phrase.place] for phrase in self.duos[i % len(self.duos)].phrases)
            if one and other and (a := one[i % len(one)]).word != (b := other[(i + 1) % len(other)]).word:
                pairs.append((a, b))
        words = [(phrase,) for place in drawn.values() for phrase in place]
        asked(self.scouts.all_of([*words, *pairs]))
        self.null: Null = null_of(asked, self.scouts, drawn, pairs)

    def _effects(self, asked: Asked, one: _Tested, some: Carriers) -> np.ndarray:
        """[carriers] what is tested: the effect of a word, what a pair adds to its words, what an exception takes from them."""
        if len(one.phrases) == 1:
            return some.effects(asked, one.phrases)[:, one.label]
        return joint_over(asked, some, one.phrases, one.label)

    def _p(self, asked: Asked, one: _Tested, some: Carriers, before: Asked | None = None) -> float:
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
                if verdict_of(effect_over(found[new]), effect_over(found[old]), change, float(p)) == "learnt":
                    passed.add(one.word)
        return len(passed)

    def judge(self, asked: Asked, before: Asked, helper: Asked | None) -> list[Rule]:
        """The rules, with their verdicts, pairs in place of their words."""
        p = np.array([self._p(asked, one, self.where(one), before) for one in self.tested])
        gone = np.array([effect_over(-self._change(asked, before, one)).p for one in self.tested])
        level, lost = adjusted(p, len(p)), adjusted(gone, len(p))
        missing = [label for label in self.labels if helper is not None and label not in helper.labels]
        if missing:
            self.notes.append(f"the referee has no answer {', '.join(missing)}: it says nothing of rules for it")
        several = zip(self.tested, level, lost, strict=True)
        return self._merged([self._rule(one, asked, before, helper, float(a), float(b)) for one, a, b in several])

    def _change(self, asked: Asked, before: Asked, one: _Tested) -> np.ndarray:
        now, then = (self.where(one).effects(state, one.phrases)[:, one.label] for state in (asked, before))
        return now - then

    def _rule(self, one: _Tested, asked: Asked, before: Asked, helper: Asked | None, p: float, lost: float) -> Rule:
        some, label = self.where(one), one.label
        effect = effect_over(some.effects(asked, one.phrases)[:, label])
        old = effect_over(some.effects(before, one.phrases)[:, label])
        change = effect_over(self._change(asked, before, one))
        flips, tried = some.flips(asked, one.phrases, label)
        support = None
        if helper is not None and self.labels[label] in helper.labels and effect.value > 0:
            shared = mean_of(some.effects(helper, one.phrases))[helper.labels.index(self.labels[label])]
            support = float(np.clip(shared / effect.value, 0, 1))
        taught = one.suspected and one.counted.z >= STRONG
        rule = Rule(
            one.counted.words, "word", self.labels[label], verdict_of(effect, old, change, p, lost, taught), effect, old,
            change, p, flips, tried, self.null.turned(one.phrases[0].place, label), one.phrases, one.counted, support=support,
            suspected=one.suspected,
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
        joint: Effect = effect_over(self._effects(asked, one, some))
        if (
            taught and form not in ("and", "or") and joint.hi < LEAST
        ):  # the data hold the pair, the model one word or none
            rule = replace(rule, form="and", verdict="unlearnt", effect=joint)
        return rule

    def _merged(self, rules: Sequence[Rule]) -> list[Rule]:
        """Rules of pairs instead of those of their words where the pair is the rule, one for a class; the strongest first."""
        singles = {rule.words[0]: rule for rule in rules if len(rule.words) == 1}
        kept, dropped = [], set()

        def are(verdict: Verdict, words: Iterable[str]) -> set[str]:
            return {word for word in words if word in singles and singles[word].verdict == verdict}

        for rule in rules:
            if len(rule.words) == 1 or rule.form not in ("and", "or", "unless"):
                continue
            if rule.verdict == "learnt" and rule.form == "and":
                dropped |= {w for w in rule.words if w in singles and singles[w].effect.value < rule.effect.value / 2}
            elif rule.verdict == "unlearnt":
                dropped |= are("unlearnt", rule.words)
            elif rule.form == "or" and len(are("learnt", rule.words)) == 2:
                rule = replace(rule, verdict="learnt", p=max(singles[word].p for word in rule.words))
                dropped |= {*rule.words}
            elif rule.form == "unless" and are("learnt", rule.words[:1]) and rule.p < LEVEL:
                rule = replace(rule, verdict="learnt")
                dropped.add(rule.words[0])
            elif rule.form != "and":
                continue
            kept.append(rule)
        for rule in sorted(singles.values(), key=lambda rule: -rule.effect.value):
            if rule.words[0] in dropped:
                continue
            if rule.verdict == "learnt" and rule.is_class:
                others = [w for w in are("learnt", rule.alike) if singles[w].label == rule.label]
                dropped |= {*others}
                rule = replace(rule, counted=self.evidence.count((*rule.words, *others), rule.label, either=True))
            kept.append(rule)
        return sorted(kept, key=lambda rule: (rule.verdict != "learnt", -abs(rule.change.value)))
