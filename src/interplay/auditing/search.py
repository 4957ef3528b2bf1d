"""The search for rules: what is asked of the tuned model, of the base, and what it comes to.

A first look on a few texts chooses words and pairs: those that the data point to, common ones, and without training rows those
that single answers need. Other texts, the carriers, then test the few that were chosen: what chose a rule does not test it.
docs/design/audit.md has the reasons.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.candidates import STRONG, SUSPECT, Evidence, free_of, needed, telling
from interplay.auditing.counts import FEWEST, words_of
from interplay.auditing.forms import LEAST, effect_over, form_of
from interplay.auditing.leaning import Example, examples, with_leaning
from interplay.auditing.phrases import Phrase, Place, swapped, take_out
from interplay.auditing.rules import LEVEL, Carriers, Rule, cells_of, mean_of, null_of
from interplay.auditing.trial import Tested, Trial
from interplay.errors import InterplayError

State = Callable[[], AbstractContextManager[Asked]]
Taught = Callable[[Sequence[Example]], State]  # a model that is shown these texts with their answers first
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


def find_rules(
    tuned: State,
    base: State,
    evidence: Evidence,
    held: Sequence[str],
    *,
    budget: Budget = BUDGET,
    seed: int = 0,
    sisters: Sisters = lambda word, most: (),
    shown: Taught | None = None,
    referee: Taught | None = None,
    rephrased: State | None = None,
) -> Found:
    """Rules of the rows that the tuned model follows, with what the base does.

    held: held-out texts, from which carriers are drawn. shown: the base, referee: another model, asked whether they lean to what
    was learnt. rephrased: the base in another wording, for the floor. The base is opened twice; each state answers at least as
    long as it is open, and later for what it was asked before.

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
    floor = None
    if rephrased is not None:
        with rephrased() as other:
            floor = search.floor(before, other)
    rules = search.judge(asked, before)
    learnt = [rule.label for rule in rules if rule.verdict == "learnt"]
    rows = examples(evidence, [*learnt, *asked.labels], {w for one in search.tested for w in one.counted.words}, seed)
    if learnt and shown is not None:
        with shown(rows)() as other:
            rules = with_leaning(rules, search, other, "shown")
    if learnt and referee is not None:
        with referee(rows)() as other:
            rules = with_leaning(rules, search, other, "referee")
        if missing := sorted({*learnt} - {*other.labels}):
            search.notes.append(f"the referee has no answer {', '.join(missing)}: it says nothing of rules for it")
    looked, controls = len(search.named) + len(search.scanned), sum(map(len, search.null.effects.values()))
    texts = len(search.carriers.texts)
    return Found(tuple(rules), looked, len(search.tested), controls, texts, floor, tuple(search.notes))


