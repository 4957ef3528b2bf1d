"""What the data hold: words, and pairs of words, that go with an answer more often than chance lets them.

Counting says what could be learnt, not what was: the model has to be asked (docs/design/audit.md). Arrays and words only.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from interplay.data.words import candidate_words, plain
from interplay.errors import SkipSample

FEWEST = 5  # rows that must hold a word, or both words of a pair [ours]
VOCABULARY = 20_000  # most words that are counted, the commonest [ours]


class Counted(NamedTuple):
    """A rule as the data have it: `rows` hold all `words`, `hits` of them have the answer `label`.

    expected: fraction of hits if the rows were like the others; of a pair, like those with one of its words. z: signed root of
    the likelihood ratio of hits against it, about standard normal. p: one-sided.
    """

    words: tuple[str, ...]
    label: str
    rows: int
    hits: int
    expected: float
    z: float

    @property
    def p(self) -> float:
        return normal_tail(self.z)

    @property
    def against(self) -> int:
        return self.rows - self.hits


@lru_cache(50_000)  # the same texts are read for every phrase
def words_of(text: str) -> Mapping[str, tuple[int, int]]:
    """The words of a text as words are compared, stop words too, each with the place of its first occurrence.

    >>> words_of("Honestly, it is it")
    {'honestly': (0, 8), 'it': (10, 12), 'is': (13, 15)}
    """
    found: dict[str, tuple[int, int]] = {}
    with suppress(SkipSample):
        for word in candidate_words(text, keep_stop_words=True):
            found.setdefault(plain(word.text), (word.start, word.end))
    return found


class Table(NamedTuple):
    """Which rows hold which words: `rows_of[i]` are the numbers of the rows with word i, ascending. `labels[r]`: answer of row r."""

    words: tuple[str, ...]
    rows_of: tuple[np.ndarray, ...]
    labels: tuple[str, ...]
    answer: np.ndarray  # [rows] index into labels, -1: none

    @property
    def rates(self) -> np.ndarray:
        """[labels] fraction of all rows."""
        return np.bincount(self.answer[self.answer >= 0], minlength=len(self.labels)) / max(1, len(self.answer))

    def rows_with(self, words: Sequence[str]) -> np.ndarray:
        """Numbers of the rows that hold all of these words."""
        place = {word: i for i, word in enumerate(self.words)}
        if any(word not in place for word in words):
            return np.empty(0, dtype=int)
        found = self.rows_of[place[words[0]]]
        for word in words[1:]:
            found = np.intersect1d(found, self.rows_of[place[word]], assume_unique=True)
        return found


def tabulate(texts: Sequence[str], answers: Sequence[str | None]) -> Table:
    """Which rows hold which words; of the words in at least five rows."""
    where: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        for word in words_of(text):
            where.setdefault(word, []).append(i)
    common = sorted((w for w, rows in where.items() if len(rows) >= FEWEST), key=lambda w: (-len(where[w]), w))
    labels = tuple(sorted({a for a in answers if a is not None}))
    index = {label: i for i, label in enumerate(labels)}
    answer = np.array([-1 if a is None else index[a] for a in answers], dtype=int)
    chosen = tuple(common[:VOCABULARY])
    return Table(chosen, tuple(np.array(where[w]) for w in chosen), labels, answer)


def count_words(table: Table) -> list[Counted]:
    """Every word with every answer, the most surprising first."""
    rates = table.rates
    size = np.array([len(rows) for rows in table.rows_of])
    hits = _hits(table)
    z = signed_root(hits, size[:, None], rates)
    order = np.argsort(-z, axis=None, kind="stable")
    return [
        Counted((table.words[w],), table.labels[y], int(size[w]), int(hits[w, y]), float(rates[y]), float(z[w, y]))
        for w, y in zip(*np.unravel_index(order, z.shape), strict=True)
    ]


def count_pairs(table: Table, most: int = 200) -> list[Counted]:
    """Pairs of words in at least five rows, by what they say beyond their single words, the most surprising first.

    A pair is compared with the largest of P(y | a without b), P(y | b without a), and what their log-odds add up to.
    """
    size = np.array([len(rows) for rows in table.rows_of])
    hits, rates = _hits(table), table.rates
    first, second = _pairs(table)
    if not len(first):
        return []
    both = np.zeros((len(first), 1 + len(table.labels)), dtype=int)
    member = np.zeros(len(table.answer), dtype=bool)
    starts = np.flatnonzero(np.r_[True, first[1:] != first[:-1]])
    for a, b in zip(starts, [*starts[1:], len(first)], strict=True):
        member[table.rows_of[first[a]]] = True
        for i in range(a, b):
            rows = table.rows_of[second[i]]
            answers = table.answer[rows[member[rows]]]
            both[i, 0] = len(answers)
            both[i, 1:] = np.bincount(answers[answers >= 0], minlength=len(table.labels))
        member[table.rows_of[first[a]]] = False
    n, k = both[:, :1], both[:, 1:]

    def odds(kept: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Log-odds of the answers where one word stands without the other, drawn to their rate by one row."""
        rate = (kept + rates) / (of + 1)
        return np.log(rate) - np.log1p(-np.minimum(rate, 1 - 1e-9))

    alone = odds(hits[first] - k, size[first, None] - n), odds(hits[second] - k, size[second, None] - n)
    prior = np.log(rates) - np.log1p(-np.minimum(rates, 1 - 1e-9))
    expected = 1 / (1 + np.exp(-np.maximum.reduce([*alone, alone[0] + alone[1] - prior])))
    z = signed_root(k, n, expected)
    order = np.argsort(-z, axis=None, kind="stable")[:most]
    found = []
    for i, y in zip(*np.unravel_index(order, z.shape), strict=True):
        words = table.words[first[i]], table.words[second[i]]
        found.append(Counted(words, table.labels[y], int(n[i, 0]), int(k[i, y]), float(expected[i, y]), float(z[i, y])))
    return found


