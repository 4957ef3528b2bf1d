"""The result of a sparse fit on sampled coalitions: the face of `Interactions` without arrays of 2^n.

Holds effects, what they were fitted to and how well they predict what they were not; makes none of them (`sampled.py`).
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interplay.atomic import write_bytes
from interplay.effects.dictionary import Masks, evaluate, popcount
from interplay.effects.interactions import SALIENT_RATIO, Salient, _short, _words_per_sample
from interplay.errors import InterplayError
from interplay.limits import SAMPLED_WORDS

if TYPE_CHECKING:
    import pandas

_FORMAT = "interplay.sampled-interactions"
_VERSION = 1
_RULES = ("cross-validation", "tolerance", "smallest penalty", "constant scores")
_ARRAYS = {"masks": "u", "is_or": "b", "effects": "f", "penalised": "f"}
_COUNTS = ("n", "order", "columns", "fitted", "held_out")


@dataclass(frozen=True, eq=False, repr=False)
class SampledInteractions:
    """AND and OR effects of one prompt, fitted to sampled coalitions. Made by `extract_sampled`.

    k effects, sorted by mask, AND before OR; all others are zero. Units are those of the scores (log-odds). A statement over
    2^n coalitions it is not: `r2` says how far the effects hold on coalitions that the fit never saw.
    """

    n: int
    """Number of words, 1..64."""
    order: int
    """Largest order looked for."""
    masks: Masks
    """[k] uint64, bit i set: word i belongs to the interaction."""
    is_or: NDArray[np.bool_]
    """[k] False: AND, True: OR (order 2 and up)."""
    effects: NDArray[np.float64]
    """[k], refitted without shrinkage; zero where the refit dropped one."""
    penalised: NDArray[np.float64]
    """[k] the solution of the penalised programme, which `duality_gap` certifies."""
    v_empty: float
    """Fitted score with every word masked (a free intercept: the one measured is as noisy as any other)."""
    objective: float
    """Sum of all absolute effects."""
    duality_gap: float
    """Relative: no effects over these columns that fit as well as `penalised` cost under (1 - duality_gap) of it, measured on the
    fitted coalitions (cost: sum of absolute effects, orders above 1 half a percent dearer)."""
    residual: float
    """Worst |v - scores| over the fitted coalitions."""
    misfit: float
    """Root mean square of v - scores over the fitted coalitions."""
    tolerance: float
    """The root mean square misfit that was asked for; NaN where cross-validation chose."""
    converged: bool
    """The gap asked for was reached."""
    penalty: float
    """Price of one unit of effect, in units of the scores (docs/design/sampled.md)."""
    rule: str
    """What chose the penalty: "cross-validation", "tolerance", "smallest penalty" or "constant scores"."""
    columns: int
    """Columns the fit chose from."""
    fitted: int
    """Coalitions fitted."""
    held_out: int
    """Coalitions never fitted."""
    r2: float
    """1 - squared error / variance of v on the held-out coalitions; NaN where there are too few, or they are all equal."""
    total_effect_fraction: float
    """Share of v(N) - v(∅), as measured, that the effects explain; 1 is all. NaN where it is zero."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Always (): one score table. (`Interactions` may have leading axes.)"""
        return ()

    @property
    def orders(self) -> NDArray[np.int64]:
        """[k] number of words of each effect."""
        return popcount(self.masks)

    def scores(self, coalitions: Any) -> NDArray[np.float64]:
        """The scores these effects give to any coalitions, [m] for [m] bitmasks  [paper eq 2-3].

        >>> import numpy as np
        >>> from interplay.effects.sampled import extract_sampled
        >>> game = extract_sampled(range(8), [1, 1, 1, 3, 1, 1, 1, 3], 3, holdout=0.0)      # AND of words 0 and 1
        >>> game.scores([0, 3, 4, 7]).round(6)
        array([1., 3., 1., 3.])
        """
        chosen = as_masks(coalitions, self.n, "coalitions")
        nonzero = self.effects != 0
        values = np.full(len(chosen), self.v_empty)
        step = max(1, (1 << 22) // max(1, int(nonzero.sum())))  # coalitions at a time: no [2^20, k] table
        for a in range(0, len(chosen), step):
            columns = evaluate(chosen[a : a + step], self.masks[nonzero], self.is_or[nonzero])
            values[a : a + step] += columns @ self.effects[nonzero]
        return values

    def salient(self, ratio: float = SALIENT_RATIO, threshold: ArrayLike | None = None) -> Salient:
        """Effects with |I(S)| > tau, tau = ratio · largest |I| [lineage], or `threshold` itself; boolean arrays [k]."""
        size = np.abs(self.effects)
        if threshold is None:
            if not (isinstance(ratio, (int, float, np.number)) and 0 <= ratio < 1):
                raise InterplayError(
                    f"ratio is {_short(ratio)}; expected a share of the largest effect, 0 or more and under 1"
                )
            tau = ratio * size.max(initial=0.0)
        else:
            tau = number(threshold, "threshold")
        kept = size > tau
        return Salient(kept & ~self.is_or, kept & self.is_or, np.asarray(tau, dtype=np.float64))

    def to_pandas(
        self, words: Sequence[Any] | None = None, salient_only: bool = True, ratio: float = SALIENT_RATIO
    ) -> "pandas.DataFrame":
        """A tidy table, one row per effect, largest |effect| first; the columns of `Interactions.to_pandas`.

        sample (always 0), type ("and" or "or"), mask (int64; uint64 for 64 words), order, words, effect.
        `salient_only=False` lists every effect that is not exactly zero.
        """
        import pandas as pd

        names = _words_per_sample(words, 1, self.n)[0]
        kept = self.salient(ratio)
        chosen = np.flatnonzero((kept.and_ | kept.or_) if salient_only else self.effects != 0)
        chosen = chosen[np.argsort(-np.abs(self.effects[chosen]), kind="stable")]
        masks = self.masks[chosen]
        members = [tuple(names[i] for i in range(self.n) if int(m) >> i & 1) for m in masks]
        columns = {
            "sample": np.zeros(len(chosen), dtype=np.int64),
            "type": np.array(["and", "or"], dtype=object)[self.is_or[chosen].astype(int)],
            "mask": masks.astype(np.int64) if self.n < SAMPLED_WORDS else masks,
            "order": popcount(masks),
            "words": pd.Series(members, dtype=object),
            "effect": self.effects[chosen],
        }
        return pd.DataFrame(columns)

    def statement(self) -> str:
        """One line that says what was fitted to what, and how far it may be trusted."""
        every = f"2^{self.n}" if self.n > 20 else f"{2**self.n:,}"
        how = {
            "cross-validation": "penalty by cross-validation",
            "tolerance": f"penalty by the tolerance {self.tolerance:.3g}",
            "smallest penalty": "smallest penalty",
            "constant scores": "the scores are constant",
        }[self.rule]
        faith = "R2 unknown: too few coalitions were held out, or their scores are all equal"
        if not math.isnan(self.r2):
            faith = f"R2 {self.r2:.3f} on {self.held_out:,} coalitions never fitted"
        share = (
            ""
            if math.isnan(self.total_effect_fraction)
            else f"; explains {self.total_effect_fraction:.1%} of v(N) - v(empty)"
        )
        return (
            f"sampled: fitted to {self.fitted:,} of {every} coalitions, orders up to {self.order}, {how}; {faith}{share}; "
            f"certified gap {self.duality_gap:.1e}"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, under a temporary name first: `path` is never half a file."""
        from safetensors.numpy import save

        path = Path(path)
        tensors = {f.name: np.array(getattr(self, f.name), order="C") for f in fields(self) if f.name != "rule"}
        data = save(tensors, metadata={_FORMAT: json.dumps({"version": _VERSION, "rule": self.rule})})
        write_bytes(path, data, folders=None)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SampledInteractions":
        """Read what `save` wrote; the same bytes in every field. Anything else is refused."""
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        wanted = "expected a file written by SampledInteractions.save"
        try:
            with safe_open(path, framework="np") as file:
                header = (file.metadata() or {}).get(_FORMAT)
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            raise InterplayError(f"{path} does not exist; {wanted}") from None
        except (SafetensorError, OSError) as error:
            raise InterplayError(f"{path} cannot be read as safetensors ({error}); {wanted}") from None
        try:
            found = json.loads(header or "null")
            version, rule = found["version"], found["rule"]
        except (ValueError, TypeError, KeyError):
            raise InterplayError(f"{path} is no SampledInteractions file; {wanted}") from None
        if version != _VERSION or rule not in _RULES:
            raise InterplayError(f"{path} holds version {_short(version)}, rule {_short(rule)}; {wanted}")
        return cls(rule=rule, **_checked(path, tensors))

    def __repr__(self) -> str:
        kept = self.salient()
        return (
            f"SampledInteractions(n={self.n}, salient {kept.and_.sum()} AND + {kept.or_.sum()} OR, "
            f"objective {self.objective:.4g}, {self.statement()})"
        )


def as_masks(coalitions: Any, n: int, name: str) -> Masks:
    """Bitmasks as a new uint64 array [m], each under 2^n; refused with a reason otherwise.

    >>> as_masks([0, 5], 3, "coalitions")
    array([0, 5], dtype=uint64)
    """
    expected = f"expected whole numbers from 0 to 2**{n} - 1, one bitmask per coalition"
    if hasattr(coalitions, "detach"):
        coalitions = coalitions.detach().cpu().numpy()
    if not isinstance(coalitions, np.ndarray):
        if isinstance(coalitions, (str, bytes, dict)) or not hasattr(coalitions, "__iter__"):
            raise InterplayError(f"{name} are a {type(coalitions).__name__}; {expected}")
        listed = list(coalitions)
        # numpy would make floats of a list with numbers on both sides of 2^63
        if not all(isinstance(x, (int, np.integer)) and not isinstance(x, (bool, np.bool_)) for x in listed):
            raise InterplayError(f"{name} hold entries that are no whole numbers; {expected}")
        if any(not 0 <= x < 1 << n for x in listed):
            raise InterplayError(f"{name} hold {_short(next(x for x in listed if not 0 <= x < 1 << n))}; {expected}")
        return np.array([int(x) for x in listed], dtype=np.uint64)
    if coalitions.ndim != 1 or (coalitions.dtype.kind not in "iu" and coalitions.size):
        raise InterplayError(f"{name} are {coalitions.dtype} {list(coalitions.shape)}; {expected}")
    out = coalitions < 0
    if n < SAMPLED_WORDS:
        out = out | (coalitions.astype(np.uint64) >> np.uint64(n) != 0)
    if out.any():
        raise InterplayError(f"{name} hold {int(coalitions[out][0])}; {expected}")
    return coalitions.astype(np.uint64)


def number(value: Any, name: str) -> float:
    """A finite number, 0 or more, as a float; refused otherwise."""
    try:
        x = float(value)
    except (TypeError, ValueError, RuntimeError):
        x = math.nan
    if not 0.0 <= x < math.inf:
        raise InterplayError(f"{name} is {_short(value)}; expected a finite number, 0 or more")
    return x


def _checked(path: Path, tensors: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(SampledInteractions)} - {"rule"}
    broken = InterplayError(f"{path} is not a complete SampledInteractions file; write it again with save")
    if set(tensors) != names or tensors["masks"].ndim != 1:
        raise broken
    values: dict[str, Any] = {}
    for name, x in tensors.items():
        kind = _ARRAYS.get(name, "i" if name in _COUNTS else "b" if name == "converged" else "f")
        shape = tensors["masks"].shape if name in _ARRAYS else ()
        if x.shape != shape or x.dtype.kind != kind or x.dtype.itemsize != (1 if kind == "b" else 8):
            raise InterplayError(f"{path}: {name} is {x.dtype} {list(x.shape)}; expected shape {list(shape)}")
        values[name] = x if name in _ARRAYS else x.item()
    n, order, masks, is_or = values["n"], values["order"], values["masks"], values["is_or"]
    if not (1 <= n <= SAMPLED_WORDS and 1 <= order <= n) or min(values[name] for name in _COUNTS) < 0:
        raise broken
    size = popcount(masks)
    same = np.unique(np.stack([masks, is_or.astype(np.uint64)]), axis=1).shape[1] != len(masks)
    large = (n < SAMPLED_WORDS) and bool((masks >> np.uint64(n)).any())
    if same or large or (size < 1 + is_or).any() or (size > order).any():
        raise InterplayError(f"{path} holds effects that are no AND or OR of 1..{order} of {n} words; write it again")
    if not (np.isfinite(values["effects"]).all() and np.isfinite(values["penalised"]).all()):
        raise InterplayError(f"{path} holds effects that are not finite; write it again")
    return values
