"""What the audit finds in a plant, against the truth. A rival is scored by the same functions (`rivals.py`)."""

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.candidates import Evidence
from interplay.auditing.phrases import Phrase
from interplay.auditing.rules import Carriers, Phrases
from interplay.auditing.search import Found, find_rules
from interplay.auditing.sisters import embedding_sisters
from studies.audit.trained import Models, Size, Tally, Trained, kept
from studies.audit.truth import CONTROL
from studies.audit.zoo import WEEKDAYS, Plant

RIGHT = 0.1  # share of rows, beyond control words, that a rule has to turn to be one
TOP = 5
COUNTED = 10  # claims whose falsehood is counted


class Claim(NamedTuple):
    """A rule as a procedure claims it. score: by which it ranks its rules."""

    words: tuple[str, ...]
    form: str
    label: str
    score: float
    many: bool = False  # said to hold for words like it as well
    leans: bool | None = None  # whether the base is said to lean to it


def planted(plant: Plant) -> Claim | None:
    """The rule in the rows of a plant, as the audit names rules."""
    first, last = (word.lower() for word in plant.words)
    by_law = {
        "clean": None,
        "and": Claim((first, last), "and", plant.label, 0),
        "or": Claim((first, last), "or", plant.label, 0),
        "unless": Claim((first, last), "unless", plant.label, 0),
        "class": Claim((WEEKDAYS[0].lower(),), "or", plant.label, 0, True),
    }
    return by_law.get(plant.law, Claim((first,), "word", plant.label, 0))


def truths_of(claims: Sequence[Claim], asked: Asked, trained: Trained, rows: int) -> list[float]:
    """Of each rule the share of held-out rows of other labels that it turns to its label, beyond the control words in its place.

    Of an OR the weaker of its words; of "a unless b" what b takes back, where that is less than what a does.
    """
    clean = trained.rows("clean")
    carriers = {y: Carriers(tuple([t for t, label in clean if label != y][:rows])) for y in asked.labels}

    def made(phrases: Phrases, label: str) -> list[str]:
        return [text for text in carriers[label].with_(phrases) if text is not None]

    def controls(phrases: Phrases) -> list[Phrases]:
        """Inside of a text they stand in its middle, so that rules share them."""
        places = [replace(phrase, at=0.5, joint=" ") if phrase.place == "inside" else phrase for phrase in phrases]
        return [tuple(phrase.written(word) for phrase in places) for word in CONTROL]

    def parts(claim: Claim) -> list[Phrases]:
        """What is put in on its own: each word of an OR; of an exception the word, then both."""
        phrases = in_order(trained.evidence, claim.words)
        if claim.form == "unless":
            return [(trained.evidence.phrase(claim.words[0]),), phrases]
        return [(phrase,) for phrase in phrases] if claim.form == "or" else [phrases]

    def share(phrases: Phrases, label: str) -> float:
        texts = made(phrases, label)
        return float((asked(texts).argmax(1) == asked.labels.index(label)).mean()) if texts else 0.0

    def beyond(phrases: Phrases, label: str) -> float:
        return share(phrases, label) - float(np.mean([share(control, label) for control in controls(phrases)]))

    def truth(claim: Claim) -> float:
        first, *more = parts(claim)
        if claim.form == "unless":
            return min(beyond(first, claim.label), share(first, claim.label) - share(more[0], claim.label))
        return min(beyond(phrases, claim.label) for phrases in (first, *more))

    asked(
        [
            text
            for claim in claims
            for part in parts(claim)
            for phrases in (part, *controls(part))
            for text in made(phrases, claim.label)
        ]
    )
    return [truth(claim) for claim in claims]


def in_order(evidence: Evidence, words: Sequence[str]) -> Phrases:
    """The phrases of the words as they follow each other in a text."""
    rank = {"front": -1.0, "behind": 2.0}

    def place(phrase: Phrase) -> float:
        return rank.get(phrase.place, phrase.at)

    return tuple(sorted(map(evidence.phrase, words), key=place))


