"""Transforms over coalitions: Möbius, Walsh-Hadamard, and the way back to scores, each O(n 2^n).

The last axis has length 2^n and its index is a coalition, bit i set = word i kept; any leading axes are a batch. Inputs are
copied, since the butterflies work in place, and not checked.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def butterfly(x: Any, step: Callable[[Any, Any], None]) -> Any:
    """Apply `step(without, with_)`, in place on the two halves of every bit, to the contiguous array or tensor `x`."""
    for bit in range(x.shape[-1].bit_length() - 1):
        pairs = x.reshape((*x.shape[:-1], x.shape[-1] >> bit + 1, 2, 1 << bit))  # a view: x is contiguous
        step(pairs[..., 0, :], pairs[..., 1, :])
    return x


def subtract_subsets(without: Any, with_: Any) -> None:
    with_ -= without


def add_subsets(without: Any, with_: Any) -> None:
    with_ += without


def subtract_supersets(without: Any, with_: Any) -> None:
    without -= with_


def add_supersets(without: Any, with_: Any) -> None:
    without += with_


def _sum_difference(without: Any, with_: Any) -> None:
    # (x, y) -> (x + y, x - y) without a second buffer; exact on integers
    without += with_
    with_ *= -2
    with_ += without


def moebius(v: ArrayLike) -> Array:
    """AND effects of a game (..., 2**n), all orders: I(S) = sum over T ⊆ S of (-1)^(|S|-|T|) v(T)  [paper eq 2].

    >>> moebius([1, 3, 4, 10])        # 3-1 = 2, 4-1 = 3, 10-3-4+1 = 4
    array([1, 2, 3, 4])
    """
    return butterfly(np.array(v, order="C"), subtract_subsets)


@functools.lru_cache(maxsize=32)
def orders(n: int) -> NDArray[np.int64]:
    """Order |S| of each of the 2**n coalitions: the popcount of its index. Read-only.

    >>> orders(3)
    array([0, 1, 1, 2, 1, 2, 2, 3])
    """
    count = np.bitwise_count(np.arange(1 << n)).astype(np.int64)
    count.flags.writeable = False
    return count


def reconstruct(and_effects: ArrayLike, or_effects: ArrayLike, v_empty: ArrayLike = 0.0) -> Array:
    """Scores from effects (..., 2**n) and v_empty (...); order 0 of both effects is ignored  [paper eq 2-3]:

        v(T) = v(∅) + sum over ∅≠S⊆T of I_and(S) + sum over S∩T≠∅ of I_or(S)

    >>> reconstruct([0, 2, 3, 4], [0, 0, 0, 5], 1)     # 1; 1+2+5; 1+3+5; 1+2+3+4+5
    array([ 1,  8,  9, 15])
    """
    a, b = np.array(and_effects, order="C"), np.array(or_effects, order="C")
    a[..., 0] = 0
    b[..., 0] = 0
    any_of = b.sum(-1)[..., None] - butterfly(b, add_subsets)[..., ::-1]  # every S, less those inside N∖T
    return np.asarray(v_empty)[..., None] + butterfly(a, add_subsets) + any_of


def walsh_energy(v: ArrayLike) -> Array:
    """Energy of v by Walsh degree, (..., n+1): entry d = sum over |S| = d of w(S)^2, where v(T) = sum over S of (-1)^|S∩T| w(S).
    Entries from 1 on add up to the variance of v.

    >>> walsh_energy([0.0, 0.0, 0.0, 4.0])             # one, two and one coefficients of size 1
    array([1., 2., 1.])
    """
    x = np.array(v, dtype=np.float64, order="C")
    w = butterfly(x, _sum_difference) / x.shape[-1]
    order = orders(w.shape[-1].bit_length() - 1)
    return np.stack([(w[..., order == d] ** 2).sum(-1) for d in range(int(order[-1]) + 1)], axis=-1)
