"""The layout of a packed prefix trie: which tokens, at which positions, under which branch. Knows arrays only.

Two coalitions that agree on the first i words share every token before word i + 1. Cut the prompt at the words: level 0 is
what stands before the first word, level i is word i with the background behind it. A level has one branch for every
different choice among the first i words, so the trie of all coalitions holds sum_i 2^i s_i tokens where plain batches hold
2^n L. What a question forces behind the prompt stands at the end of every leaf, itself a little trie: a forced token sees
its leaf and the forced tokens before it, not its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Level:
    """One level of a trie: `path[b, :]` are the packed indices of branch b's tokens from level 0 to this level's end."""

    first: int  # packed index of this level's first token
    rows: int  # branches
    size: int  # tokens per branch
    path: np.ndarray  # [rows, tokens from level 0 on] int64


@dataclass(frozen=True)
class Plan:
    """A packed trie: token ids and positions [T], its levels, and where its answers are.

    `leaves[r, p]` is the packed index that predicts what follows prefix p of the question in leaf r; `leaf[c]` is the leaf
    of coalition c, in the order the coalitions were given in.
    """

    ids: np.ndarray
    positions: np.ndarray
    levels: tuple[Level, ...]
    leaves: np.ndarray  # [leaves, prefixes]
    leaf: np.ndarray  # [coalitions]
    prefix: int  # tokens that stand before level 0, in the cache
    lineage: np.ndarray  # [forced, forced] True where forced token i sees forced token j

    def visible(self, index: int, window: int | None, cached: int) -> np.ndarray:
        """[size, cached + path length] True where a token of level `index` may look: back, and within the window.

        `cached` tokens of the prefix stand before the path; a sliding layer keeps only the end of it.
        """
        level = self.levels[index]
        place = self.positions[level.path[0]]
        keys = np.concatenate([np.arange(self.prefix - cached, self.prefix), place])
        queries = place[-level.size :, None]
        seen = keys <= queries
        if (forced := len(self.lineage)) and index == len(self.levels) - 1:
            seen[-forced:, -forced:] = self.lineage
        if window is not None:
            seen &= queries - keys < window
        return seen


def kept_words(coalitions: np.ndarray, n: int) -> np.ndarray:
    """[coalitions, n] True where the word is kept.

    >>> kept_words(np.array([0, 5]), 3).astype(int)
    array([[0, 0, 0],
           [1, 0, 1]])
    """
    bits = np.arange(n, dtype=np.uint64)
    return (coalitions.astype(np.uint64)[:, None] >> bits & np.uint64(1)).astype(bool)


def branch_order(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coalitions in the order of the trie's leaves, and where branches begin.

    kept: [c, n]. Returns `order` [c], the first word most significant (masked before kept), and `fresh` [c, n + 1]: whether
    sorted coalition i chooses otherwise than its predecessor among the first d words; the first one always does.
    """
    count, n = kept.shape
    order = np.lexsort(kept.T[::-1]) if n else np.arange(count)
    fresh = np.zeros((count, n + 1), dtype=bool)
    sorted_ = kept[order]
    fresh[1:, 1:] = np.logical_or.accumulate(sorted_[1:] != sorted_[:-1], axis=1)
    fresh[0] = True
    return order, fresh


def plan_tokens(fresh: np.ndarray, sizes: Sequence[int]) -> int:
    """Tokens of the trie of consecutive leaves: `fresh` [c, n + 1] of `branch_order`, `sizes` of the n + 1 levels.

    >>> _, fresh = branch_order(kept_words(np.arange(4), 2))
    >>> plan_tokens(fresh, [1, 1, 1])       # 1 + 2 + 4, where plain batches have 4 x 3
    7
    """
    branches = fresh.sum(0)
    branches += ~fresh[0]  # cut out of a longer list, the first leaf begins every branch
    return int(branches @ np.asarray(sizes))