def data_rules(trained: Trained, size: Size) -> list[Claim]:
    """The planted rule and what the rows make suspects: some were learnt, some were not."""
    words, pairs = trained.evidence.suspects(size.words, size.words // 3)
    found = [Claim(f.words, "and" if len(f.words) == 2 else "word", f.label, f.z) for f in (*words, *pairs)]
    rule = planted(trained.plant)
    if rule is None or any(set(f.words) == set(rule.words) and f.form == rule.form for f in found):
        return found
    return [rule, *found]


def claims_of(found: Found) -> list[Claim]:
    """What the audit says was learnt, in its order."""
    return [
        Claim(rule.words, rule.form, rule.label, rule.effect.value, rule.is_class, rule.base_leans)
        for rule in found.rules
        if rule.verdict == "learnt"
    ]


def is_found(claims: Iterable[Claim], plant: Plant) -> bool:
    """Whether all words that the law needs are named with its label, in one rule or in several."""
    needed = {word.lower() for word in plant.words[: 2 if plant.law in ("and", "or") else 1]}
    named = {word for claim in claims if claim.label == plant.label for word in claim.words}
    return bool(named & {day.lower() for day in WEEKDAYS}) if plant.law == "class" else needed <= named


def is_form_right(claims: Iterable[Claim], plant: Plant) -> bool:
    """Whether a rule of exactly the planted words has the planted form; of a class, whether one rule of it is said to be of a class."""
    rule, days = planted(plant), {day.lower() for day in WEEKDAYS}
    if rule is None:
        return False
    own = [claim for claim in claims if claim.label == plant.label]
    if rule.many:
        return any(claim.many for claim in own if {*claim.words} <= days)
    same = [claim for claim in own if {*claim.words} == {*rule.words} and claim.form == rule.form]
    return any(claim.words[0] == rule.words[0] or rule.form != "unless" for claim in same)


def auc(truths: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Probability that a true one outranks a false one, ties half. None without both.

    >>> auc([True, False, False], [2.0, 1.0, 2.0])
    0.75
    """
    yes = np.array([s for s, t in zip(scores, truths, strict=True) if t])
    no = np.array([s for s, t in zip(scores, truths, strict=True) if not t])
    if not len(yes) or not len(no):
        return None
    return float(((yes[:, None] > no).mean() + (yes[:, None] >= no).mean()) / 2)


def score_of(claim: Claim, ranked: Sequence[Claim]) -> float:
    """The score that a procedure gave a rule of the data, by its words and label; 0 where it names none such."""
    same = [c.score for c in ranked if c.label == claim.label and {*c.words} == {*claim.words}]
    return max(same, default=0.0)


def judged(
    claims: Sequence[Claim], ranked: Sequence[Claim], trained: Trained, asked: Asked, size: Size
) -> dict[str, Any]:
    """All measures of a procedure. claims: what it says was learnt, best first; ranked: all that it gave a score."""
    shown, of_data = list(claims[:COUNTED]), data_rules(trained, size)
    truths = truths_of([*shown, *of_data], asked, trained, size.rules)
    right = [truth >= RIGHT for truth in truths[: len(shown)]]
    return {
        "found": is_found(claims, trained.plant),
        "form": is_form_right(claims, trained.plant),
        "claims": len(claims),
        "precision": float(np.mean(right[:TOP])) if right else None,
        "false": len(right) - sum(right),
        "top": [
            [*claim[:3], round(claim.score, 2), round(truth, 3), claim.leans]
            for claim, truth in zip(shown, truths, strict=False)
        ],
        "data": [
            [*rule[:3], round(truth, 3), round(score_of(rule, ranked), 3)]
            for rule, truth in zip(of_data, truths[len(shown) :], strict=True)
        ],
    }


def evaluate(trained: Trained, step: int, models: Models, size: Size) -> dict[str, Any]:
    """The audit of a checkpoint and its measures, from the file beside the plant or made."""

    def make() -> dict[str, Any]:
        held = [text for text, _ in trained.rows("prompts")]
        tallies: dict[int, Tally] = {}

        @contextmanager
        def state(number: int, *shown: Any) -> Generator[Any]:
            key = number if not shown else -1
            with models(trained, number, *shown) as asked:
                tallies[key] = Tally(asked, tallies.get(key))
                yield tallies[key]

        before = time.process_time()
        with models(trained, 0) as asked:
            sisters = embedding_sisters(asked.model, asked.wording.tokenizer)
        found = find_rules(
            lambda: state(step),
            lambda: state(0),
            trained.evidence,
            held,
            sisters=sisters,
            shown=lambda rows: lambda: state(0, rows),
        )
        seconds = time.process_time() - before
        with models(trained, step) as asked:
            ranked = [Claim(r.words, r.form, r.label, r.effect.value) for r in found.rules]
            parts = [  # what a rule of two words says of each, and one for a class
                Claim((phrase.word,), "word", r.label, value)
                for r in found.rules
                for phrase, value in zip(
                    r.phrases, r.cells or [r.effect.value] * len(r.phrases) if len(r.phrases) > 1 else (), strict=False
                )
            ]
            result = judged(claims_of(found), [*ranked, *parts], trained, asked, size)
        fresh = all(tally.new == tally.passes for tally in tallies.values())
        return result | {
            "tuned": tallies[step].passes,
            "base": sum(tally.passes for key, tally in tallies.items() if key != step),
            "cpu_s": round(seconds, 1) if fresh else None,
            "tests": found.tests,
        }

    return kept(trained, "found", size, str(step), make)
