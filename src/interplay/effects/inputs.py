"""Checks of what users give to `extract` and `extract_sampled`: arrays, numbers, bitmasks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from interplay.errors import InterplayError
from interplay.limits import EXACT_WORDS


def _numpy(value: Any) -> Any:
    # a torch tensor, on any device and of any precision; torch need not be imported here
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return (value.double() if value.is_floating_point() else value).numpy()


def as_float64(scores: Any) -> NDArray[np.float64]:
    """A new float64 array from an array, list or tensor of finite numbers."""
    given = type(scores).__name__
    try:
        x = np.asarray(_numpy(scores))
        if x.dtype.kind not in "fiub" and x.size:
            raise TypeError
    except (ValueError, TypeError, RuntimeError):
        raise InterplayError(f"scores are a {given}; expected an array (..., 2**n) of real numbers") from None
    x = np.array(x, dtype=np.float64, order="C")
    if not np.isfinite(x).all():
        raise InterplayError(
            f"scores hold {int((~np.isfinite(x)).sum())} NaN or infinite of {x.size}; expected finite log-odds: "
            "compute them as logit_y - logsumexp(other logits)"
        )
    return x


def score_table(scores: Any) -> tuple[NDArray[np.float64], int]:
    """Scores of all coalitions as a new float64 array (..., 2**n), and n."""
    v = as_float64(scores)
    if v.ndim == 0:
        raise InterplayError("scores are a single number; expected an array (..., 2**n), one score per coalition")
    n = v.shape[-1].bit_length() - 1
    if v.shape[-1] != 1 << max(n, 0) or not 1 <= n <= EXACT_WORDS:
        raise InterplayError(
            f"scores have {v.shape[-1]} entries on the last axis; expected 2**n for n = 1..{EXACT_WORDS} words"
        )
    return v, n


def per_sample(value: Any, shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    """One finite number, 0 or more, for each sample, from one number or an array that broadcasts to `shape`."""
    try:
        x = np.broadcast_to(np.asarray(_numpy(value), dtype=np.float64), shape).copy()
    except (ValueError, TypeError):
        arrays = f", or numbers that broadcast to the leading axes {list(shape)}" if shape else ""
        raise InterplayError(f"{name} is {short(value)}; expected one number{arrays}") from None
    wrong = x[~(np.isfinite(x) & (x >= 0))]
    if wrong.size:
        raise InterplayError(f"{name} is {wrong.flat[0]:g}; expected a finite number, 0 or more")
    return x


def fraction(value: Any, name: str, meaning: str, *, zero: bool = True) -> float:
    """A number in [0, 1), or (0, 1) where `zero` is False."""
    if not (isinstance(value, (int, float, np.number)) and 0 <= value < 1 and (zero or value > 0)):
        raise InterplayError(
            f"{name} is {short(value)}; expected {meaning}, {'0 or more' if zero else 'over 0'} and under 1"
        )
    return float(value)


def whole(value: Any, name: str, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`, both included."""
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integer or value < low or (high is not None and value > high):
        bound = f"{low} or more" if high is None else f"{low}..{high}"
        raise InterplayError(f"{name} is {short(value)}; expected a whole number, {bound}")
    return int(value)


def as_masks(coalitions: Any, n: int) -> NDArray[np.uint64]:
    """Bitmasks as a new uint64 array [m], each under 2^n."""
    expected = f"expected whole numbers from 0 to 2**{n} - 1, one bitmask per coalition"
    given = _numpy(coalitions)
    if not hasattr(given, "__iter__"):
        raise InterplayError(f"coalitions are a {type(coalitions).__name__}; {expected}")
    # Python's integers: numpy would make floats of a list with numbers on both sides of 2^63
    listed = given.tolist() if isinstance(given, np.ndarray) else list(given)
    for x in listed:
        if not isinstance(x, (int, np.integer)) or isinstance(x, bool) or not 0 <= x < 1 << n:
            raise InterplayError(f"coalitions hold {short(x)}; {expected}")
    return np.array([int(x) for x in listed], dtype=np.uint64)


def short(value: Any) -> str:
    """`repr` on one line, cut after 60 characters; of an array its shape."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."