class _Search(Trial):
    """What is put to the test is chosen here."""

    def __init__(self, evidence: Evidence, budget: Budget, seed: int, sisters: Sisters):
        super().__init__(evidence)
        self.budget, self.seed, self.sisters = budget, seed, sisters

    def draw(self, held: Sequence[str]) -> None:
        """The suspects, the texts of the first look (`scouts`), the carriers, and the carriers with more to them (`many`)."""
        budget, evidence = self.budget, self.evidence
        self.words, self.pairs = evidence.suspects(budget.words, budget.pairs)
        self.named = {word for found in (*self.words, *self.pairs) for word in found.words}
        self.scanned = evidence.common(budget.scan, self.named)
        self.phrases = {word: evidence.phrase(word) for word in (*self.named, *self.scanned)}
        if not evidence.teaches:
            kind = "no training rows" if not evidence.trained else "training rows without answers"
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

    def _look(self, asked: Asked, texts: int, words: Iterable[str]) -> dict[str, np.ndarray]:
        """[labels] mean effects of each word on the first texts, 0 where all of them hold it."""
        some, words = Carriers(self.scouts.texts[:texts]), list(words)
        asked(some.all_of([(self.phrases[word],) for word in words]))
        return {word: np.nan_to_num(mean_of(some.effects(asked, (self.phrases[word],)))) for word in words}

    def look_before(self, before: Asked) -> None:
        if len(before.labels) < 2 and not before.free:
            raise InterplayError("there is one answer only: nothing can turn it into another")
        self.before = self._look(before, 2, [*(found.words[0] for found in self.words), *self.scanned])

    def choose(self, asked: Asked, held: Sequence[str]) -> None:
        """What is tested: words by the first look, their sisters, pairs, controls; and all of it is asked."""
        self.labels = asked.labels
        natural = self._natural(asked, held) if not self.evidence.teaches else []
        self._choose_words(asked)
        asked(self.texts_of(self.singles))

        def strength(one: Tested) -> float:
            return effect_over(self.carriers.effects(asked, one.phrases)[:, one.label]).value

        active = sorted((one for one in self.singles if strength(one) >= LEAST), key=strength, reverse=True)
        self._ask_sisters(asked, active)
        self._choose_pairs(asked, active, natural)
        asked(self.texts_of(self.duos))
        for duo in self.duos:
            cells = cells_of(asked, self.carriers, duo.phrases, duo.label)
            # Of a word in front and one behind, others would stand where no row has them, mostly: that is place, not order.
            one, other = duo.phrases
            alike = one.place == other.place or self.evidence.in_both_orders(one.word, other.word)
            if cells.both >= LEAST and form_of(cells) == "and" and alike:
                self.orders[duo.phrases] = swapped(one, other)
        asked(self.carriers.all_of(list(self.orders.values())))
        self._ask_controls(asked)
        first = sorted((self.p_of(asked, one, self.carriers), i) for i, one in enumerate(self.tested))
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
            self.singles.append(Tested((self.phrases[word],), counted, label, told))

    def _ask_sisters(self, asked: Asked, active: Sequence[Tested]) -> None:
        for place, one in enumerate(active):
            like = [word for word in self.sisters(one.word, 2 * self.budget.sisters) if word != one.word]
            self.like[one.word] = frozenset(like)
            if place < self.budget.active // 2:
                some = like[: self.budget.sisters]
                self.kin[one.word] = [self.phrases.get(word, one.phrases[0].like(word)) for word in some]
        asked(self.scouts.all_of([(phrase,) for each in self.kin.values() for phrase in each]))

    def _choose_pairs(self, asked: Asked, active: Sequence[Tested], natural: Sequence[tuple[str, str, int]]) -> None:
        evidence, number = self.evidence, {label: i for i, label in enumerate(self.labels)}
        found = [(pair, True) for pair in self.pairs]
        found += [(evidence.count((a, b), self.labels[label]), False) for a, b, label in natural]
        exceptions = evidence.exceptions([one.counted for one in active if one.suspected])
        found += [(pair, True) for pair in exceptions[: self.budget.pairs] if pair.z <= -SUSPECT]
        akin = {frozenset((word, other)) for word, like in self.like.items() for other in like}
        both = [
            (evidence.count((a.word, b.word), self.labels[a.label]), a.suspected)
            for a, b in combinations([one for one in active if one.suspected or not evidence.teaches], 2)
            if a.label == b.label and frozenset((a.word, b.word)) not in akin
        ]
        both = [(pair, suspected) for pair, suspected in both if pair.rows >= FEWEST or not evidence.teaches]
        found += both[: self.budget.pairs]
        duos: dict[frozenset[str], Tested] = {}
        for pair, suspected in found:
            for word in pair.words:
                self.phrases.setdefault(word, evidence.phrase(word))
            a, b = (self.phrases[word] for word in pair.words)
            if a.word in words_of(b.text) or b.word in words_of(a.text):
                continue  # "on" is a part of "on Tuesday" already
            label, placed = number[pair.label], evidence.in_place(pair, a, b)
            duos.setdefault(frozenset(pair.words), Tested(placed, pair, label, suspected))
        asked(self.scouts.all_of([part for duo in duos.values() for part in duo.parts]))

        def joint(duo: Tested) -> float:
            return abs(cells_of(asked, self.scouts, duo.phrases, duo.label).joint)

        strong = {one.word for one in active}
        told = [duo for duo in duos.values() if duo.counted.z >= STRONG][:_TOLD]
        told += [duo for duo in duos.values() if strong >= {*duo.counted.words} and duo not in told][:_TOLD]
        rest = [
            duo for duo in sorted(duos.values(), key=joint, reverse=True) if duo not in told and joint(duo) >= LEAST / 2
        ]
        self.duos = [*told, *rest[: max(0, self.budget.pairs - len(told))]]

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
        if any(len(words) < 3 for words in drawn.values()):
            self.notes.append("under three control words: no rule can be told from what any word does; give more rows")
        self.drawn = drawn
        words = [(phrase,) for place in drawn.values() for phrase in place]
        asked(self.scouts.all_of([*words, *pairs]))
        self.null = null_of(asked, self.scouts, drawn, pairs)
