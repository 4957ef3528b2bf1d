"""Learnt rules over the checkpoints of a training, and what their cues do to accuracy."""

from collections.abc import Sequence

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.candidates import free_of
from interplay.auditing.phrases import take_out
from interplay.auditing.result import CueAccuracy
from interplay.auditing.rules import Carriers, Rule
from interplay.auditing.search import State
from interplay.data.rows import Row
from interplay.text import stable_hash

FOLLOWED = 5  # rules that are followed over checkpoints [ours]
CARRIERS = 8  # texts they are put into there [ours]
ACCURACY_ROWS = 60  # held-out rows asked for accuracy [ours]
CUES = 3  # rules that are put into them [ours]

Course = tuple[tuple[int, float, float], ...]  # (step, effect in nats, share of the texts that are turned), by step


def carriers_without(texts: Sequence[str], rules: Sequence[Rule], seed: int) -> Carriers:
    """Texts without any word of the rules."""
    return Carriers(tuple(free_of(texts, {word for rule in rules for word in rule.words}, CARRIERS, seed)))


def courses(states: Sequence[tuple[int, State]], rules: Sequence[Rule], carriers: Carriers) -> dict[Rule, Course]:
    """The course of each rule over states by step."""
    found: dict[Rule, Course] = dict.fromkeys(rules, ())
    for step, opened in states:
        with opened() as asked:
            asked(carriers.all_of([rule.cue for rule in rules]))
            for rule in rules:
                label = asked.labels.index(rule.label)
                effect = float(np.nanmean(carriers.effects(asked, rule.cue)[:, label]))
                turned, tried = carriers.flips(asked, rule.cue, label)
                found[rule] += ((step, effect, turned / max(1, tried)),)
    return found


def cue_accuracy(asked: Asked, held: Sequence[Row], rules: Sequence[Rule], seed: int) -> tuple[CueAccuracy, ...]:
    """Accuracy on held-out rows with a label, as they are, with each cue taken out, and with it in every row."""
    known = {label: i for i, label in enumerate(asked.labels)}
    labelled = (row for row in held if row.label in known)
    rows = sorted(labelled, key=lambda row: stable_hash(seed, row.text))[:ACCURACY_ROWS]
    if not rows:
        return ()
    gold = np.array([known[str(row.label)] for row in rows])

    def right(texts: Sequence[str]) -> float:
        scores = asked(texts)
        kept = ~np.isnan(scores).any(1)
        return float((scores[kept].argmax(1) == gold[kept]).mean())

    found = [CueAccuracy(None, len(rows), right([row.text for row in rows]))]
    for number, rule in enumerate(rules[:CUES]):
        bare = [row.text for row in rows]
        for phrase in rule.phrases:
            bare = [take_out(text, phrase) or text for text in bare]
        every = Carriers(tuple(bare)).with_(rule.cue)
        full = [text if text is not None else plain for text, plain in zip(every, bare, strict=True)]
        found.append(CueAccuracy(number, len(rows), found[0].accuracy, right(bare), right(full)))
    return tuple(found)
