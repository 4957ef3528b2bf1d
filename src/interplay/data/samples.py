"""Samples: a row with its n words, and the choice of rows from a data set, the same on every machine and in any order of rows."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, NamedTuple

from interplay.data.background import NONE, Background, find_background
from interplay.data.rows import Row, Sample, Word
from interplay.data.sources import Skipped
from interplay.data.template import PromptTemplate
from interplay.data.words import (
    MIN_CHOSEN,
    WORDS_PER_PROMPT,
    Language,
    Unsplit,
    candidate_words,
    check_n,
    draw_words,
    find_words,
)
from interplay.errors import InterplayError, SkipSample
from interplay.limits import EXACT_WORDS, SAMPLED_WORDS
from interplay.text import short, stable_hash

_DEFAULT_TEMPLATE = PromptTemplate()
_ENOUGH = 100  # different texts that tell by themselves what is background [ours]
_ATTEMPTS = 64  # draws tried for one that differs; with one word to spare and n = 16, all fail once in 17^64

WordKind = Literal["content", "all", "given"]


class Chosen(NamedTuple):
    """The samples, the rows that were tried and left out, notes on what is missing, and the words that were never drawn."""

    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    background: Background = NONE


def make_sample(
    row_or_text: Row | str,
    target: str | None = None,
    *,
    words: Sequence[str] | None = None,
    n: int = WORDS_PER_PROMPT,
    seed: int = 0,
    template: PromptTemplate = _DEFAULT_TEMPLATE,
    language: Language = "auto",
    keep_stop_words: bool = False,
) -> Sample:
    """A sample from a row, or from a text and the target whose score is explained.

    Args:
        target: replaces that of a row.
        words: the input variables, by name, at most 64; else `n` are drawn with `seed`.
        template: the wording of a text; a row keeps its conversation.

    Errors: InterplayError for an empty text or target and words that do not stand in the text; SkipSample for a text with too
    few words to choose from.

    >>> sample = make_sample("I was not happy with it", "sadness", words=["not", "happy"])
    >>> sample.n, [word.start for word in sample.words], sample.row.target
    (2, [6, 10], 'sadness')
    """
    if target is not None and not target.strip():
        raise InterplayError(f"the target {short(target)} tokenises to nothing; give a target with text in it")
    if isinstance(row_or_text, Row):
        row = row_or_text if target is None else replace(row_or_text, target=target)
    elif not isinstance(row_or_text, str) or not row_or_text.strip():
        raise InterplayError(f"expected a prompt with text in it; given {short(row_or_text)}")
    elif target is None:
        raise InterplayError("a text needs a target: the response whose score is explained")
    else:
        messages, start = template.messages_for(row_or_text)
        row = Row("text-" + stable_hash(row_or_text)[:12], messages, target, row_or_text, start)
    if words is not None:
        return Sample(row, find_words(row.text, words))
    check_n(n, SAMPLED_WORDS, least=MIN_CHOSEN)
    candidates = candidate_words(row.text, language, keep_stop_words)
    if len(candidates) < MIN_CHOSEN:
        found = f"found only one, {short(candidates[0].text)}" if candidates else "found none"
        expected = f"expected at least {MIN_CHOSEN} words that are not stop words"
        raise SkipSample(f"sample {short(row.id)}: {expected}, {found}")
    return Sample(row, draw_words(candidates, n, seed, row.id))


def choose_samples(
    rows: Iterable[Row],
    count: int,
    n: int = WORDS_PER_PROMPT,
    seed: int = 0,
    *,
    words: WordKind = "content",
    language: Language = "auto",
    stop_words: frozenset[str] = frozenset(),
    beside: Iterable[Row] = (),
    check: Callable[[Sample], object] = lambda sample: None,
) -> Chosen:
    """`count` samples of `n` words each, in a seeded order, labels taking turns when rows have labels.

    Args:
        words: which may be drawn. content: no stop words [lineage], no background; all: these too; given: those that the row names.
        stop_words: more words that are never drawn, unless the row names them.
        beside: other rows of the data set, which help to tell what is background where the texts of `rows` are under 100.
        check: may refuse a sample by raising SkipSample (one that this tokenizer cannot encode, say).

    Rows with fewer than n candidate words are taken only when too few have n, the fullest first, and a note says so. No two
    samples have the same text.

    Errors: InterplayError for a count under 1, n outside 2..16, or when no row can be used.

    >>> from interplay.data.rows import Message
    >>> texts = ["good food bad service", "awful wait", "not good food today", "good food bad service"]
    >>> rows = [Row(f"r{i}", (Message("user", t),), "x", t, 0, label="ab"[i % 2]) for i, t in enumerate(texts)]
    >>> chosen = choose_samples(rows, 3, n=4)
    >>> sorted(sample.n for sample in chosen.samples), [skip.reason for skip in chosen.skipped], chosen.notes[0]
    ([2, 4, 4], ["the same text as row 'r3'"], '1 of 3 samples has fewer than 4 words')
    """
    check_n(n, EXACT_WORDS, least=MIN_CHOSEN)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InterplayError(f"the number of samples must be 1 or more; given {short(count)}")

    rows = list(rows)
    known = {row.text for row in rows}
    known |= {row.text for row in beside} if len(known) < _ENOUGH else set()
    background = find_background(known, language, stop_words) if words == "content" else NONE
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: stable_hash(seed, row.id)):
        groups.setdefault(row.label or "", []).append(row)
    labels = sorted(groups, key=lambda label: stable_hash(seed, "label", label))
    texts: dict[str, str] = {}  # text -> id of the first row that has it
    skipped: list[Skipped] = []
    unsplit: Counter[str] = Counter()  # what is missing -> rows
    too_few: dict[str, list[tuple[list[Word], Row]]] = {label: [] for label in labels}

    def drawn(row: Row, candidates: Sequence[Word]) -> Sample:
        sample = Sample(row, draw_words(candidates, n, seed, row.id))
        check(sample)
        return sample

    def full(label: str) -> Iterator[Sample]:
        """Samples of n words; rows with fewer candidates are put aside."""
        for row in groups[label]:
            first = texts.setdefault(row.text, row.id)
            try:
                if first != row.id:
                    raise SkipSample(f"the same text as row {short(first)}")
                found = row_words(row, words, language, stop_words, background)
                if len(found) >= n:
                    yield drawn(row, found)
                else:
                    too_few[label].append((found, row))
            except SkipSample as reason:
                skipped.append(Skipped(row.id, str(reason)))
                unsplit.update([str(reason)] * isinstance(reason, Unsplit))

    def fewer(label: str) -> Iterator[Sample]:
        """Samples of fewer words, the fullest first."""
        too_few[label].sort(key=lambda pair: -len(pair[0]))  # stable: equals keep the seeded order
        while too_few[label]:
            found, row = too_few[label].pop(0)
            try:
                if len(found) < MIN_CHOSEN:
                    raise SkipSample(_too_few(len(found), n))
                yield drawn(row, found)
            except SkipSample as reason:
                skipped.append(Skipped(row.id, str(reason)))

    samples = list(islice(_take_turns([full(label) for label in labels]), count))
    with_n = len(samples)
    if with_n < count:
        samples += islice(_take_turns([fewer(label) for label in labels]), count - with_n)
    skipped += [Skipped(row.id, _too_few(len(found), n)) for label in labels for found, row in too_few[label]]
    notes = [f"{k} row{'' if k == 1 else 's'} left out: {reason}" for reason, k in unsplit.items()]
    notes += background.notes()
    if not samples:
        reason = "; ".join([skipped[0].reason if skipped else "there are no rows", *notes])
        raise InterplayError(f"no row can be used as a sample of {n} words: {reason}")
    if few := len(samples) - with_n:
        notes.append(f"{few} of {len(samples)} samples {'has' if few == 1 else 'have'} fewer than {n} words")
    if len(samples) < count:
        notes.append(f"{count} samples were asked for and {len(samples)} could be found")
    return Chosen(tuple(samples), tuple(skipped), tuple(notes), background)


def redraw(
    sample: Sample,
    draw: int,
    n: int,
    seed: int,
    *,
    words: WordKind = "content",
    language: Language = "auto",
    stop_words: frozenset[str] = frozenset(),
    background: Background = NONE,
    check: Callable[[Sample], object] = lambda sample: None,
) -> Sample:
    """The same row with other words, of draw 2, 3, ...; the other arguments as in `choose_samples`, the background as it found it.

    A draw that `check` refuses is drawn again. Returns `sample` itself where every draw is refused or the text has no others.
    """
    try:
        candidates = row_words(sample.row, words, language, stop_words, background)
    except SkipSample:
        return sample
    if len(candidates) <= n and set(candidates) <= set(sample.words):
        return sample
    for attempt in range(_ATTEMPTS):
        again = Sample(sample.row, draw_words(candidates, n, seed, sample.id, "draw", draw, attempt))
        if again.words != sample.words and again.n >= MIN_CHOSEN:
            with contextlib.suppress(SkipSample):
                check(again)
                return again
    return sample


def row_words(
    row: Row,
    words: WordKind = "content",
    language: Language = "auto",
    stop_words: frozenset[str] = frozenset(),
    background: Background = NONE,
) -> list[Word]:
    """The words of a row that may be drawn, in the order of its text; arguments as in `choose_samples`.

    Errors: SkipSample when given words are asked for and the row names none, or some that do not stand in its text.
    """
    if words == "all":
        return candidate_words(row.text, language, True, stop_words)
    if words == "content":
        return background.varying(row.text, language, stop_words)
    if not row.words:
        raise SkipSample(f"row {short(row.id)}: names no words, expected a list in its column 'words'")
    try:
        return list(find_words(row.text, row.words))
    except InterplayError as error:
        raise SkipSample(f"row {short(row.id)}: {error}") from None


def _take_turns(queues: list[Iterator[Sample]]) -> Iterator[Sample]:
    """One sample of each queue in turn, until all are empty."""
    while queues:
        for queue in tuple(queues):
            if (sample := next(queue, None)) is None:
                queues.remove(queue)
            else:
                yield sample


def _too_few(found: int, n: int) -> str:
    return f"{found} candidate word{'' if found == 1 else 's'} where {n} are asked for"
