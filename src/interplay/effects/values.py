"""What single words and pairs of words do to a score, from the scores of all coalitions: no further forward passes.

Scores are arrays (..., 2**n), lists, tensors or `Scores`, index = coalition (bit i set: word i kept); values are in their units.
All raise InterplayError for scores of another shape.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from interplay.effects.dictionary import Masks, popcount
from interplay.effects.inputs import score_table
from interplay.effects.moebius import moebius, orders

Array = NDArray[np.float64]


def shapley(scores: Any) -> Array:
    """Shapley value of each word, (..., n): its mean gain over all orders in which the words may come. Sum: v(N) - v(empty).

    >>> shapley([0, 1, 0, 4])              # word 0 alone gives 1, both together 3 more, which they share
    array([2.5, 1.5])
    """
    v, n = score_table(scores)
    return (moebius(v) / np.maximum(orders(n), 1)) @ _members(np.arange(1 << n), n)


def pairwise(scores: Any) -> Array:
    """Shapley interaction index of each pair of words, (..., n, n), symmetric, 0 on the diagonal: what the two do together beyond
    what each does, averaged over the company of other words.

    >>> pairwise([0, 1, 0, 4])
    array([[0., 3.],
           [3., 0.]])
    """
    v, n = score_table(scores)
    inside, shared = _members(np.arange(1 << n), n), moebius(v) / np.maximum(orders(n) - 1, 1)
    return ((inside.T * shared[..., None, :]) @ inside) * (1 - np.eye(n))


def leave_one_out(scores: Any) -> Array:
    """v(N) - v(N without the word), (..., n).

    >>> leave_one_out([0, 1, 0, 4])
    array([4., 3.])
    """
    v, n = score_table(scores)
    return v[..., -1:] - v[..., v.shape[-1] - 1 - (1 << np.arange(n))]


def keep_one(scores: Any) -> Array:
    """v(the word alone) - v(empty), (..., n).

    >>> keep_one([0, 1, 0, 4])
    array([1., 0.])
    """
    v, n = score_table(scores)
    return v[..., 1 << np.arange(n)] - v[..., :1]


def fitted_values(masks: Masks, is_or: NDArray[np.bool_], effects: Array, n: int) -> tuple[Array, Array, Array]:
    """Shapley value, leave-one-out and keep-one of each word, (n) each, of the score that k AND-OR effects add up to.

    >>> both = np.array([3, 3], dtype=np.uint64)                # AND 2 and OR 4 of the words 0 and 1
    >>> fitted_values(both, np.array([False, True]), np.array([2.0, 4.0]), 2)
    (array([3., 3.]), array([2., 2.]), array([4., 4.]))
    """
    inside, order = _members(masks, n), popcount(masks)
    return (
        (effects / order) @ inside,
        (effects * (~is_or | (order == 1))) @ inside,
        (effects * (is_or | (order == 1))) @ inside,
    )


def _members(masks: NDArray[Any], n: int) -> Array:
    """Which words are in each coalition: (k, n) of 0 and 1."""
    return (masks[:, None] >> np.arange(n, dtype=masks.dtype) & masks.dtype.type(1)).astype(np.float64)