def make_plan(
    input_ids: Sequence[int],
    spans: Sequence[Sequence[int]],
    fills: Sequence[Sequence[int]],
    coalitions: np.ndarray,
    prefixes: Sequence[Sequence[int]] = ((),),
    *,
    prefix: int = 0,
) -> Plan:
    """Lay out the trie of one prompt under coalitions [c], bitmasks in any order, bit i = word i kept.

    `spans`: token positions of each word, words in the order of the prompt; `fills`: the ids that stand there without it.
    `prefixes`: what is forced behind the prompt (`Question.prefixes`), the empty one first. `prefix`: how many leading tokens
    are left out because they stand in a cache.

    >>> plan = make_plan([1, 2, 3], [(1,), (2,)], [(0,), (9,)], np.arange(4))
    >>> plan.ids.tolist()                    # level 0 | word 1 masked, kept | word 2 masked, kept, under either
    [1, 0, 2, 9, 3, 9, 3]
    >>> plan.positions.tolist(), plan.leaf.tolist()     # bit 0 = word 1, bit 1 = word 2
    ([0, 1, 1, 2, 2, 2, 2], [0, 2, 1, 3])
    """
    tokens = np.asarray(input_ids, dtype=np.int64)
    n, length, forced = len(spans), len(tokens), len(prefixes) - 1
    kept = kept_words(coalitions, n)
    order, fresh = branch_order(kept)
    tail = np.array([p[-1] for p in prefixes[1:]], dtype=np.int64)
    depths = np.array([len(p) for p in prefixes[1:]], dtype=np.int64)
    levels: list[Level] = []
    packed_ids, packed_positions = [], []
    total = 0
    path = np.empty((1, 0), dtype=np.int64)
    for depth, (a, b) in enumerate(level_bounds(spans, length, prefix)):
        begins = np.flatnonzero(fresh[:, depth])
        block = np.tile(tokens[a:b], (len(begins), 1))
        if depth:
            dropped = np.flatnonzero(~kept[order[begins], depth - 1])
            block[np.ix_(dropped, np.asarray(spans[depth - 1]) - a)] = fills[depth - 1]
            # Children of a branch are its masked word, then its kept one, so descendants stay next to each other.
            path = path[np.cumsum(fresh[begins, depth - 1]) - 1]
        place = np.arange(a, b)
        if depth == n:
            block = np.concatenate([block, np.tile(tail, (len(begins), 1))], axis=1)
            place = np.concatenate([place, length - 1 + depths])
        rows, size = block.shape
        own = total + np.arange(rows * size, dtype=np.int64).reshape(rows, size)
        path = np.concatenate([path, own], axis=1)
        if size:
            levels.append(Level(total, rows, size, path))
        packed_ids.append(block.ravel())
        packed_positions.append(np.tile(place, rows))
        total += rows * size
    leaf = np.empty(len(order), dtype=np.int64)
    leaf[order] = np.cumsum(fresh[:, n]) - 1
    seen = [[tuple(p[: len(q)]) == tuple(q) for q in prefixes[1:]] for p in prefixes[1:]]
    lineage = np.array(seen, dtype=bool).reshape(forced, forced)
    ids, positions, leaves = np.concatenate(packed_ids), np.concatenate(packed_positions), path[:, -forced - 1 :]
    return Plan(ids, positions, tuple(levels), leaves, leaf, prefix, lineage)


def level_bounds(spans: Sequence[Sequence[int]], length: int, prefix: int) -> list[tuple[int, int]]:
    """Token ranges of the n + 1 levels."""
    return list(pairwise([prefix, *(span[0] for span in spans), length]))


def cut(fresh: np.ndarray, sizes: Sequence[int], tokens: int, leaves: int) -> list[slice]:
    """Runs of consecutive leaves whose tries hold at most so many tokens and leaves, by halving; one leaf always goes.

    >>> _, fresh = branch_order(kept_words(np.arange(4), 2))
    >>> cut(fresh, [1, 1, 1], tokens=6, leaves=4)
    [slice(0, 2, None), slice(2, 4, None)]
    """

    def halve(a: int, b: int) -> list[slice]:
        if b - a == 1 or (b - a <= leaves and plan_tokens(fresh[a:b], sizes) <= tokens):
            return [slice(a, b)]
        middle = (a + b) // 2
        return [*halve(a, middle), *halve(middle, b)]

    return halve(0, len(fresh))
