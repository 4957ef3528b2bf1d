"""The result of a sparse fit on sampled coalitions: like `Interactions`, without arrays of 2^n."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interplay.effects.dictionary import Masks, evaluate, popcount
from interplay.effects.inputs import as_masks
from interplay.effects.interactions import (
    SALIENT_RATIO,
    Salient,
    effect_table,
    load_fields,
    salience_threshold,
    save_fields,
    words_per_sample,
)
from interplay.limits import SAMPLED_WORDS

if TYPE_CHECKING:
    import pandas

_FORMAT = "interplay.sampled-interactions"


@dataclass(frozen=True, eq=False, repr=False)
class SampledInteractions:
    """AND and OR effects of one prompt, fitted to sampled coalitions. Made by `extract_sampled`.

    k effects, sorted by mask, AND before OR; all others are zero. Units are those of the scores (log-odds). `r2` says how well
    the effects predict coalitions that the fit never saw.
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

        >>> from interplay.effects.sampled import extract_sampled
        >>> game = extract_sampled(range(8), [1, 1, 1, 3, 1, 1, 1, 3], 3, holdout=0.0)      # AND of words 0 and 1
        >>> game.scores([0, 3, 4, 7]).round(6)
        array([1., 3., 1., 3.])
        """
        chosen = as_masks(coalitions, self.n)
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
        tau = salience_threshold(size.max(initial=0.0), ratio, threshold)
        return Salient((size > tau) & ~self.is_or, (size > tau) & self.is_or, tau)

    def to_pandas(
        self, words: Sequence[Any] | None = None, salient_only: bool = True, ratio: float = SALIENT_RATIO
    ) -> "pandas.DataFrame":
        """A tidy table, one row per effect, largest |effect| first; the columns of `Interactions.to_pandas`.

        sample (always 0), type ("and" or "or"), mask (int64; uint64 for 64 words), order, words, effect.
        `salient_only=False` lists every effect that is not exactly zero.
        """
        chosen = self.effects != 0
        if salient_only:
            chosen = np.logical_or(*self.salient(ratio)[:2])
        masks = self.masks[chosen]
        masks = masks.astype(np.int64) if self.n < SAMPLED_WORDS else masks
        sample, kind = np.zeros(len(masks), dtype=np.int64), self.is_or[chosen].astype(int)
        return effect_table(sample, kind, masks, self.effects[chosen], words_per_sample(words, 1, self.n))

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
        whole = self.total_effect_fraction
        explained = "" if math.isnan(whole) else f"; explains {whole:.1%} of v(N) - v(empty)"
        return (
            f"sampled: fitted to {self.fitted:,} of {every} coalitions, orders up to {self.order}, {how}; {faith}{explained}; "
            f"certified gap {self.duality_gap:.1e}"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, under a temporary name first: `path` is never half a file."""
        save_fields(path, self, _FORMAT, "rule")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SampledInteractions":
        """Read what `save` wrote. Raises InterplayError for any other file."""
        values = load_fields(path, cls, _FORMAT, "rule")
        return cls(**{name: x if np.ndim(x) or name == "rule" else x.item() for name, x in values.items()})

    def __repr__(self) -> str:
        kept = self.salient()
        return (
            f"SampledInteractions(n={self.n}, salient {kept.and_.sum()} AND + {kept.or_.sum()} OR, "
            f"objective {self.objective:.4g}, {self.statement()})"
        )
