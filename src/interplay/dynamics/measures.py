"""What is measured on a set of interactions, or on all effects of one checkpoint.

`MEASURES` is the registry: tables, page, figures and card take their words from it. A new measure is one row and its function.

>>> MEASURES["rho"].null, MEASURES["strength"].label
('random signs', 'strength (log-odds)')

Shapes: effects `w` are `[..., 2, 2^n]` (row 0 AND, row 1 OR), masks broadcast against them, results have the leading axes.
AND and OR count together in every measure [paper]. Effects are in log-odds. A ratio over an empty set is NaN, a sum is 0.
"""

from math import comb, inf, pi, sqrt
from typing import Literal, NamedTuple

import numpy as np

from interplay.dynamics.sets import SETS, VALUED, Partition, partition, thresholds
from interplay.effects.moebius import orders, walsh_energy

_BOTH = (-2, -1)


class Measure(NamedTuple):
    key: str  # name in the tables (column `measure`)
    title: str  # name in pictures and tables that people read
    unit: str  # "" for a plain ratio
    formula: str  # I is an effect, sums run over the set
    null: str = ""  # name of what it is compared with, "" for none
    better: Literal["high", "low"] | None = None  # None where it only describes
    sets: tuple[str, ...] = ("all",)  # the sets it is defined on, names of `SETS`
    bounds: tuple[float, float] = (0.0, inf)  # what it can be at least and at most
    by_order: bool = False  # also one row for each number of words (column `order`; 0 is all orders)

    @property
    def label(self) -> str:
        """Title with its unit, for an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


_FLOOR, _SIGNS, _RANDOM = "churn floor", "random signs", "random set"
_STRICTER = "words or prompts shuffled"  # the larger of two nulls
_PARTS, _RATIO, _ANY = SETS[1:], (0.0, 1.0), (-inf, inf)
# In the order of the tables.
MEASURES: dict[str, Measure] = {
    row.key: row
    for row in (
        Measure("count", "number", "interactions per prompt", "size of the set", _FLOOR, sets=SETS),
        Measure("strength", "strength", "log-odds", "sum |I|", _FLOOR, sets=SETS),
        Measure("count_fraction", "fraction of number", "", "size / size of all (removed: of the reference's)", _FLOOR, sets=_PARTS, bounds=_RATIO),
        Measure("strength_fraction", "fraction of strength", "", "sum |I| / that of all (removed: of the reference's)", _FLOOR, sets=_PARTS, bounds=_RATIO),
        Measure("positive", "positive effects", "log-odds", "sum of I > 0", _FLOOR, sets=VALUED, by_order=True),
        Measure("negative", "negative effects", "log-odds", "sum of I < 0", _FLOOR, sets=VALUED, bounds=(-inf, 0.0), by_order=True),
        Measure("mean_order", "mean order", "words", "sum |I| order / sum |I|", _FLOOR, sets=VALUED),
        Measure("rho", "rho", "", "|sum I| / sum |I|", _SIGNS, sets=VALUED, bounds=_RATIO),
        Measure("net", "net effect", "log-odds", "sum I", _RANDOM, sets=VALUED, bounds=_ANY),
        Measure("gamma", "gamma", "", "sum |I| of those the baseline LLM has with the same sign / sum |I|", _STRICTER, "high", VALUED, _RATIO),
        Measure("gamma_words", "gamma, words shuffled", "", "gamma with the baseline LLM's words permuted", sets=VALUED, bounds=_RATIO),
        Measure("gamma_prompts", "gamma, prompts shuffled", "", "gamma with the baseline LLM on other prompts of as many words", sets=VALUED, bounds=_RATIO),
        Measure("contribution", "mean contribution", "log-odds", "sum I / size of the set", _RANDOM, sets=VALUED, bounds=_ANY),
        Measure("sufficiency", "loss from this set alone", "nats", "-log sigmoid(sum I)", _RANDOM, "low", VALUED),
        Measure("sign_agreement", "fraction with the reference's sign", "", "same sign as at the reference / size", _FLOOR, sets=("kept",), bounds=_RATIO),
        Measure("change", "change", "log-odds", "sum |I - I at the reference| over all effects, salient or not", _FLOOR),
        Measure("l1", "total strength", "log-odds", "sum |I| over all effects, salient or not"),
        Measure("sd", "spread of score", "log-odds", "standard deviation of v over all coalitions"),
        Measure("total_effect", "score gained", "log-odds", "|v(N) - v(empty)|"),
        Measure("l1_per_sd", "strength / spread of score", "", "l1 / sd"),
        Measure("l1_per_total_effect", "strength / score gained", "", "l1 / total_effect"),
        Measure("cancelled_per_sd", "cancelled / spread of score", "", "(sum |I| - |sum I|) / sd"),
        Measure("loss", "loss on the prompt", "nats", "-log sigmoid(v(N))", better="low"),
        Measure("walsh_high", "high-degree energy", "fraction", "fraction of the variance of v in Walsh degrees above n/2", bounds=_RATIO),
        Measure("noise", "false strength from noise", "log-odds", "C(n, k) 2^(k/2) sigma sqrt(2/pi)", better="low", by_order=True),
    )
}  # fmt: skip
CHURN_MEASURES = ("count", "strength", "count_fraction", "strength_fraction")  # what churn floors are given in


def quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, NaN where b is 0."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.nan), where=b != 0)


def count(mask: np.ndarray) -> np.ndarray:
    """Number of interactions in the set."""
    return mask.sum(axis=_BOTH).astype(np.float64)


def strength(w: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Sum of |I| over the set, log-odds."""
    return np.where(mask, np.abs(w), 0.0).sum(axis=_BOTH)


