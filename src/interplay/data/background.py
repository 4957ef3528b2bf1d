"""Background: words that do not vary from row to row, and function words of any language. All rules and numbers are [ours]."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise, takewhile
from operator import eq

from interplay.data.rows import Word
from interplay.data.stopwords import ENGLISH, KEPT, STOP_WORDS
from interplay.data.words import SPACELESS, Language, candidate_words, language_of, plain
from interplay.errors import SkipSample
from interplay.text import short, stable_hash

MIN_TEXTS = 8  # among fewer texts, what they share may be chance
MOST_TEXTS, MOST_CHARACTERS = 1000, 500_000  # enough to tell a word in half of the texts, or in one of twenty; seconds
MIN_FOREIGN = 40  # texts that are not English, and a quarter of all
_ENGLISH = 0.1  # of the words of a text are stop words: of English 0.4, of German 0.03
_FREQUENT, _LETTERS = 0.05, 6  # a function word stands in so many texts (8 at least), and is no longer
_FREQUENT_UNSPACED = 0.2  # where nothing else tells function words from short nouns
_PAUSE = 0.75  # and is followed by punctuation or nothing that much as often as other words, or less


@dataclass(frozen=True)
class Background:
    """What `find_background` found; empty, it leaves all words but stop words."""

    begin: tuple[str, ...] = ()  # words with which over half of the texts begin
    end: tuple[str, ...] = ()
    shared: frozenset[str] = frozenset()  # words that stand between, in over half of the texts
    function: frozenset[str] = frozenset()  # of the texts that are not English

    def varying(self, text: str, language: Language = "auto", stop_words: frozenset[str] = frozenset()) -> list[Word]:
        """The words of a text that may be drawn; arguments and errors as of `candidate_words`."""
        words = candidate_words(text, language, True, stop_words)
        folded = [plain(word.text) for word in words]
        out = STOP_WORDS | self.shared | (self.function if _foreign(text, folded, language) else set())
        return [words[i] for i in self._between(folded) if folded[i] not in out]

    def _between(self, folded: list[str]) -> range:
        """The places of the words behind the common beginning and before the common end."""
        ends = (folded, self.begin), (folded[::-1], self.end[::-1])
        first, last = (sum(takewhile(bool, map(eq, row, shared))) for row, shared in ends)
        return range(first, len(folded) - last)

    def notes(self) -> list[str]:
        """What is left out and why, with the first few words: a line each."""
        shared = {*self.begin, *self.shared, *self.end} - STOP_WORDS
        whys = "in over half of the texts", "function words by frequency, in texts that are not English"
        return [
            f"background ({why}), never drawn: {', '.join(map(short, sorted(words)[:6]))}, {len(words)} in all"
            for why, words in zip(whys, (shared, self.function), strict=True)
            if words
        ]


NONE = Background()


def find_background(
    texts: Iterable[str], language: Language = "auto", stop_words: frozenset[str] = frozenset()
) -> Background:
    """The background of the different `texts`, the same in any order; of fewer than 8 none, of many up to 1000 are read.

    Words in over half of the texts, or in the beginning or end that over half share. Of texts neither English nor Chinese, whose
    stop words are listed: frequent short words that rarely stand before a pause, as nouns and adjectives do; never negation.

    >>> texts = [f"Is this review good or not? {word}" for word in "tasty salty cold hot raw fine dry sweet".split()]
    >>> [word.text for word in find_background(texts).varying("Is this review good or not? Not good")]
    ['Not', 'good']
    """
    read: dict[str, list[Word]] = {}
    for text in sorted(set(texts), key=stable_hash)[:MOST_TEXTS]:
        if len(read) >= MIN_FOREIGN and sum(map(len, read)) > MOST_CHARACTERS:
            break
        with suppress(SkipSample):
            read[text] = candidate_words(text, language, True, stop_words)
    if len(read) < MIN_TEXTS:
        return NONE
    rows = {text: [plain(word.text) for word in words] for text, words in read.items()}
    frame = Background(_beginning([*rows.values()]), _beginning([row[::-1] for row in rows.values()])[::-1])
    counts = Counter(word for row in rows.values() for word in {row[i] for i in frame._between(row)})
    shared = frozenset(word for word, count in counts.items() if 2 * count > len(rows)) - STOP_WORDS
    foreign = {text: read[text] for text, row in rows.items() if _foreign(text, row, language)}
    function = _function_words(foreign) if len(foreign) >= max(MIN_FOREIGN, len(rows) / 4) else frozenset()
    return Background(frame.begin, frame.end, shared, function - shared)


def _beginning(rows: list[list[str]]) -> tuple[str, ...]:
    """The words with which over half of the rows begin."""
    shared: list[str] = []
    left = rows
    while following := Counter(row[len(shared)] for row in left if len(row) > len(shared)):
        [(word, count)] = following.most_common(1)
        if 2 * count <= len(rows):
            break
        left = [row for row in left if row[len(shared) : len(shared) + 1] == [word]]
        shared.append(word)
    return tuple(shared)


def _foreign(text: str, folded: Sequence[str], language: Language) -> bool:
    """Whether a text is neither English, by the stop words in it, nor Chinese."""
    english = language == "en" or sum(word in ENGLISH for word in folded) >= _ENGLISH * len(folded)
    return not english and language_of(text, language) != "zh"


def _function_words(texts: dict[str, list[Word]]) -> frozenset[str]:
    within, times, paused = Counter[str](), Counter[str](), Counter[str]()
    for text, words in texts.items():
        names = [plain(word.text) for word in words]
        gaps = [*(text[a.end : b.start] for a, b in pairwise(words)), "."]
        within.update({*names})
        times.update(names)
        paused.update(name for name, gap in zip(names, gaps, strict=True) if re.search(r"[^\w\s]", gap))
    usual = paused.total() / times.total()

    def serves(word: str) -> bool:
        if SPACELESS.match(word):  # Japanese writes function words in hiragana, and ends sentences with them
            return within[word] >= _FREQUENT_UNSPACED * len(texts) and not re.search("[ァ-ヿ㐀-鿿]", word)
        return within[word] >= _FREQUENT * len(texts) and paused[word] <= _PAUSE * usual * times[word]

    frequent = {word for word, count in within.items() if count >= 8 and len(word) <= _LETTERS}
    return frozenset(filter(serves, frequent - KEPT - STOP_WORDS))
