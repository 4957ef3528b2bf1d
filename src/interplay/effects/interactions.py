"""Scores in, Interactions out: `extract`, its result, salience, a tidy table, and one safetensors file.

The edge of `effects/`: checks what it is given, hands arrays to `sparse.py`, and measures what comes back (universal
matching, objective, gap) from the effects themselves. Knows nothing about models, words' meaning or checkpoints.
"""

import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interplay.atomic import write_bytes
from interplay.effects.moebius import orders, reconstruct
from interplay.effects.sparse import solve
from interplay.errors import InterplayError
from interplay.limits import EXACT_WORDS

if TYPE_CHECKING:
    import pandas

SALIENT_RATIO = 0.05  # [lineage]
TOLERANCE_SHARE, TOLERANCE_SIGMAS = 0.02, 3  # of |v(N) - v(empty)| [lineage], and of the noise of v [ours]
_FORMAT = "interplay.interactions"
_VERSION = 1


class Salient(NamedTuple):
    """Which effects are salient: boolean arrays [..., 2^n], and the threshold tau [...] they exceed."""

    and_: NDArray[np.bool_]
    or_: NDArray[np.bool_]
    threshold: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """AND and OR effects of one or many score tables, with the certificate of the split. Made by `extract`.

    `...` are the leading axes of the scores; effects are in the units of the scores (log-odds). Order 0 is zero in both,
    and OR of one word is zero: it is the same function as AND of that word.
    """

    n: int
    """Number of words, 1..16."""
    and_effects: NDArray[np.float64]
    """[..., 2^n], index = coalition."""
    or_effects: NDArray[np.float64]
    """[..., 2^n]."""
    v_empty: NDArray[np.float64]
    """[...] score with every word masked."""
    objective: NDArray[np.float64]
    """[...] sum of all absolute effects."""
    duality_gap: NDArray[np.float64]
    """[...] relative: no split within the tolerance has an objective under (1 - duality_gap)·objective."""
    residual: NDArray[np.float64]
    """[...] worst |v - scores()| over the coalitions; at most the tolerance, up to rounding (universal matching)."""
    tolerance: NDArray[np.float64]
    """[...] delta."""
    iterations: NDArray[np.int64]
    """[...] of both phases."""
    converged: NDArray[np.bool_]
    """[...] the gap asked for was reached."""
    error_bar: NDArray[np.float64]
    """[...] bound on the Euclidean distance of all effects of order >= 2 to the one optimum of the regularised programme
    (docs/design/solver.md): what stopping early can have changed. Often ten times the true distance, and more."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes."""
        return self.v_empty.shape

    @property
    def effects(self) -> NDArray[np.float64]:
        """[..., 2, 2^n]: row 0 AND, row 1 OR (a new array)."""
        return np.stack([self.and_effects, self.or_effects], axis=-2)

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
        size_and, size_or = np.abs(self.and_effects), np.abs(self.or_effects)
        if threshold is None:
            if not (isinstance(ratio, (int, float, np.number)) and 0 <= ratio < 1):
                raise InterplayError(
                    f"ratio is {ratio!r}; expected a share of the largest effect, 0 or more and under 1"
                )
            tau = np.asarray(ratio * np.maximum(size_and.max(-1), size_or.max(-1)))
        else:
            tau = _per_sample(threshold, self.shape, "threshold")
        kept_and, kept_or = size_and > tau[..., None], size_or > tau[..., None]
        kept_and[..., 0] = kept_or[..., 0] = False  # order 0 is never an interaction
        return Salient(kept_and, kept_or, tau)

    def to_pandas(
        self,
        words: Sequence[Any] | None = None,
        salient_only: bool = True,
        ratio: float = SALIENT_RATIO,
    ) -> "pandas.DataFrame":
        """A tidy table, one row per effect, largest |effect| first.

        Columns: sample (position along the leading axes, flattened), type ("and" or "or"), mask, order, words, effect.
        `words` is the n words of every sample, or one such list per sample; without it `words` holds word indices.
        `salient_only=False` lists every effect that is not exactly zero.

        >>> exact = extract([0, 2, 3, 10], tolerance=0)
        >>> exact.to_pandas(["not", "bad"])[["mask", "words", "effect"]].round(2).values.tolist()
        [[3, ('not', 'bad'), 5.0], [2, ('bad',), 3.0], [1, ('not',), 2.0]]
        """
        import pandas as pd

        samples = math.prod(self.shape)
        names = _words_per_sample(words, samples, self.n)
        effects = self.effects.reshape(samples, 2, 2**self.n)
        if salient_only:
            kept = self.salient(ratio)
            chosen = np.stack([kept.and_, kept.or_], axis=-2).reshape(effects.shape)
        else:
            chosen = effects != 0
        sample, kind, mask = np.nonzero(chosen)
        effect = effects[sample, kind, mask]
        rank = np.argsort(-np.abs(effect), kind="stable")
        sample, kind, mask, effect = sample[rank], kind[rank], mask[rank], effect[rank]
        members = [tuple(names[s][i] for i in range(self.n) if m >> i & 1) for s, m in zip(sample, mask, strict=True)]
        columns = {
            "sample": sample,
            "type": np.array(["and", "or"], dtype=object)[kind],
            "mask": mask,
            "order": orders(self.n)[mask],
            "words": pd.Series(members, dtype=object),
            "effect": effect,
        }
        return pd.DataFrame(columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, under a temporary name first: `path` is never half a file."""
        from safetensors.numpy import save

        path = Path(path)
        tensors = {f.name: np.array(getattr(self, f.name), order="C") for f in fields(self) if f.name != "n"}
        # one entry only: safetensors writes its metadata in no fixed order, and the same result should be the same bytes
        data = save(tensors, metadata={_FORMAT: json.dumps({"version": _VERSION, "n": self.n})})
        write_bytes(path, data, folders=None)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Interactions":
        """Read what `save` wrote; any other file is refused with a message."""
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        try:
            with safe_open(path, framework="np") as file:
                n = _word_count(path, (file.metadata() or {}).get(_FORMAT))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            raise InterplayError(f"{path} does not exist; expected a file written by Interactions.save") from None
        except (SafetensorError, OSError) as error:
            raise InterplayError(
                f"{path} cannot be read as safetensors ({error}); expected a file written by Interactions.save"
            ) from None
        return cls(**_checked(path, n, tensors))

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
        depth = len(self.shape)
        return Interactions(n=self.n, **{name: x.reshape(-1, *x.shape[depth:])[chosen] for name, x in flat.items()})

    def __iter__(self) -> Iterator["Interactions"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        kept = self.salient()
        where = f"{'x'.join(map(str, self.shape))} samples, " if self.shape else ""
        if math.prod(self.shape) == 0:
            return f"Interactions({where}n={self.n})"
        ands, ors = kept.and_.sum(-1), kept.or_.sum(-1)
        state = "converged" if self.converged.all() else f"{int((~self.converged).sum())} not converged"
        return (
            f"Interactions({where}n={self.n}, salient {_span(ands)} AND + {_span(ors)} OR, "
            f"objective {_span(self.objective)}, gap <= {self.duality_gap.max():.1e}, {state})"
        )


def _span(x: Any) -> str:
    low, high = f"{np.min(x):.4g}", f"{np.max(x):.4g}"
    return low if low == high else f"{low}..{high}"


def _words_per_sample(words: Sequence[Any] | None, samples: int, n: int) -> Sequence[Sequence[Any]]:
    if words is None:
        return [range(n)] * samples
    if all(isinstance(word, str) for word in words):
        if len(words) != n:
            raise InterplayError(f"{len(words)} words were given for scores of n = {n} words; expected {n}")
        return [words] * samples
    if len(words) != samples or any(isinstance(w, str) or len(w) != n for w in words):
        raise InterplayError(f"words must be {n} strings, or one list of {n} strings for each of the {samples} samples")
    return words


def _word_count(path: Path, header: str | None) -> int:
    try:
        found = json.loads(header or "null")
        version, n = found["version"], found["n"]
    except (ValueError, TypeError, KeyError):
        raise InterplayError(f"{path} is no Interactions file; expected a file written by Interactions.save") from None
    if version != _VERSION or not (isinstance(n, int) and 1 <= n <= EXACT_WORDS):
        raise InterplayError(
            f"{path} holds version {_short(version)} with n = {_short(n)}; expected version {_VERSION}, n = 1..{EXACT_WORDS}"
        )
    return n


def _checked(path: Path, n: int, tensors: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(Interactions)} - {"n"}
    kinds = {"iterations": "i", "converged": "b"}
    if set(tensors) != names:
        raise InterplayError(f"{path} is not a complete Interactions file; write it again with Interactions.save")
    leading = tensors["v_empty"].shape
    for name, x in tensors.items():
        shape = (*leading, 2**n) if name.endswith("_effects") else leading
        if x.shape != shape or x.dtype.kind != kinds.get(name, "f"):
            raise InterplayError(f"{path}: {name} is {x.dtype} {list(x.shape)}; expected shape {list(shape)}")
    return {"n": n, **tensors}


def _as_float64(scores: Any) -> NDArray[np.float64]:
    if hasattr(scores, "detach"):  # a torch tensor, on any device and of any precision; torch need not be imported here
        scores = scores.detach().cpu().double().numpy()
    given = type(scores).__name__
    expected = "expected an array (..., 2**n) of real numbers"
    if isinstance(scores, (str, bytes, dict, set)) or scores is None:
        raise InterplayError(f"scores are a {given}; {expected}")
    try:
        x = np.asarray(scores)
    except (ValueError, TypeError, RuntimeError):
        raise InterplayError(f"scores are a {given} that is no rectangular array; {expected}") from None
    if x.dtype.kind not in "fiub" and x.size:
        raise InterplayError(f"scores are a {given} with entries of type {x.dtype}; {expected}")
    return np.array(x, dtype=np.float64, order="C")


def _per_sample(value: Any, shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    try:
        x = np.broadcast_to(np.asarray(value, dtype=np.float64), shape).copy()
    except (ValueError, TypeError):
        raise InterplayError(
            f"{name} is {_short(value)}; expected one number, or numbers that broadcast to the leading axes {list(shape)}"
        ) from None
    if not np.isfinite(x).all() or (x < 0).any():
        bad = x[~(np.isfinite(x) & (x >= 0))].flat[0]
        raise InterplayError(f"{name} is {bad:g}; expected a finite number, 0 or more")
    return x


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def default_tolerance(total_effect: ArrayLike, noise_sigma: ArrayLike = 0.0) -> NDArray[np.float64]:
    """How far each score may be missed unless the user says otherwise: the one default of `extract`, `explain` and a run.

    2 % of |v(N) - v(empty)| [lineage], and at least 3 standard deviations of the noise of v where it was measured (not NaN)
    [ours]. Arrays are taken element by element; units are those of the scores.

    >>> default_tolerance(-5.0), default_tolerance(5.0, 0.1).round(3), default_tolerance(5.0, math.nan)
    (np.float64(0.1), np.float64(0.3), np.float64(0.1))
    """
    size = np.abs(np.asarray(total_effect, dtype=np.float64))
    return np.fmax(TOLERANCE_SHARE * size, TOLERANCE_SIGMAS * np.asarray(noise_sigma, dtype=np.float64))


def extract(
    scores: Any,
    tolerance: ArrayLike | Literal["auto"] = "auto",
    duality_gap: float = 1e-3,
    *,
    max_iterations: int = 20_000,
    device: str | None = None,
) -> Interactions:
    """The sparsest AND-OR explanation of scores, certified: min sum of |effects| that match them within the tolerance.

    scores: (..., 2**n) array, list or tensor of log-odds, index = coalition (bit i set: word i kept), 1 <= n <= 16; or
        `Scores` of `interplay.score`, or one sample of it.
    tolerance: delta >= 0 in the same units, one number or one per sample: how far each score may be missed. "auto" is what
        `interplay explain` and a run use (`default_tolerance`): 2 % of |v(N) - v(empty)| of the sample, at least 3 standard
        deviations of the noise of v, which `Scores` know and plain numbers do not. 0 asks for the exact split.
    duality_gap: relative duality gap asked for. Among near-ties the answer is the one of low order and least squares
        (docs/design/solver.md), so it is a unique, continuous function of the scores.
    max_iterations: of each of the two phases; where it is hit the result says so and a RuntimeWarning is given.
    device: None solves with numpy on the CPU (a sample's result then has the same bytes whatever else is in the batch);
        "cuda" and the like solve in float64 with torch there, equal within the gap only.

    >>> game = extract([0, 0, 0, 0, 0, 0, 0, 2.0], tolerance=0)        # all three words are needed: one AND of order 3
    >>> game.and_effects.round(3) + 0.0
    array([0., 0., 0., 0., 0., 0., 0., 2.])
    >>> either = extract([0, 1, 1, 1, 1, 1, 1, 1], tolerance=0)        # any one of three words: one OR, not seven ANDs
    >>> float(either.or_effects[7].round(3)), float(either.objective.round(3))
    (1.0, 1.0)
    >>> extract([0, 0, 0, 2.0]).tolerance.item()
    0.04
    """
    known = [getattr(x, "noise_sigma", 0.0) for x in (scores if isinstance(scores, (list, tuple)) else [])]
    noise = known if any(known) else getattr(scores, "noise_sigma", 0.0)
    v = _as_float64(scores)
    if v.ndim == 0:
        raise InterplayError("scores are a single number; expected an array (..., 2**n), one score per coalition")
    n = v.shape[-1].bit_length() - 1
    if v.shape[-1] != 1 << max(n, 0) or not 1 <= n <= EXACT_WORDS:
        raise InterplayError(
            f"scores have {v.shape[-1]} entries on the last axis; expected 2**n for n = 1..{EXACT_WORDS} words"
        )
    if not np.isfinite(v).all():
        raise InterplayError(
            f"scores hold {int((~np.isfinite(v)).sum())} NaN or infinite of {v.size}; expected finite log-odds: "
            "compute them as logit_y - logsumexp(other logits)"
        )
    leading = v.shape[:-1]
    if isinstance(tolerance, str) and tolerance == "auto":
        tolerance = default_tolerance(v[..., -1] - v[..., 0], noise)
    delta = _per_sample(tolerance, leading, "tolerance")
    if not (isinstance(duality_gap, (int, float, np.number)) and 0 < duality_gap < 1):
        raise InterplayError(
            f"duality_gap is {_short(duality_gap)}; expected a relative duality gap between 0 and 1, such as 1e-3"
        )
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, (int, np.integer)) or max_iterations < 1:
        raise InterplayError(f"max_iterations is {_short(max_iterations)}; expected a whole number, 1 or more")

    flat = v.reshape(-1, 1 << n)
    v_empty = flat[:, 0].copy()
    u = flat - v_empty[:, None]
    split = solve(u, delta.reshape(-1), float(duality_gap), int(max_iterations), device)
    objective = np.abs(split.and_effects).sum(-1) + np.abs(split.or_effects).sum(-1)
    reached = np.where(objective > 0, (objective - split.dual) / np.where(objective > 0, objective, 1.0), 0.0)
    reached = np.maximum(reached, 0.0)
    residual = np.abs(flat - reconstruct(split.and_effects, split.or_effects, v_empty)).max(-1, initial=0.0)
    converged = reached <= duality_gap
    if not converged.all():
        warnings.warn(
            f"{int((~converged).sum())} of {len(flat)} samples did not reach gap {duality_gap:g} in {max_iterations} iterations "
            f"(worst {reached.max():.2g}); raise max_iterations or duality_gap, or a tolerance that is zero",
            RuntimeWarning,
            stacklevel=2,
        )
    return Interactions(
        n=n,
        and_effects=split.and_effects.reshape(v.shape),
        or_effects=split.or_effects.reshape(v.shape),
        v_empty=v_empty.reshape(leading),
        objective=objective.reshape(leading),
        duality_gap=reached.reshape(leading),
        residual=residual.reshape(leading),
        tolerance=delta,
        iterations=split.iterations.reshape(leading),
        converged=converged.reshape(leading),
        error_bar=split.error_bar.reshape(leading),
    )
