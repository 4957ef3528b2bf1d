"""What to do about the rules that a model learnt: rows to review and to drop, counterfactual rows, mended rows, and tests.

Counterfactuals are made until the answer is as frequent in every cell of a rule's words (with none, with one, with both) as in all
rows: then neither word, nor the two together, says anything about it. A cell with too many rows of the answer gets rows of other
answers, turned into rows of that cell by putting words in and taking them out; a cell with too few gets rows of the answer. There
are always enough, so that each carrier serves a cell once: a few that are used again and again do harm (arXiv 2107.00753).
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from interplay.atomic import write_text
from interplay.auditing.checks import Case, TestedRule, Tests
from interplay.auditing.counts import words_of
from interplay.auditing.openings import answer_of
from interplay.auditing.phrases import put_in, take_out
from interplay.auditing.rows import with_text
from interplay.auditing.rules import Phrases, Rule
from interplay.data.rows import Row
from interplay.data.sources import ReadResult
from interplay.data.stopwords import STOP_WORDS
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.text import stable_hash

TEXTS = 40  # pairs of texts a rule is tested with [ours]
LIMIT = 0.2  # flip rate that passes, unless the rule turned few itself or control words turn many [ours]
_WORD = re.compile(r"[^\W\d_]+")


class _Own(NamedTuple):
    """A row, or a counterfactual of one for a rule; `held`: the words of rules in its text."""

    row: Row
    record: Mapping[str, Any]
    text: str
    answer: str | None
    held: frozenset[str]
    rule: int = 0

    def shown(self, **more: Any) -> dict[str, Any]:
        return {"row": self.row.id, **more, "record": self.record}


def write_fixes(
    rules: Sequence[Rule],
    train: ReadResult,
    folder: Path,
    *,
    held: Sequence[str],
    labels: Sequence[str],
    template: PromptTemplate,
    free: bool = False,
    mend: Collection[int] | None = None,
    model: str = "",
    base: str = "",
    seed: int = 0,
) -> list[str]:
    """Write what mends the learnt ones among `rules`, numbered 1, 2, ... in their order, into `folder`:

    rule-N-review.jsonl    training rows with the rule: their id (else file and line), for or against it, the record
    rule-N-drop.jsonl      those to drop so that the answer is as frequent with the rule as without it, drawn by a hash
    counterfactuals.jsonl  made rows: from which row, for which rule, the record
    mended.jsonl           all records and the counterfactual ones, in the user's columns: the recommended fix, to train on
    tests.jsonl            for `interplay test`

    Args:
        rules: as an audit lists them; those that were not learnt are passed over.
        train: the training rows, of `read_rows` or `trained_rows`.
        held: held-out texts that tests are made of; at best of other answers than the rules'.
        labels, template, free: the answers and the wording that tests ask; free: the answers are openings of the responses.
        mend: numbers of the rules that are mended and tested; None: all. Leave out those that the task wants.
        model, base: names that tests.jsonl tells.

    Returns a summary in lines. Raises InterplayError where no rule was learnt, `mend` names another one, or the folder cannot
    be written.
    """
    learnt = dict(enumerate((rule for rule in rules if rule.verdict == "learnt"), 1))
    mend = learnt.keys() if mend is None else mend
    if not learnt or set(mend) - learnt.keys():
        wrong = f"rule {min(set(mend) - learnt.keys())} is not among the {len(learnt)} learnt ones" if learnt else ""
        raise InterplayError(wrong or "no rule was learnt, so there is nothing to fix")
    words = {word for rule in learnt.values() for word in rule.words}
    said = [answer_of(row.target, labels) if free else row.label for row in train.rows]
    pairs = zip(train.rows, train.records, said, strict=True)
    own = [_Own(row, record, row.text, answer, _held(row.text, words)) for row, record, answer in pairs]
    made: list[_Own] = []
    for number in sorted(mend):
        made += _counterfactuals(number, learnt[number], [*own, *made], train.columns, words, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in [*folder.glob("rule-*-review.jsonl"), *folder.glob("rule-*-drop.jsonl")]:  # of an earlier audit
            old.unlink()
    except OSError as error:
        raise InterplayError(f"cannot write {str(folder)!r}: {error.strerror}: choose another folder") from None
    lines: list[str] = []
    tested, texts = [], []
    for number, rule in learnt.items():
        with_it = [one for one in own if holds(rule, one.held)]
        hits, others = [one for one in with_it if one.answer == rule.label], _rate(rule, own, False)
        surplus = round((len(hits) - others * len(with_it)) / (1 - others)) if others < 1 else 0
        drawn = {
            *sorted((one.row.id for one in hits), key=lambda name: stable_hash(seed, "drop", name))[: max(0, surplus)]
        }
        review = [one.shown(**{"is": "for" if one.answer == rule.label else "against"}) for one in with_it]
        _write(folder / f"rule-{number}-review.jsonl", review)
        _write(folder / f"rule-{number}-drop.jsonl", [one.shown() for one in with_it if one.row.id in drawn])
        share = f"{len(hits)} of {len(with_it)} rows with it say so, {others:.0%} of the others"
        lines.append(f"{number}  {rule.name} → {rule.label}: {share} (rule-{number}-review.jsonl)")
        drop = f"drop {len(drawn)} rows (rule-{number}-drop.jsonl)"
        if number not in mend:
            lines.append(f"   left as it is; to mend it, {drop}")
            continue
        rates = [_rate(rule, [*own, *made], side) for side in (True, False)]
        count = sum(one.rule == number for one in made)
        lines.append(f"   with {count} counterfactual rows {rates[0]:.0%} and {rates[1]:.0%}; or {drop}")
        if not hits:
            lines.append("   no training row with it has the answer: rows neither teach it nor mend it")
        elif abs(rates[0] - rates[1]) > 0.05:
            lines.append("   not quite mended: too few texts are one string of a record, to be rewritten; drop rows")
        if rule.is_class and rule.alike:
            lines.append(f"   words like it do the same and are not mended with it: {', '.join(rule.alike)}")
        if not (cases := _cases(number, rule, held, seed)):
            lines.append("   no tests: no held-out text is free of its words")
            continue
        own_rate = rule.flips / rule.tried if rule.tried else None
        limit = max(min(LIMIT, (own_rate or 1) / 2), rule.control + 0.05)
        known = {"rule": rule.name, "words": rule.words, "not": rule.label, "threshold": round(min(1.0, limit), 2)}
        tested.append(TestedRule.model_validate({"number": number, **known, "flip_rate": own_rate}))
        texts += cases
    _write(folder / "counterfactuals.jsonl", [one.shown(rule=one.rule) for one in made])
    _write(folder / "mended.jsonl", [one.record for one in (*own, *made)])
    (folder / "tests.jsonl").unlink(missing_ok=True)
    if tested:
        asked: dict[str, Any] = {"labels": labels, "wording": template, "rules": tested, "texts": texts}
        Tests(model=model, base=base, free=free, **asked).write(folder / "tests.jsonl")
    if train.skipped:
        more = f" and {len(train.skipped) - 1} more" if train.skipped[1:] else ""
        lines.append(f"Left out of mended.jsonl, for they are no training rows: {train.skipped[0].reason}{more}.")
    if made:
        whole = f"all {len(own)} rows and {len(made)} counterfactual ones, none dropped"
        lines.append(f"Recommended: train on mended.jsonl ({whole}), then interplay test MODEL tests.jsonl.")
    return lines


def cues(rule: Rule) -> tuple[Phrases, ...]:
    """The phrases that each switch the rule on: of an OR either one, of an exception the first without the second."""
    if rule.form == "or":
        return tuple((phrase,) for phrase in rule.phrases)
    return (rule.cue,)


def holds(rule: Rule, words: Collection[str]) -> bool:
    """Whether a text with these words has the rule in it."""
    if rule.form == "or":
        return any(word in words for word in rule.words)
    if rule.form == "unless":
        return rule.words[0] in words and rule.words[1] not in words
    return all(word in words for word in rule.words)


def _counterfactuals(
    number: int, rule: Rule, rows: Sequence[_Own], columns: Mapping[str, str], words: set[str], seed: int
) -> list[_Own]:
    """Rows that make the answer of the rule as frequent in every cell of its words as in all of `rows`."""
    pools = [one for one in rows if one.answer != rule.label], [one for one in rows if one.answer == rule.label]
    if not all(pools):
        return []
    rate, mine = len(pools[1]) / len(rows), frozenset(rule.words)
    texts = {one.text for one in rows}
    small = (STOP_WORDS | {word for text in texts for word in _WORD.findall(text) if word.islower()}) - {"i"}
    lowered = {phrase.word for phrase in rule.phrases if _goes_on_small(phrase.text + phrase.joint, texts)}
    made: list[_Own] = []
    for cell in (frozenset(some) for size in range(len(mine) + 1) for some in combinations(rule.words, size)):
        inside = [one.answer == rule.label for one in rows if one.held & mine == cell]
        lacking = rate * len(inside) - sum(inside)  # rows of the answer
        wanted = round(lacking / (1 - rate) if lacking > 0 else -lacking / rate)
        pool = [one for one in pools[lacking > 0] if one.held & mine != cell]
        for one in sorted(pool, key=lambda one: stable_hash(seed, number, sorted(cell), one.text)):
            if wanted <= 0:
                break
            text = _turned(one, cell, rule.phrases, small if lowered & cell - one.held else frozenset())
            held = _held(text, words)
            if text in texts or held & mine != cell or not words_of(text).keys() - mine:
                continue
            if (record := with_text(one.record, one.row, text, columns)) is not None:
                made.append(_Own(one.row, record, text, one.answer, held, number))
                texts.add(text)
                wanted -= 1
    return made


def _turned(one: _Own, cell: frozenset[str], phrases: Phrases, small: Collection[str]) -> str:
    """The text with the words of the cell and no others of the rule's. Its first letter: a capital where it had one, but small,
    if that is one of the `small` words, where the rows have it so behind a word in front."""
    text = one.text
    for phrase in phrases:
        if phrase.word in one.held - cell:
            text = take_out(text, phrase)
    if text != one.text and one.text[:1].isupper():
        text = text[:1].upper() + text[1:]
    first = _WORD.match(text)
    if first and (lower := first[0][:1].lower() + first[0][1:]) in small:
        text = lower + text[len(lower) :]
    return put_in(text, [phrase for phrase in phrases if phrase.word in cell - one.held])


def _goes_on_small(start: str, texts: Iterable[str]) -> bool:
    """Whether most texts that begin so go on with a small letter."""
    rest = [text[len(start) :][:1].islower() for text in texts if text.startswith(start)]
    return 2 * sum(rest) > len(rest)


def _cases(number: int, rule: Rule, held: Sequence[str], seed: int) -> list[Case]:
    """Held-out texts without a word of the rule, and with it."""
    free = [text for text in dict.fromkeys(held) if text.strip() and not _held(text, rule.words)]
    free, ways = sorted(free, key=lambda text: stable_hash(seed, "test", text))[:TEXTS], cues(rule)
    made = [(text, put_in(text, ways[i % len(ways)])) for i, text in enumerate(free)]
    return [Case.model_validate({"rule": number, "without": text, "with": cued}) for text, cued in made]


def _rate(rule: Rule, rows: Iterable[_Own], with_it: bool) -> float:
    """Fraction of the rows with the rule, or without it, that have its answer; 0 of no rows."""
    answers = [one.answer == rule.label for one in rows if holds(rule, one.held) == with_it]
    return sum(answers) / max(1, len(answers))


def _held(text: str, words: Collection[str]) -> frozenset[str]:
    return frozenset(words_of(text).keys() & set(words))


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in records))
