"""Scores in, Interactions out: `extract`, and both results, with salience, a tidy table and one safetensors file."""

import itertools
import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from interplay.atomic import write_bytes
from interplay.effects.certainty import ALTERNATIVE_GAP, ALTERNATIVE_OMEGA, TYPES, certainty, other_costs, standing
from interplay.effects.dictionary import Masks, evaluate, popcount
from interplay.effects.inputs import as_float64, as_masks, fraction, per_sample, score_table, whole
from interplay.effects.moebius import moebius, reconstruct
from interplay.effects.sparse import RIDGE_COST, Tie, solve
from interplay.errors import InterplayError
from interplay.limits import SAMPLED_WORDS

if TYPE_CHECKING:
    import pandas

SALIENT_RATIO = 0.05  # [lineage]
TOLERANCE_SIGMAS = 3  # of the noise of v [ours]
ABSENCE_SIGMAS = 0.1  # of the spread of v between draws of other words, which is the same in many coalitions [ours]
TOLERANCE_FRACTION = 0.02  # of |v(N) - v(empty)| [lineage], where it is asked for
VERSION = 1  # of the files


class Salient(NamedTuple):
    """Which effects are salient: boolean arrays [..., 2^n], and the threshold tau [...] they exceed."""

    and_: NDArray[np.bool_]
    or_: NDArray[np.bool_]
    threshold: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class _Saved:
    """Fields that are written as tensors; one of them, and the version, as JSON in the header."""

    _kind: ClassVar[str]
    _in_header: ClassVar[str]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file."""
        names = [f.name for f in fields(self) if f.name != self._in_header]
        tensors = {name: np.array(getattr(self, name), order="C") for name in names}
        # one entry only: safetensors writes its metadata in no fixed order, and the same result should be the same bytes
        header = json.dumps({"version": VERSION, self._in_header: getattr(self, self._in_header)})
        write_bytes(Path(path), save(tensors, metadata={self._kind: header}), folders=None)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises InterplayError for any other file."""
        expected = f"expected a file written by {cls.__name__}.save"
        try:
            with safe_open(Path(path), framework="np") as file:
                header = json.loads((file.metadata() or {}).get(cls._kind, "{}"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            raise InterplayError(f"{path} does not exist; {expected}") from None
        except (SafetensorError, OSError) as error:
            raise InterplayError(f"{path} cannot be read as safetensors ({error}); {expected}") from None
        if header.get("version") != VERSION:
            raise InterplayError(f"{path} has no {cls.__name__} of version {VERSION}; {expected}")
        values = {cls._in_header: header[cls._in_header], **tensors}
        if set(values) != {f.name for f in fields(cls)}:
            raise InterplayError(f"{path} is not a complete file; {expected}")
        scalars = {f.name for f in fields(cls) if f.type in (int, float, bool)} - {cls._in_header}
        return cls(**{name: x.item() if name in scalars else x for name, x in values.items()})


@dataclass(frozen=True, eq=False, repr=False)
class Interactions(_Saved):
    """AND and OR effects of one or many score tables, with the certificate of the split. Made by `extract`.

    `...` are the leading axes of the scores; effects are in their units (log-odds). Order 0 and OR of one word are zero.

    n                        number of words, 1..16
    and_effects, or_effects  [..., 2^n], index = coalition
    v_empty                  [...] score with every word masked
    objective                [...] sum of all absolute effects; fused with a reference, FUSE times |effect - reference| is added
    duality_gap              [...] relative: no split within the tolerance has an objective under (1 - duality_gap)·objective
    residual                 [...] worst |v - scores()| over the coalitions; at most the tolerance, up to rounding
    tolerance                [...] delta
    iterations               [...] of both phases
    converged                [...] the gap asked for was reached
    error_bar                [...] bound on the Euclidean distance of all effects of order >= 2 to the regularised optimum; often
                             10 times too large
    alternatives             [..., K, 2, 2^n] other splits within 1 % of the least objective; K = 0 unless `certain` was asked for
    """

    _kind, _in_header = "interplay.interactions", "n"
    n: int
    and_effects: NDArray[np.float64]
    or_effects: NDArray[np.float64]
    v_empty: NDArray[np.float64]
    objective: NDArray[np.float64]
    duality_gap: NDArray[np.float64]
    residual: NDArray[np.float64]
    tolerance: NDArray[np.float64]
    iterations: NDArray[np.int64]
    converged: NDArray[np.bool_]
    error_bar: NDArray[np.float64]
    alternatives: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes."""
        return self.v_empty.shape

    @property
    def l1(self) -> NDArray[np.float64]:
        """[...] sum of all absolute effects."""
        return np.abs(self.and_effects).sum(-1) + np.abs(self.or_effects).sum(-1)

    @property
    def effects(self) -> NDArray[np.float64]:
        """[..., 2, 2^n]: row 0 AND, row 1 OR (a new array)."""
        return np.stack([self.and_effects, self.or_effects], axis=-2)

    @property
    def certain(self) -> NDArray[np.float64]:
        """[..., 2, 2^n]: the fraction of the alternatives in which an effect has its sign and at least half its size.

        >>> sure = extract([0, 0, 0, 1.0], tolerance=0, certain=True)       # one AND: no other split is as sparse
        >>> float(sure.certain[0, 3])
        1.0
        """
        if not self.alternatives.shape[-3]:
            raise InterplayError("these effects have no alternatives: extract them with certain=True")
        return standing(self.effects, self.alternatives)

    def scores(self) -> NDArray[np.float64]:
        """The scores these effects explain, [..., 2^n]: within `residual` of those given.

        >>> extract([0, 0, 0, 1.5], tolerance=0).scores().round(9) + 0.0
        array([0. , 0. , 0. , 1.5])
        """
        return reconstruct(self.and_effects, self.or_effects, self.v_empty)

    def salient(self, ratio: float = SALIENT_RATIO, threshold: ArrayLike | None = None) -> Salient:
        """Effects with |I(S)| > tau, tau = ratio · largest |I| of the sample [lineage], or `threshold` [...] itself.

        >>> kept = extract([0, 2, 3, 10], tolerance=0).salient(ratio=0.5)      # effects 2, 3, 5; tau = 2.5
        >>> kept.and_ | kept.or_
        array([False, False,  True,  True])
        """
        size = np.abs(self.effects)
        tau = salience_threshold(size.max((-2, -1)), ratio, threshold)
        salient = size > tau[..., None, None]
        return Salient(salient[..., 0, :], salient[..., 1, :], tau)

    def to_pandas(
        self, words: Sequence[Any] | None = None, salient_only: bool = True, ratio: float = SALIENT_RATIO
    ) -> "pandas.DataFrame":
        """A tidy table, one row per effect, largest |effect| first.

        Columns: sample (position along the flattened leading axes), type ("and" or "or"), mask, order, words, effect. With
        alternatives also `certain`, and where that is under 1 `exchangeable_with`: the (type, words) that stand in its place.
        `words`: the n words of every sample, or one such list per sample (default: word indices).
        `salient_only=False` lists every effect that is not exactly zero.

        >>> exact = extract([0, 2, 3, 10], tolerance=0)
        >>> exact.to_pandas(["not", "bad"])[["mask", "words", "effect"]].round(2).values.tolist()
        [[3, ('not', 'bad'), 5.0], [2, ('bad',), 3.0], [1, ('not',), 2.0]]
        """
        samples = math.prod(self.shape)
        effects = self.effects.reshape(samples, 2, 2**self.n)
        chosen = effects != 0
        if salient_only:
            chosen = np.stack(self.salient(ratio)[:2], axis=-2).reshape(effects.shape)
        sample, kind, mask = np.nonzero(chosen)
        table = effect_table(sample, kind, mask, effects[chosen], words, samples, self.n)
        if not self.alternatives.shape[-3]:
            return table
        others, names = self.alternatives.reshape(samples, -1, 2, 2**self.n), _names(words, samples, self.n)
        said = {}
        for s in range(samples):
            rows = table[table["sample"] == s]
            at = [(TYPES.index(kind), mask) for kind, mask in zip(rows["type"], rows["mask"], strict=True)]
            said |= dict(zip(rows.index, certainty(effects[s], others[s], at), strict=True))
        found = [
            (share, other and (other[0], chosen_names(names[s], other[1])))
            for s, (share, other) in ((table["sample"][i], said[i]) for i in table.index)
        ]
        return table.assign(certain=[share for share, _ in found], exchangeable_with=[other for _, other in found])

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("these Interactions explain a single score table: they have no leading axis to count")
        return self.shape[0]

    def __getitem__(self, key: Any) -> "Interactions":
        """Samples along the leading axes, as numpy indexes them."""
        if not self.shape:
            raise IndexError("these Interactions explain a single score table: they have no leading axis to index")
        chosen = np.arange(math.prod(self.shape)).reshape(self.shape)[key]  # one meaning of `key` for every field
        flat = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "n"}
        depth, samples = len(self.shape), math.prod(self.shape)
        return Interactions(
            n=self.n, **{name: x.reshape(samples, *x.shape[depth:])[chosen] for name, x in flat.items()}
        )

    def __iter__(self) -> Iterator["Interactions"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        where = f"{'x'.join(map(str, self.shape))} samples, " if self.shape else ""
        if math.prod(self.shape) == 0:
            return f"Interactions({where}n={self.n})"
        ands, ors = (mask.sum(-1) for mask in self.salient()[:2])
        state = "converged" if self.converged.all() else f"{int((~self.converged).sum())} not converged"
        return (
            f"Interactions({where}n={self.n}, salient {_span(ands)} AND + {_span(ors)} OR, "
            f"objective {_span(self.objective)}, gap <= {self.duality_gap.max():.1e}, {state})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class SampledInteractions(_Saved):
    """AND and OR effects of one prompt, fitted to sampled coalitions. Made by `extract_sampled`.

    k effects, sorted by mask, AND before OR; all others are zero. Units are those of the scores (log-odds).
    """

    _kind, _in_header = "interplay.sampled-interactions", "rule"
    n: int  # words, 1..64
    order: int  # largest order looked for
    masks: Masks  # [k] uint64, bit i set: word i belongs to the interaction
    is_or: NDArray[np.bool_]  # [k] False: AND, True: OR (order 2 and up)
    effects: NDArray[np.float64]  # [k], refitted without shrinkage; zero where the refit dropped one
    penalised: NDArray[np.float64]  # [k] the solution of the penalised programme, which `duality_gap` certifies
    v_empty: float  # fitted score with every word masked: a free intercept, as the measured one is noisy
    objective: float  # sum of all absolute effects
    # Relative: no effects over these columns that fit as well as `penalised` cost under (1 - duality_gap) of it, measured on
    # the fitted coalitions (cost: sum of absolute effects, orders above 1 half a percent dearer).
    duality_gap: float
    residual: float  # worst |v - scores| over the fitted coalitions
    misfit: float  # root mean square of v - scores over the fitted coalitions
    tolerance: float  # the misfit that was asked for; NaN where cross-validation chose
    converged: bool  # the gap asked for was reached
    penalty: float  # price of one unit of effect, in units of the scores (docs/design/sampled.md)
    rule: str  # what chose the penalty: "cross-validation", "tolerance", "smallest penalty" or "constant scores"
    columns: int  # columns the fit chose from
    fitted: int  # coalitions fitted
    held_out: int  # coalitions never fitted
    r2: float  # 1 - squared error / variance of v on the held-out coalitions; NaN if too few or all equal
    total_effect_fraction: float  # fraction of v(N) - v(∅), as measured, that the effects explain; NaN if it is zero

    @property
    def shape(self) -> tuple[int, ...]:
        """Always (): one score table."""
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
        """The table of `Interactions.to_pandas`, with sample always 0 and mask uint64 for 64 words."""
        chosen = self.effects != 0
        if salient_only:
            chosen = np.logical_or(*self.salient(ratio)[:2])
        masks = self.masks[chosen]
        masks = masks.astype(np.int64) if self.n < SAMPLED_WORDS else masks
        sample, kind = np.zeros(len(masks), dtype=np.int64), self.is_or[chosen].astype(int)
        return effect_table(sample, kind, masks, self.effects[chosen], words, 1, self.n)

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

    def __repr__(self) -> str:
        kept = self.salient()
        return (
            f"SampledInteractions(n={self.n}, salient {kept.and_.sum()} AND + {kept.or_.sum()} OR, "
            f"objective {self.objective:.4g}, {self.statement()})"
        )


def _span(x: Any) -> str:
    low, high = f"{np.min(x):.4g}", f"{np.max(x):.4g}"
    return low if low == high else f"{low}..{high}"


def salience_threshold(largest: Any, ratio: float, threshold: ArrayLike | None) -> NDArray[np.float64]:
    """tau: `threshold` itself where it is given, else ratio times the largest |effect|, [...]."""
    if threshold is not None:
        return per_sample(threshold, np.shape(largest), "threshold")
    return np.asarray(fraction(ratio, "ratio", "a fraction of the largest effect") * largest)


def effect_table(
    sample: Any, kind: Any, mask: Any, effect: Any, words: Sequence[Any] | None, samples: int, n: int
) -> "pandas.DataFrame":
    """The table of `to_pandas` from one array a column (kind 0 AND, 1 OR) and its words: n strings, or n for each sample."""
    import pandas as pd

    names = _names(words, samples, n)
    rank = np.argsort(-np.abs(effect), kind="stable")
    sample, kind, mask, effect = sample[rank], kind[rank], mask[rank], effect[rank]
    members = [chosen_names(names[s], m) for s, m in zip(sample.tolist(), mask.tolist(), strict=True)]
    columns = {
        "sample": sample,
        "type": np.array(["and", "or"], dtype=object)[kind],
        "mask": mask,
        "order": np.bitwise_count(mask).astype(np.int64),
        "words": pd.Series(members, dtype=object),
        "effect": effect,
    }
    return pd.DataFrame(columns)


def _names(words: Sequence[Any] | None, samples: int, n: int) -> Sequence[Sequence[Any]]:
    """The words of each sample, from n strings, n for each sample, or none."""
    if words is None:
        return [range(n)] * samples
    if all(isinstance(word, str) for word in words):
        if len(words) != n:
            raise InterplayError(f"{len(words)} words were given for scores of n = {n} words; expected {n}")
        return [words] * samples
    if len(words) != samples or any(isinstance(w, str) or len(w) != n for w in words):
        raise InterplayError(f"words must be {n} strings, or one list of {n} strings for each of the {samples} samples")
    return words


def chosen_names(names: Sequence[Any], mask: int) -> tuple[Any, ...]:
    """The names of the words in a coalition."""
    return tuple(name for i, name in enumerate(names) if mask >> i & 1)


def default_tolerance(noise_sigma: ArrayLike = 0.0, absence_sigma: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Default tolerance: 3 standard deviations of the noise of v, 0 where it is not known (NaN) [ours].

    absence_sigma: standard deviation of v over draws of other words, of which it is at least a tenth: more hides what was
    learnt (docs/design/absence.md) [ours].

    The lineage's 2 % of |v(N) - v(empty)| takes up to a third of the strength and half of the largest changes, and which
    interactions it takes depends on its third digit (docs/design/solver.md).

    >>> default_tolerance(), default_tolerance(0.1).round(3), default_tolerance(math.nan, 0.2).round(3)
    (np.float64(0.0), np.float64(0.3), np.float64(0.02))
    """
    noise, absence = (np.nan_to_num(np.asarray(x, dtype=np.float64)) for x in (noise_sigma, absence_sigma))
    return np.maximum(TOLERANCE_SIGMAS * noise, ABSENCE_SIGMAS * absence)


def paper_tolerance(total_effect: ArrayLike, *noise: ArrayLike) -> NDArray[np.float64]:
    """The lineage's tolerance: 2 % of |v(N) - v(empty)| [lineage], at least `default_tolerance` of the noise [ours]."""
    return np.maximum(TOLERANCE_FRACTION * np.abs(np.asarray(total_effect)), default_tolerance(*noise))


def _known(scores: Any, name: str) -> ArrayLike:
    """What `Scores`, or a list of single ones, know of their noise; 0 for plain numbers."""
    each = [getattr(x, name, 0.0) for x in (scores if isinstance(scores, (list, tuple)) else [])]
    return each if any(each) else getattr(scores, name, 0.0)


def extract(
    scores: Any,
    tolerance: ArrayLike | Literal["auto", "paper"] = "auto",
    duality_gap: float = 1e-3,
    *,
    reference: "Interactions | ArrayLike | None" = None,
    certain: bool = False,
    max_iterations: int = 20_000,
    device: str | None = None,
) -> Interactions:
    """The sparsest AND-OR explanation of scores, certified: min sum of |effects| that match them within the tolerance.

    scores: (..., 2**n) array, list or tensor of log-odds, index = coalition (bit i set: word i kept), 1 <= n <= 16; or
        `Scores` of `interplay.score`, or one sample of it.
    tolerance: delta >= 0 in the same units, one number or one per sample: how far each score may be missed. "auto": 3 standard
        deviations of the numerical noise of v and a tenth of the spread between draws of words, which `Scores` know, and 0, the exact split, for
        plain numbers. "paper": at least 2 % of |v(N) - v(empty)| of the sample [lineage].
    duality_gap: relative duality gap asked for. Of near-ties the answer is the one of low order and least squares, so it is a
        unique, continuous function of the scores; that costs up to 0.2 % of the sum, which a finer gap does not change
        (docs/design/solver.md).
    reference: effects of the same words under another model, (..., 2, 2**n) or `Interactions`: of nearly equally sparse splits
        the one that changes least from them. Compare two tables this way: split alone, a fifth to half of their difference is
        ties that fell otherwise.
    certain: solve for other splits within 1 % of the least sum as well: `Interactions.certain`, and two more columns in
        `to_pandas`.
    max_iterations: of each of the two phases; a RuntimeWarning tells where it is hit.
    device: None solves with numpy on the CPU (a sample's bytes do not depend on the batch); "cuda" and the like solve in
        float64 with torch there, equal within the gap only.

    >>> game = extract([0, 0, 0, 0, 0, 0, 0, 2.0])        # all three words are needed: one AND of order 3
    >>> game.and_effects.round(3) + 0.0
    array([0., 0., 0., 0., 0., 0., 0., 2.])
    >>> either = extract([0, 1, 1, 1, 1, 1, 1, 1])        # any one of three words: one OR, not seven ANDs
    >>> float(either.or_effects[7].round(3)), float(either.objective.round(3))
    (1.0, 1.0)
    >>> more = extract([0, 1, 1, 1, 1, 1, 1, 3.0], reference=either)    # the OR stays, an AND of all three is new
    >>> float(more.or_effects[7].round(3)), float(more.and_effects[7].round(3))
    (1.0, 2.0)
    """
    v, n = score_table(scores)
    leading = v.shape[:-1]
    if isinstance(tolerance, str):
        if tolerance not in ("auto", "paper"):
            raise InterplayError(f"tolerance is {tolerance!r}; expected one number, 'auto' or 'paper'")
        sigmas = [_known(scores, name) for name in ("noise_sigma", "absence_sigma")]
        paper = tolerance == "paper"
        tolerance = paper_tolerance(v[..., -1] - v[..., 0], *sigmas) if paper else default_tolerance(*sigmas)
    delta = per_sample(tolerance, leading, "tolerance")
    duality_gap = fraction(duality_gap, "duality_gap", "a relative duality gap such as 1e-3", zero=False)
    max_iterations = whole(max_iterations, "max_iterations", 1)
    flat = v.reshape(-1, 1 << n)
    v_empty = flat[:, 0].copy()
    u = flat - v_empty[:, None]
    fused, others = _references(reference, leading, n)
    split = solve(u, delta.reshape(-1), duality_gap, max_iterations, device, reference=fused)
    reached = np.divide(
        split.objective - split.dual, split.objective, out=np.zeros_like(split.objective), where=split.objective > 0
    )
    reached = np.maximum(reached, 0.0)
    residual = np.abs(flat - reconstruct(split.and_effects, split.or_effects, v_empty)).max(-1, initial=0.0)
    converged = (reached <= max(duality_gap, RIDGE_COST)) & (split.ridge_gap <= duality_gap)
    if not converged.all():
        warnings.warn(
            f"{int((~converged).sum())} of {len(flat)} samples did not reach gap {duality_gap:g} in {max_iterations} iterations "
            f"(worst {reached.max():.2g}); raise max_iterations or duality_gap, or a tolerance that is zero",
            RuntimeWarning,
            stacklevel=2,
        )
    alternatives = np.empty((len(flat), 0, 2, 1 << n))
    if certain:
        costs = other_costs(n)
        k, each = len(costs), [np.repeat(x, len(costs), axis=0) for x in (u, delta.reshape(-1))]
        beside = (
            None if fused is None else np.repeat(fused, k, axis=0) if others is None else others.reshape(-1, 2, 1 << n)
        )
        tie = Tie(ALTERNATIVE_OMEGA, np.tile(costs, (len(flat), 1, 1)))
        found = solve(*each, ALTERNATIVE_GAP, max_iterations, device, reference=beside, tie=tie)
        alternatives = np.stack([found.and_effects, found.or_effects], 1).reshape(-1, k, 2, 1 << n)
    return Interactions(
        n=n,
        and_effects=split.and_effects.reshape(v.shape),
        or_effects=split.or_effects.reshape(v.shape),
        v_empty=v_empty.reshape(leading),
        objective=split.objective.reshape(leading),
        duality_gap=reached.reshape(leading),
        residual=residual.reshape(leading),
        tolerance=delta,
        iterations=split.iterations.reshape(leading),
        converged=converged.reshape(leading),
        error_bar=split.error_bar.reshape(leading),
        alternatives=alternatives.reshape(*leading, *alternatives.shape[1:]),
    )


def _references(reference: Any, leading: tuple[int, ...], n: int) -> tuple[Any, Any]:
    """The effects to fuse with, [samples, 2, 2^n], and their alternatives [samples, K, 2, 2^n]; None where there are none."""
    if reference is None:
        return None, None
    others = None
    if isinstance(reference, Interactions):
        if reference.alternatives.shape[-3]:
            others = reference.alternatives
        reference = reference.effects
    shape = *leading, 2, 1 << n
    try:
        fused = np.broadcast_to(as_float64(reference), shape)
        others = None if others is None else np.broadcast_to(others, (*leading, *others.shape[-3:]))
    except ValueError:
        given = list(np.shape(reference))
        raise InterplayError(
            f"reference has the shape {given}; expected effects of the same {n} words, {list(shape)}: row 0 AND, row 1 OR"
        ) from None
    fused = fused.reshape(-1, 2, 1 << n)
    return fused, None if others is None else others.reshape(-1, *others.shape[-3:])


def dividends(found: Interactions | SampledInteractions) -> dict[tuple[int, ...], float]:
    """The dividend of each set of words, by positions; () holds v(empty). Their sum over the subsets of T is the score of T.

    OR of S is the sum over its non-empty subsets T of (-1)^(|T| + 1) AND of T. Sampled effects give only the sets that occur.

    >>> either = dividends(extract([0, 1, 1, 1], tolerance=0))      # one OR of both words
    >>> {members: round(value, 6) + 0.0 for members, value in either.items()}
    {(): 0.0, (0,): 1.0, (1,): 1.0, (0, 1): -1.0}
    """
    if isinstance(found, Interactions):
        values = moebius(found.scores()).tolist()
        return {_members(mask, found.n): value for mask, value in enumerate(values)}
    sums = {(): float(found.v_empty)}
    for mask, is_or, effect in zip(found.masks.tolist(), found.is_or.tolist(), found.effects.tolist(), strict=True):
        chosen = _members(mask, found.n)
        for size in range(1, len(chosen) + 1) if is_or else [len(chosen)]:
            sign = -1.0 if is_or and size % 2 == 0 else 1.0
            for part in itertools.combinations(chosen, size):
                sums[part] = sums.get(part, 0.0) + sign * effect
    return sums


def _members(mask: int, n: int) -> tuple[int, ...]:
    return tuple(i for i in range(n) if mask >> i & 1)
