"""What is asked of a model: words and pairs that the data point to, common words besides, and control words without a rule."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.counts import (
    FEWEST,
    Counted,
    Table,
    count_exceptions,
    count_pairs,
    count_words,
    tabulate,
    words_of,
)
from interplay.auditing.forms import LEAST
from interplay.auditing.phrases import Phrase, habit, take_out
from interplay.data.stopwords import STOP_WORDS
from interplay.text import stable_hash

SUSPECT = 3.0  # z from which on the data make a rule a candidate [ours]
STRONG = 4.5  # z from which on the data hold a rule beyond doubt: p = .01 after thousands of words were counted [ours]
UNSUSPECTED = 2.0  # |z| with every answer under which a word may be a control [ours]


@dataclass(frozen=True)
class Evidence:
    """The rows a rule could be learnt from; without training rows the held-out ones, whose counts then say nothing."""

    texts: tuple[str, ...]
    answers: tuple[str | None, ...]
    trained: bool = True

    @cached_property
    def table(self) -> Table:
        return tabulate(self.texts, self.answers)

    @cached_property
    def words(self) -> list[Counted]:
        return count_words(self.table)

    @cached_property
    def pairs(self) -> list[Counted]:
        return count_pairs(self.table)

    @property
    def teaches(self) -> bool:
        """Whether counts say anything of what could be learnt: training rows with an answer that not all have."""
        return self.trained and bool((self.table.rates < 1).any())

    def exceptions(self, words: Sequence[Counted]) -> list[Counted]:
        return count_exceptions(self.table, words)

    def phrase(self, word: str, also: Sequence[str] = ()) -> Phrase:
        return habit(word, [*(self.texts[row] for row in self.table.rows_with((word,))), *also])

    def in_place(self, pair: Counted, a: Phrase, b: Phrase) -> tuple[Phrase, Phrase]:
        """The phrases of a pair's words, in the order that the rows of its answer have, half of them or more."""
        rank = {"front": 0, "inside": 1, "behind": 2}
        first = rank[a.place] < rank[b.place]
        if a.place == b.place:
            rows = self.table.rows_with(pair.words)
            spans = [words_of(self.texts[r]) for r in [r for r in rows if self.answers[r] == pair.label] or rows]
            first = 2 * sum(found[a.word] < found[b.word] for found in spans) >= len(spans)
        a, b = (a, b) if first else (b, a)
        if a.place == b.place and a.at > b.at:
            a, b = replace(a, at=b.at), replace(b, at=a.at)
        return a, b

    def in_both_orders(self, first: str, second: str) -> bool:
        """Whether a tenth or more of the rows that hold both words, and no fewer than a rule takes, have the second one first."""
        spans = [words_of(self.texts[row]) for row in self.table.rows_with((first, second))]
        return sum(found[second] < found[first] for found in spans) >= max(FEWEST, len(spans) / 10)

    def count(self, words: Sequence[str], label: str, either: bool = False) -> Counted:
        """A rule as the rows have it, suspected or not. either: rows with one of the words or more, else with all."""
        rows = self.table.rows_with(words)
        if either:
            rows = np.unique(np.concatenate([self.table.rows_with((word,)) for word in words]))
        answer = self.table.labels.index(label) if label in self.table.labels else -2
        rate = float(self.table.rates[answer]) if answer >= 0 else 0.0
        hits = int((self.table.answer[rows] == answer).sum())
        return Counted(tuple(words), label, len(rows), hits, rate, 0.0)

    def suspects(self, most_words: int, most_pairs: int) -> tuple[list[Counted], list[Counted]]:
        """The words, each with the answer it goes with most, and the pairs that say more than their words."""
        if not self.teaches:
            return [], []
        best: dict[str, Counted] = {}
        for found in self.words:
            if found.z >= SUSPECT:
                best.setdefault(found.words[0], found)
        pairs: dict[frozenset[str], Counted] = {}
        for found in self.pairs:
            if found.z >= SUSPECT:
                pairs.setdefault(frozenset(found.words), found)
        return list(best.values())[:most_words], list(pairs.values())[:most_pairs]

    def common(self, most: int, without: set[str]) -> list[str]:
        """The commonest words that are no stop words."""
        return [word for word in self.table.words if word not in without and word not in STOP_WORDS][:most]

    def controls(self, like: Phrase, most: int, without: set[str], seed: int) -> list[Phrase]:
        """Words that go with no answer, put where `like` stands, of those about as common; drawn by a hash.

        Where they are few: those that go with one least, then words in fewer than `FEWEST` rows.
        """
        highest = dict.fromkeys(self.table.words, 0.0)
        for found in self.words:
            word = found.words[0]
            highest[word] = max(highest[word], abs(found.z))
        free = sorted(
            (w for w in self.table.words if w not in without and w not in STOP_WORDS), key=highest.__getitem__
        )
        quiet = [word for i, word in enumerate(free) if i < most or highest[word] < UNSUSPECTED]
        if len(quiet) < most:
            rare = {word for text in self.texts for word in words_of(text)} - {*self.table.words, *without, *STOP_WORDS}
            quiet += sorted(filter(str.isalpha, rare), key=lambda word: stable_hash(seed, word))[: most - len(quiet)]
        size = {word: len(rows) for word, rows in zip(self.table.words, self.table.rows_of, strict=True)}
        own = size.get(like.word, 0)
        near = sorted(quiet, key=lambda word: (abs(np.log((size.get(word, 0) + 1) / (own + 1))), word))[: 3 * most]
        drawn = sorted(near, key=lambda word: stable_hash(seed, like.place, word))[:most]
        return [replace(like.written(word), word=word) for word in drawn]


def free_of(texts: Sequence[str], words: set[str], count: int, seed: int) -> list[str]:
    """`count` texts that hold the fewest of these words (none, where there are enough), drawn by a hash."""
    held = {text: len(words & words_of(text).keys()) for text in dict.fromkeys(texts) if text.strip()}
    return sorted(held, key=lambda text: (held[text], stable_hash(seed, text)))[:count]


def telling(texts: Sequence[str], count: int, without: Collection[str] = ()) -> list[str]:
    """`count` texts that hold as many of the words of several texts as they can, one after the other.

    >>> telling(["red sky tonight", "red sky", "green sea", "green sea today"], 2)
    ['red sky tonight', 'green sea']
    """
    held = {text: words_of(text).keys() - STOP_WORDS - {*without} for text in dict.fromkeys(texts)}
    times = Counter(word for words in held.values() for word in words)
    unseen, chosen = {word for word, n in times.items() if n > 1}, []
    for _ in range(min(count, len(held))):
        best = max(held, key=lambda text: sum(times[word] for word in held[text] & unseen))
        chosen.append(best)
        unseen -= held.pop(best)
    return chosen


def needed(asked: Asked, texts: Sequence[str]) -> list[tuple[str, str, int, float]]:
    """(text, word, label, nats): what the answer to a text loses where a word of it is left out, the largest first."""
    found = []
    for text in texts:
        words = [word for word in words_of(text) if word not in STOP_WORDS]
        without = [take_out(text, habit(word, [text])) for word in words]
        scores = asked([text, *without])
        label = int(scores[0].argmax())
        found += [(text, w, label, float(scores[0, label] - s[label])) for w, s in zip(words, scores[1:], strict=True)]
    return sorted((lost for lost in found if lost[3] >= LEAST), key=lambda lost: -lost[3])
