"""The logical form of a rule of two words, from what a model answers with neither, either and both. Arrays only.

The AND-OR split of the four cell means in closed form [paper eq 3, for two words]: I(a), I(b) are the single effects and
J = u(ab) - u(a) - u(b) + u() is what the pair adds: J > 0 is an AND, J < 0 with both alone > 0 an OR, J < 0 with only one of
them > 0 takes that one back.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from interplay.dynamics.stats import interval

Form = Literal["word", "and", "or", "unless", "sum", "none"]
LEAST = 1.0  # nats of log-odds: smaller effects turn few answers [ours]


class Cells(NamedTuple):
    """Mean effects on the log-odds of an answer over carriers: of a, of b, and of both, each against neither."""

    a: float
    b: float
    both: float

    @property
    def joint(self) -> float:
        return self.both - self.a - self.b


def form_of(cells: Cells) -> Form:
    """The form that the cell means are nearest to.

    >>> form_of(Cells(4.0, 0.2, 4.1)), form_of(Cells(0.9, 0.3, 7.0)), form_of(Cells(3.0, 3.2, 3.9))
    ('word', 'and', 'or')
    >>> form_of(Cells(4.0, -0.3, 0.2)), form_of(Cells(2.0, 2.1, 4.2)), form_of(Cells(0.1, 0.2, 0.3))
    ('unless', 'sum', 'none')

    Each form is a pattern of (a, b, both), scaled by least squares; the one that leaves least unexplained stands.
    """
    seen = np.array(cells)
    if np.abs(seen).max() < LEAST:
        return "none"
    patterns: dict[Form, tuple[float, float, float]] = {
        "and": (0, 0, 1), "or": (1, 1, 1), "unless": (1, 0, 0), "word": (1, 0, 1), "sum": (1, 1, 2),
    }  # fmt: skip

    def rest(pattern: tuple[float, float, float]) -> float:
        shape = np.array(pattern)
        size = max(0.0, float(seen @ shape) / float(shape @ shape))
        return float(((seen - size * shape) ** 2).sum())

    turned = {form: (pattern[1], pattern[0], pattern[2]) for form, pattern in patterns.items()}
    return min(patterns, key=lambda form: min(rest(patterns[form]), rest(turned[form])))


class Effect(NamedTuple):
    """A mean over carriers with its 95 % interval, and the one-sided p that it is not above 0."""

    value: float
    lo: float
    hi: float
    p: float


def effect_over(differences: np.ndarray) -> Effect:
    """Mean of differences [carriers], NaN left out, with `dynamics.stats.interval` and the p of Student's t.

    >>> [round(x, 3) for x in effect_over(np.array([1.0, 1.2, 0.8, 1.1, 0.9]))]
    [1.0, 0.804, 1.196, 0.0]
    """
    seen = differences[~np.isnan(differences)]
    if len(seen) < 2:
        return Effect(float(seen.mean()) if len(seen) else np.nan, np.nan, np.nan, 1.0)
    value, lo, hi, _ = (float(end[0]) for end in interval(seen[:, None]))
    error = float(seen.std(ddof=1)) / np.sqrt(len(seen))
    return Effect(
        value, lo, hi, t_tail(value / error if error > 0 else np.inf if value > 0 else -np.inf, len(seen) - 1)
    )


def against_controls(value: float, controls: np.ndarray, elsewhere: Sequence[np.ndarray] = ()) -> float:
    """One-sided p of a mean effect against those of control words [K] in its place: Student's t of a new draw from them.

    The spread is that of the controls about the mean of their place, these and those `elsewhere` together.

    >>> round(against_controls(3.0, np.array([0.1, -0.2, 0.3, 0.0, -0.1])), 5)
    9e-05
    >>> against_controls(3.0, np.array([1.0, 1.2, 0.9]), [np.array([-0.1, 0.2, 0.1, -0.2])]) < 1e-3
    True
    """
    groups = [seen for group in (controls, *elsewhere) if len(seen := group[~np.isnan(group)]) > 1]
    own = controls[~np.isnan(controls)]
    if len(own) < 3:
        return 1.0
    rest = np.concatenate([group - group.mean() for group in groups])
    degrees = len(rest) - len(groups)
    spread = float(np.sqrt((rest**2).sum() / degrees * (1 + 1 / len(own))))
    return t_tail((value - float(own.mean())) / max(spread, 1e-9), degrees)


def t_tail(t: float, degrees: int) -> float:
    """P(T > t) of Student's t: the normal tail of Wallace's transformation (1959), within some percent.

    >>> round(t_tail(2.201, 11), 3)
    0.025
    """
    from interplay.auditing.counts import normal_tail

    if not np.isfinite(t):
        return 0.0 if t > 0 else 1.0
    scale = (8 * degrees + 1) / (8 * degrees + 3)
    return normal_tail(float(np.sign(t)) * scale * float(np.sqrt(degrees * np.log1p(t * t / degrees))))


def adjusted(p: np.ndarray, tests: int) -> np.ndarray:
    """p values [m] of `tests` tests in all, adjusted after Benjamini and Yekutieli (2001): the tests may depend on each other.

    >>> adjusted(np.array([0.0001, 0.04]), 10).round(4).tolist()
    [0.0029, 0.5858]
    """
    order = np.argsort(p)
    factor = tests * (1 / np.arange(1, tests + 1)).sum()
    ranked = p[order] * factor / np.arange(1, len(p) + 1)
    found = np.empty_like(ranked)
    found[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1)
    return found