def net(w: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Sum of I over the set, log-odds: over all effects it is v(N) - v(empty) [paper eq 3]."""
    return np.where(mask, w, 0.0).sum(axis=_BOTH)


def rho(w: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Uncancelled ratio |sum I| / sum |I|, 0..1; low means the effects cancel [paper eq 10]."""
    return quotient(np.abs(net(w, mask)), strength(w, mask))


def change(w: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sum of |I - I at the reference| over all effects, log-odds: how much of the split is another one [ours]."""
    return np.abs(w - reference)[..., 1:].sum(axis=_BOTH)


def loss_of(total: np.ndarray) -> np.ndarray:
    """-log sigmoid(total), nats, without overflow at either end."""
    return np.logaddexp(0.0, -np.asarray(total, dtype=np.float64))


def gamma(w: np.ndarray, mask: np.ndarray, baseline_sign: np.ndarray) -> np.ndarray:
    """Generalizability sum |I| G / sum |I|, G(S) = 1 where the baseline LLM has it with the same sign [paper eq 7, 9].
    baseline_sign `[2, 2^n]`: sign of each effect that is salient in the baseline LLM, 0 elsewhere.
    """
    same = mask & (np.sign(w) == baseline_sign) & (baseline_sign != 0)
    return quotient(strength(w, same), strength(w, mask))


def by_order(w: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the positive and of the negative effects of the set at each order: two arrays `[..., n + 1]`, log-odds [paper]."""
    inside = np.where(mask, w, 0.0)
    order = orders(w.shape[-1].bit_length() - 1)
    one_hot = (order[:, None] == np.arange(order[-1] + 1)).astype(np.float64)
    return np.maximum(inside, 0).sum(axis=-2) @ one_hot, np.minimum(inside, 0).sum(axis=-2) @ one_hot


def mean_order(w: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean number of words, weighted by |I| [ours]."""
    size = np.where(mask, np.abs(w), 0.0)
    return quotient((size * orders(w.shape[-1].bit_length() - 1)).sum(axis=_BOTH), size.sum(axis=_BOTH))


def sign_agreement(w: np.ndarray, other: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Fraction of the interactions in `both` whose sign is the same in w and other; 0.5 is a coin [ours].

    >>> e = np.array([[0, 3.0, -1.0, 2.0], [0, 0, 0, 0]])
    >>> float(sign_agreement(e, np.abs(e), e != 0).round(3))  # two of three
    0.667
    """
    return quotient(count(both & (np.sign(w) == np.sign(other))), count(both))


def walsh_high(v: np.ndarray) -> np.ndarray:
    """Fraction of the variance of v over coalitions in Walsh degrees above n/2 [ours]; NaN where constant. v `[..., 2^n]`."""
    v = np.asarray(v, dtype=np.float64)
    energy = walsh_energy(v - v[..., :1])  # a shift moves degree 0 only; without it a constant leaves rounding errors
    n = energy.shape[-1] - 1
    return quotient(energy[..., n // 2 + 1 :].sum(axis=-1), energy[..., 1:].sum(axis=-1))


def spread(v: np.ndarray) -> np.ndarray:
    """sd(v): standard deviation over the 2^n coalitions, log-odds; exactly 0 for a constant."""
    return (np.asarray(v, dtype=np.float64) - v[..., :1]).std(axis=-1)


def scale(effects: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
    """Measures over all effects of a checkpoint, salient or not [ours]. effects `[..., 2, 2^n]`, v `[..., 2^n]`.

    >>> e = np.array([[0, 3.0, -1.0, 0], [0, 0, 0, 0]]); v = np.array([0.0, 3.0, -1.0, 2.0])
    >>> {k: round(float(x), 3) for k, x in scale(e, v).items() if k != "walsh_high"}  # sd = sqrt(10 / 4), log(1 + e^-2)
    {'l1': 4.0, 'sd': 1.581, 'total_effect': 2.0, 'l1_per_sd': 2.53, 'l1_per_total_effect': 2.0, 'cancelled_per_sd': 1.265, 'loss': 0.127}
    """
    everything = np.ones(effects.shape[-1], dtype=bool)
    everything[0] = False  # order 0 is never an interaction
    l1, total, sd = strength(effects, everything), net(effects, everything), spread(v)
    total_effect = np.abs(v[..., -1] - v[..., 0])
    return {
        "l1": l1,
        "sd": sd,
        "total_effect": total_effect,
        "l1_per_sd": quotient(l1, sd),
        "l1_per_total_effect": quotient(l1, total_effect),
        "cancelled_per_sd": quotient(l1 - np.abs(total), sd),
        "loss": loss_of(v[..., -1]),
        "walsh_high": walsh_high(v),
    }


def noise_floor(sigma: np.ndarray | float, n: int) -> np.ndarray:
    """False strength to expect at each order from independent errors of v with standard deviation sigma: `[..., n + 1]`.

    C(n, k) * 2^(k/2) * sigma * sqrt(2/pi): an effect of order k adds 2^k scores with signs, and E|N(0, s)| = s sqrt(2/pi)
    [ours]. An upper bound for a sparse split. Entry 0 is the sum over orders 1..n.
    """
    per_order = np.array([0.0] + [comb(n, k) * 2 ** (k / 2) * sqrt(2 / pi) for k in range(1, n + 1)])
    per_order[0] = per_order[1:].sum()
    return np.asarray(sigma, dtype=np.float64)[..., None] * per_order


def set_values(
    part: Partition, effects: np.ndarray, at_reference: np.ndarray, top: int
) -> dict[tuple[str, str, int], np.ndarray]:
    """The measures that have a churn floor, by (measure, set, order). Removed interactions are weighed by their effects at the
    reference, all others by `effects` [paper]."""
    out: dict[tuple[str, str, int], np.ndarray] = {}
    omega_ref = part.removed | part.kept  # what removed is a fraction of
    for name, mask in zip(SETS, part, strict=True):
        w = np.broadcast_to(at_reference, mask.shape) if name == "removed" else effects
        out["strength", name, 0], out["count", name, 0] = strength(w, mask), count(mask)
        if name != "all":
            whole = out["strength", "all", 0], out["count", "all", 0]
            if name == "removed":
                whole = strength(at_reference, omega_ref), count(omega_ref)
            out["strength_fraction", name, 0] = quotient(out["strength", name, 0], whole[0])
            out["count_fraction", name, 0] = quotient(out["count", name, 0], whole[1])
        if name in VALUED:
            out["mean_order", name, 0] = mean_order(w, mask)
            for measure, sums in zip(("positive", "negative"), by_order(w, mask), strict=True):
                out[measure, name, 0] = sums.sum(axis=-1)
                for k in range(1, top + 1):
                    out[measure, name, k] = sums[..., k] if k < sums.shape[-1] else np.zeros(sums.shape[:-1])
    return out


def floor_values(
    effects: np.ndarray, at: int, twins: np.ndarray, definition: str, ratio: float, top: int = 0
) -> dict[tuple[str, str, int], np.ndarray]:
    """`set_values`, sign agreement and change from one checkpoint to each of its twins `[W, 2, 2^n]`, as if that were the next one;
    the mean over them, NaN left out. effects `[T, 2, 2^n]`.

    tau is that of the checkpoints where it is common to them, else each one's own.
    """
    tau, before = thresholds(effects, definition, ratio)[at] if definition == "common" else None, effects[at]
    found: list[dict[tuple[str, str, int], np.ndarray]] = []
    for twin in twins:
        part = Partition(*(mask[1] for mask in partition(np.stack([before, twin]), 0, definition, ratio, tau)))
        more = {("sign_agreement", "kept", 0): sign_agreement(twin, before, part.kept)}
        more["change", "all", 0] = change(twin, before)
        found.append(set_values(part, twin, before, top) | more)
    each = {key: np.array([values[key] for values in found]) for key in found[0]}
    return {key: quotient(np.nansum(x), (~np.isnan(x)).sum()) for key, x in each.items()}
