"""The search for rules: what is asked of the tuned model, of the base, and what it comes to.

The tuned model is asked first: words that the data point to and common ones, control words, then pairs, exceptions, sister words
and the order of what stood out. The base and a referee are asked the same about what is left. docs/design/audit.md has the reasons.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from interplay.audit.asking import Asked
from interplay.audit.candidates import SUSPECT, Evidence, free_of
from interplay.audit.counts import Counted
from interplay.audit.forms import LEAST, Cells, adjusted, effect_over, form_of
from interplay.audit.phrases import Phrase, swapped
from interplay.audit.rules import Carriers, Null, Phrases, Rule, cells_of, joint_over, null_of, verdict_of
from interplay.errors import InterplayError

State = Callable[[], AbstractContextManager[Asked]]
Sisters = Callable[[str, int], Sequence[str]]  # words like this one, at most so many


@dataclass(frozen=True)
class Budget:
    """How much is asked; all numbers are ours. The passes of a model grow with (words + pairs + controls) x carriers."""

    carriers: int = 12
    words: int = 20  # that the data suspect
    pairs: int = 6
    scan: int = 30  # common words beside them
    few: int = 4  # carriers for the controls, and for a first look at each word
    controls: int = 60
    control_pairs: int = 15
    active: int = 8  # words that are asked in all carriers, and whose pairs, exceptions and sisters are
    sisters: int = 4


BUDGET = Budget()


@dataclass(frozen=True)
class Found:
    """The rules, strongest first, and what was asked. `floor`: rules by which two wordings of the base would differ."""

    rules: tuple[Rule, ...]
    tests: int
    controls: int
    carriers: int
    floor: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Single:
    phrase: Phrase
    counted: Counted
    label: int
    suspected: bool


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

    held: held-out texts, from which carriers are drawn. rephrased: the base in another wording, for the floor.

    Raises InterplayError where under four texts are left as carriers, or there is one answer only.
    """
    words, pairs = evidence.suspects(budget.words, budget.pairs)
    named = {word for found in (*words, *pairs) for word in found.words}
    scanned = evidence.common(budget.scan, named)
    texts = free_of(held, named, budget.carriers, seed)
    if len(texts) < 4:
        raise InterplayError(f"{len(texts)} held-out texts are too few to put words into: give a dozen or more")
    carriers, few = Carriers(tuple(texts)), Carriers(tuple(texts[: budget.few]))
    phrases = {word: evidence.phrase(word) for word in (*named, *scanned)}

    with tuned() as asked:
        labels = asked.labels
        if len(labels) < 2:
            raise InterplayError("there is one answer only: nothing can turn it into another")
        known = {label: i for i, label in enumerate(labels)}
        words = [found for found in words if found.label in known]
        pairs = [found for found in pairs if found.label in known]
        pair = Carriers(few.texts[:2])  # enough for a first look at a word that the data do not suspect
        asked(
            [
                *few.all_of([(phrases[found.words[0]],) for found in words]),
                *pair.all_of([(phrases[w],) for w in scanned]),
            ]
        )

        def look(some: Carriers, word: str) -> np.ndarray:
            """[labels] mean effects of a word over some carriers."""
            effects = some.effects(asked, (phrases[word],))
            return np.nanmean(effects, axis=0) if (~np.isnan(effects)).any() else np.zeros(len(labels))

        looks = [(float(look(few, f.words[0])[known[f.label]]), f.words[0], known[f.label]) for f in words]
        singles = {
            found.words[0]: _Single(phrases[found.words[0]], found, known[found.label], True)
            for i, found in enumerate(words)
            if i < 3
            or looks[i] in sorted(looks, reverse=True)[: budget.active]  # what the data suspect most is told anyway
        }
        surprises = sorted(
            ((float(look(pair, w).max()), w, int(look(pair, w).argmax())) for w in scanned), reverse=True
        )
        for effect, word, label in surprises[: budget.active // 2]:
            if effect >= LEAST:
                singles[word] = _Single(phrases[word], evidence.count((word,), labels[label]), label, False)
        members = {word for found in pairs for word in found.words}
        asked(carriers.all_of([(phrases[word],) for word in (*singles, *members)]))
        places = {single.phrase.place for single in singles.values()} | {phrases[word].place for word in members}
        nulls = _controls(asked, few, evidence, phrases, places, bool(pairs), named, budget, seed)

        def strength(single: _Single) -> float:
            return effect_over(carriers.effects(asked, (single.phrase,))[:, single.label]).value

        active = sorted((s for s in singles.values() if strength(s) >= LEAST), key=strength, reverse=True)[
            : budget.active
        ]
        partners = [(found.words, found, known[found.label]) for found in pairs]
        seen = {frozenset(found.words) for found in pairs}
        for one, other in combinations(active, 2):
            both = one.phrase.word, other.phrase.word
            if one.label == other.label and frozenset(both) not in seen and one.suspected and other.suspected:
                partners.append((both, evidence.count(both, labels[one.label]), one.label))
        for found in evidence.exceptions([s.counted for s in active if s.suspected])[: budget.pairs]:
            if found.z <= -SUSPECT and frozenset(found.words) not in seen:
                partners.append((found.words, found, known[found.label]))
                phrases.setdefault(found.words[1], evidence.phrase(found.words[1]))
        duos: list[tuple[Phrases, Counted, int]] = [
            (_in_order(phrases[a], phrases[b]), found, label) for (a, b), found, label in partners
        ]
        asked(carriers.all_of([part for duo, _, _ in duos for part in (duo, duo[:1], duo[1:])]))
        turned = {duo: swapped(*duo) for duo, _, label in duos if cells_of(asked, carriers, duo, label).both >= LEAST}
        asked(carriers.all_of(list(turned.values())))
        kin = {
            single.phrase.word: [single.phrase.written(word) for word in sisters(single.phrase.word, budget.sisters)]
            for single in active
            if single.suspected
        }
        some = few
        asked(some.all_of([(phrase,) for each in kin.values() for phrase in each]))
    everything: list[Phrases] = [(single.phrase,) for single in singles.values()]
    everything += [part for duo, _, _ in duos for part in (duo, duo[:1], duo[1:])]
    with base() as before:
        before(carriers.all_of(everything))
    helper = None
    if referee is not None:
        with referee() as helper:
            helper(carriers.all_of(everything))

    tests = len(singles) + len(duos) + len(scanned) * len(labels)
    rules, p = [], []

    def support(phrases_: Phrases, label: int, effect: float) -> float | None:
        if helper is None or effect <= 0:
            return None
        return float(np.clip(np.nanmean(carriers.effects(helper, phrases_)[:, label]) / effect, 0, 1))

    def null_at(phrase: Phrase) -> Null:
        return nulls[phrase.place]

    for single in singles.values():
        one, label = (single.phrase,), single.label
        now, then = carriers.effects(asked, one)[:, label], carriers.effects(before, one)[:, label]
        effect, old, change = effect_over(now), effect_over(then), effect_over(now - then)
        flips, tried = carriers.flips(asked, one, label)
        null = null_at(single.phrase)
        p.append(max(null.p(effect.value, label), change.p))
        near = tuple(
            (phrase.word, float(np.nanmean(some.effects(asked, (phrase,))[:, label])))
            for phrase in kin.get(single.phrase.word, ())
        )
        control = float(np.nanmean(null.flips[:, label])) if len(null.flips) else 0.0
        rules.append(
            Rule(
                (single.phrase.word,), "word", labels[label], "nothing", effect, old, change, 1.0, flips, tried, control, one,
                single.counted, support=support(one, label, effect.value), sisters=near, suspected=single.suspected,
            )
        )  # fmt: skip
    for duo, counted, label in duos:
        cells, old_cells = cells_of(asked, carriers, duo, label), cells_of(before, carriers, duo, label)
        now, then = carriers.effects(asked, duo)[:, label], carriers.effects(before, duo)[:, label]
        effect, old, change = effect_over(now), effect_over(then), effect_over(now - then)
        learnt = Cells(*(float(a - b) for a, b in zip(cells, old_cells, strict=True)))
        form = form_of(learnt)
        joint = joint_over(asked, carriers, duo, label) - joint_over(before, carriers, duo, label)
        sign = 1 if form in ("and", "sum") else -1
        null = null_at(duo[0])
        p.append(max(null.p_joint(sign * cells.joint, label) if sign > 0 else 0.0, effect_over(sign * joint).p, 0.0))
        flips, tried = carriers.flips(asked, duo, label)
        alone = []
        for part in (duo[:1], duo[1:]):
            hit, of = carriers.flips(asked, part, label)
            alone.append(hit / max(1, of))
        other = turned.get(duo)
        rules.append(
            Rule(
                counted.words, form, labels[label], "nothing", effect, old, change, 1.0, flips, tried,
                float(np.nanmean(null.flips[:, label])) if len(null.flips) else 0.0, duo, counted, alone=tuple(alone),
                support=support(duo, label, effect.value), cells=cells,
                swapped=None if other is None else effect_over(carriers.effects(asked, other)[:, label]).value,
            )
        )  # fmt: skip
    level = adjusted(np.array(p), tests) if p else np.empty(0)
    judged = [
        replace(rule, p=float(q), verdict=verdict_of(rule.effect, rule.before, rule.change, float(q), LEAST))
        for rule, q in zip(rules, level, strict=True)
    ]
    return Found(tuple(_merged(judged)), tests, sum(len(n.effects) for n in nulls.values()), len(texts), None)


def _in_order(a: Phrase, b: Phrase) -> Phrases:
    """Both phrases, the first as the rows have them in a text."""
    rank = {"front": -1.0, "behind": 2.0}
    return (a, b) if rank.get(a.place, a.at) <= rank.get(b.place, b.at) else (b, a)


def _controls(asked, carriers, evidence, phrases, places, with_pairs, named, budget, seed) -> dict[str, Null]:
    """A null for every place that phrases stand in."""
    places = sorted(places)
    found, drawn = {}, {}
    for place in places:
        like = next(phrases[word] for word in phrases if phrases[word].place == place)
        drawn[place] = evidence.controls(like, max(20, budget.controls // len(places)), named, seed)
    for place in places:
        words = [(phrase,) for phrase in drawn[place]]
        others = drawn["behind" if place == "front" and "behind" in drawn else place]
        pairs = [(a, b) for a, b in zip(drawn[place], [*others[1:], *others[:1]], strict=False) if a.word != b.word][
            : budget.control_pairs if with_pairs else 0
        ]
        parts = [part for pair in pairs for part in (pair, pair[:1], pair[1:])]
        asked(carriers.all_of([*words, *parts]))
        found[place] = null_of(asked, carriers, words, pairs)
    return found


def _merged(rules: list[Rule]) -> list[Rule]:
    """Rules of pairs instead of those of their words, where the pair is the rule; the strongest first."""
    kept, dropped = [], set()
    singles = {rule.words[0]: rule for rule in rules if len(rule.words) == 1}
    for rule in rules:
        if len(rule.words) == 1:
            continue
        if rule.form in ("word", "sum", "none"):
            continue
        if rule.form == "and" and rule.verdict == "learnt":
            dropped |= {w for w in rule.words if w in singles and singles[w].effect.value < rule.effect.value / 2}
        elif rule.form == "or" and all(w in singles and singles[w].verdict == "learnt" for w in rule.words):
            rule = replace(rule, verdict="learnt", p=max(singles[w].p for w in rule.words))
            dropped |= set(rule.words)
        elif (
            rule.form == "unless"
            and rule.words[0] in singles
            and singles[rule.words[0]].verdict == "learnt"
            and rule.p < 0.05
        ):
            rule = replace(rule, verdict="learnt")
            dropped.add(rule.words[0])
        elif rule.form != "and":
            continue
        kept.append(rule)
    kept += [rule for rule in singles.values() if rule.words[0] not in dropped]
    return sorted(
        kept, key=lambda rule: -abs(rule.change.value) if rule.verdict == "learnt" else 1e3 - abs(rule.change.value)
    )