def count_exceptions(table: Table, words: Sequence[Counted]) -> list[Counted]:
    """For each of these single words a: pairs (a, b) with fewer hits than a has without b, the most surprising first: "a, unless b"."""
    found = []
    for one in words:
        answer = table.labels.index(one.label)
        held = np.zeros(len(table.answer), dtype=bool)
        held[table.rows_with(one.words)] = True
        own = held & (table.answer == answer)
        for other, rows in zip(table.words, table.rows_of, strict=True):
            n, k = int(held[rows].sum()), int(own[rows].sum())
            if n < FEWEST or other in one.words or n == one.rows:
                continue
            expected = (one.hits - k + table.rates[answer]) / (one.rows - n + 1)
            z = float(signed_root(np.array(k), np.array(n), np.array(expected)))
            if z < 0:
                found.append(Counted((*one.words, other), one.label, n, k, expected, z))
    return sorted(found, key=lambda pair: pair.z)


def _hits(table: Table) -> np.ndarray:
    """[words, labels] rows that hold the word and have the answer."""
    counted = [np.bincount(table.answer[rows] + 1, minlength=1 + len(table.labels))[1:] for rows in table.rows_of]
    return np.array(counted).reshape(len(table.words), len(table.labels))


def _pairs(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the words that stand together in at least five rows; the first before the second, ascending."""
    held: list[list[int]] = [[] for _ in table.answer]
    for word, rows in enumerate(table.rows_of):
        for row in rows:
            held[row].append(word)
    width = len(table.words)
    keys, counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    block: list[np.ndarray] = []

    def merged() -> tuple[np.ndarray, np.ndarray]:
        found, times = np.unique(np.concatenate([keys, *block]), return_counts=True)
        if len(keys):
            times[np.searchsorted(found, keys)] += counts - 1
        return found, times

    for words in held:
        some = np.array(words[:200], dtype=np.int64)  # words of a row; a longer text has its commonest 200 [ours]
        i, j = np.triu_indices(len(some), 1)
        block.append(some[i] * width + some[j])
        if sum(map(len, block[-500:])) > 2_000_000:
            keys, counts = merged()
            block = []
    keys, counts = merged()
    keys = keys[counts >= FEWEST]
    return keys // width, keys % width


def signed_root(hits: np.ndarray, rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Signed root of the likelihood ratio of `hits` among `rows` against the fraction `expected`: about standard normal.

    >>> signed_root(np.array([9, 5, 0]), np.array([10, 10, 10]), np.array([0.5, 0.5, 0.5])).round(2).tolist()
    [2.71, 0.0, -3.72]
    """
    rate = hits / np.maximum(rows, 1)
    limit = 1e-12
    p, q = np.clip(rate, limit, 1 - limit), np.clip(expected, limit, 1 - limit)
    divergence = np.where(rate > 0, rate * np.log(p / q), 0) + np.where(
        rate < 1, (1 - rate) * np.log((1 - p) / (1 - q)), 0
    )
    return np.sign(rate - expected) * np.sqrt(2 * rows * np.maximum(divergence, 0))


def normal_tail(z: float) -> float:
    """P(Z > z) of a standard normal.

    >>> round(normal_tail(1.6449), 3)
    0.05
    """
    return math.erfc(z / math.sqrt(2)) / 2
