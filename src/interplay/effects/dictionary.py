"""The AND and OR columns up to a chosen order on chosen coalitions, without writing them down.

Coalitions are uint64 bitmasks (bit i set: word i kept), n up to 64. A column is a set S of words: AND 1[S ⊆ T] for orders
1..d, OR 1[S ∩ T ≠ ∅] for orders 2..d. With X the 0/1 matrix of kept words and Z = 1 - X that of masked ones,

    <r, AND_S> = sum_T r(T) prod_{i in S} X(T, i)        <r, OR_S> = sum_T r(T) - sum_T r(T) prod_{i in S} Z(T, i)

so correlating a residual with all columns is two moment tensors of it: one matrix product each of the products over sets of
order < d (`heads`) with X or Z.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_COLUMNS = 1 << 17  # n = 64 at order 3 has 87,424; one correlation of 2^17 columns with 4,000 rows takes about 0.2 s
CACHE_BYTES = 1 << 27  # products cached between correlations, AND and OR together; above this they are made anew
PIECE = 256  # heads made at a time

Masks = NDArray[np.uint64]


def column_count(n: int, order: int) -> int:
    """AND columns of orders 1..order and OR columns of orders 2..order over n words."""
    return n + 2 * sum(math.comb(n, k) for k in range(2, order + 1))


def popcount(masks: Masks) -> NDArray[np.int64]:
    """Number of words in each mask."""
    return np.bitwise_count(masks).astype(np.int64)


def evaluate(coalitions: Masks, masks: Masks, is_or: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The columns of given sets on given coalitions, [m, k] of 0 and 1.

    >>> both = np.array([3, 3], dtype=np.uint64)                  # AND and OR of words 0 and 1
    >>> evaluate(np.array([0, 1, 3], dtype=np.uint64), both, np.array([False, True]))
    array([[0., 0.],
           [0., 1.],
           [1., 1.]])
    """
    common = coalitions[:, None] & masks[None, :]
    return np.where(is_or, common != 0, common == masks).astype(np.float64)


class _Level(NamedTuple):
    """All sets of one order: each is a set of the order before (`head`) and one later word (`tail`)."""

    masks: Masks
    head: NDArray[np.int64]
    tail: NDArray[np.int64]


class Dictionary:
    """The column sets of n words up to an order: AND of orders 1..order, then OR of orders 2..order."""

    def __init__(self, n: int, order: int) -> None:
        self.n, self.order = n, min(order, n)
        words = np.arange(n, dtype=np.int64)
        levels = [_Level(np.uint64(1) << words.astype(np.uint64), np.zeros(n, dtype=np.int64), words)]
        while len(levels) < self.order:
            last = levels[-1]
            later = n - 1 - last.tail
            head = np.repeat(np.arange(len(last.masks)), later)
            within = np.arange(len(head)) - np.repeat(np.cumsum(later) - later, later)
            tail = last.tail[head] + 1 + within
            levels.append(_Level(last.masks[head] | (np.uint64(1) << tail.astype(np.uint64)), head, tail))
        several = [level.masks for level in levels[1:]]
        empty = np.empty(0, dtype=np.uint64)
        self.masks: Masks = np.concatenate([levels[0].masks, *several, *several, empty])
        self.is_or = np.arange(len(self.masks)) >= len(self.masks) - sum(map(len, several))
        self.orders = popcount(self.masks)
        # heads: the sets of orders 1..order-1, one after the other; `pick` finds a column in the product [heads, n]
        self.heads: Masks = np.concatenate([empty, *(level.masks for level in levels[:-1])])
        offsets = np.cumsum([0, *(len(level.masks) for level in levels)])
        picks = [(offsets[k - 1] + level.head) * n + level.tail for k, level in enumerate(levels) if k]
        self.pick = np.concatenate([np.empty(0, dtype=np.int64), *picks])

    def __len__(self) -> int:
        return len(self.masks)


class Rows:
    """A dictionary on m chosen coalitions: correlations with every column, and single columns."""

    def __init__(self, dictionary: Dictionary, coalitions: Masks) -> None:
        self.dictionary, self.coalitions = dictionary, coalitions
        word = np.arange(dictionary.n, dtype=np.uint64)[:, None]
        kept = ((coalitions >> word) & np.uint64(1)).astype(np.float64)  # [n, m]
        # AND sees kept words; OR of S is one minus AND of S over the masked words
        self._sides = [(kept, coalitions), (1.0 - kept, ~coalitions)]
        self._cache: list[Any] = [None, None]
        if 2 * len(dictionary.heads) * len(coalitions) * 8 <= CACHE_BYTES:
            self._cache = [self._products(side, slice(None)) for side in (0, 1)]

    def __len__(self) -> int:
        return len(self.coalitions)

    def _products(self, side: int, part: slice) -> NDArray[np.float64]:
        heads = self.dictionary.heads[part, None]
        return ((self._sides[side][1][None, :] & heads) == heads).astype(np.float64)

    def _moments(self, side: int, r: NDArray[np.float64]) -> NDArray[np.float64]:
        # [columns of order >= 2]: sum_T r(T) times the product over the set
        weighted = (self._sides[side][0] * r).T  # [m, n]
        if self._cache[side] is not None:
            table = self._cache[side] @ weighted
        else:
            heads = len(self.dictionary.heads)
            pieces = [self._products(side, slice(a, a + PIECE)) @ weighted for a in range(0, heads, PIECE)]
            table = np.concatenate(pieces)
        return table.reshape(-1)[self.dictionary.pick]

    def correlate(self, r: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over coalitions of r times each column, [columns]; r is [m]."""
        single = self._sides[0][0] @ r
        if not len(self.dictionary.pick):
            return single
        return np.concatenate([single, self._moments(0, r), r.sum() - self._moments(1, r)])

    def columns(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Chosen columns, [m, len(index)]."""
        return evaluate(self.coalitions, self.dictionary.masks[index], self.dictionary.is_or[index])
