"""Beyond 16 words: which coalitions to score, and the sparse AND-OR fit to their scores.

2^n ends the exact road (`interactions.py`). Here m chosen coalitions are scored and the same programme, rows = sampled
coalitions, columns = AND and OR up to a chosen order, is fitted in least squares [method: beyond 16 words; ours]. Why each
choice, and what was measured: docs/design/sampled.md. Scores nothing itself and knows no models.
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interplay.effects.dictionary import MAX_COLUMNS, Dictionary, Masks, Rows, column_count, evaluate, popcount
from interplay.effects.interactions import _as_float64, _short
from interplay.effects.penalised import Path, dual_gap
from interplay.effects.sampled_result import SampledInteractions, as_masks, number
from interplay.errors import InterplayError
from interplay.limits import SAMPLED_WORDS

MAX_COALITIONS = 1 << 20
PENALTIES, SMALLEST = (
    50,
    1e-4,
)  # penalties tried, evenly spaced in the logarithm, down to this share of the largest [ours]
PATH_GAP = 1e-2  # of the solutions that are only compared; the chosen one is solved to the gap asked for
PATIENCE = 8  # penalties without a better prediction of the rows left out after which a fold stops
MOST = 0.8  # effects for each fitted row beyond which smaller penalties are not tried: they would fit any scores [ours]
SAME = 1e-8  # squared errors under this share of the variance are all the same: exact
CONSTANT = 1e-13  # scores that vary by less than this share of their size are constant, to rounding
UNFAITHFUL = 0.5  # R2 on coalitions never fitted under which a warning is given [ours]


def _whole(value: Any, name: str, low: int, high: int | None = None) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bound = f"{low} or more" if high is None else f"{low}..{high}"
        raise InterplayError(f"{name} is {_short(value)}; expected a whole number, {bound}")
    return int(value)


def sample_coalitions(n: int, count: int, seed: int = 0, *, order: int = 3) -> Masks:
    """`count` distinct coalitions of n words to score, ascending uint64 [count]: none and all, the rest drawn.

    All 2^n when count >= 2^n. Each draw keeps every word with one probability p, itself drawn from 2^(-1/k) and
    1 - 2^(-1/k), k = 1..order: at the first an AND of order k is on in half of the draws, at the second an OR is. With one
    coin for all (p = 1/2) an AND of order 5 is on in 3 % and an OR in 97 %, and neither is measured [ours].
    The same arguments give the same coalitions.

    >>> sample_coalitions(2, 100).tolist(), len(sample_coalitions(24, 500))
    ([0, 1, 2, 3], 500)
    """
    n = _whole(n, "n", 1, SAMPLED_WORDS)
    count = _whole(count, "count", 2, MAX_COALITIONS)
    order = min(_whole(order, "order", 1), n)
    rng = np.random.default_rng(_whole(seed, "seed", 0))
    if count >= 1 << n:
        return np.arange(1 << n, dtype=np.uint64)
    levels = 2.0 ** (-1.0 / np.arange(1, order + 1))
    levels = np.concatenate([levels, 1.0 - levels])
    full = (1 << n) - 1
    if (
        1 << n <= 8 * count
    ):  # too many of all to wait for new ones: the same law in one go (Efraimidis and Spirakis 2006)
        every = np.arange(1, full, dtype=np.uint64)
        kept = np.arange(n + 1)[:, None]
        weight = (levels**kept * (1.0 - levels) ** (n - kept)).mean(1)  # of one coalition, by its size
        key = np.log(weight[popcount(every)]) + rng.gumbel(size=len(every))
        drawn = every[np.argsort(-key, kind="stable")[: count - 2]]
        return np.sort(np.concatenate([np.array([0, full], dtype=np.uint64), drawn]))
    bits = np.uint64(1) << np.arange(n, dtype=np.uint64)
    chosen = dict.fromkeys([0, full])
    while len(chosen) < count:
        level = levels[rng.integers(len(levels), size=1024)]
        masks = (rng.random((1024, n)) < level[:, None]) @ bits
        chosen.update(dict.fromkeys(masks.tolist()))
    return np.sort(np.array(list(chosen)[:count], dtype=np.uint64))


class _Parts(NamedTuple):
    """Rows to fit and rows never to fit, as positions."""

    fit: NDArray[np.int64]
    held: NDArray[np.int64]


def _hold_out(coalitions: Masks, n: int, share: float, rng: np.random.Generator) -> _Parts:
    """A share of the rows, drawn; none and all words kept are always fitted."""
    m = len(coalitions)
    inner = np.flatnonzero((coalitions != 0) & (popcount(coalitions) != n))
    held = np.sort(rng.permutation(inner)[: min(round(share * m), len(inner))])
    return _Parts(np.setdiff1d(np.arange(m), held), held)


def _intercept(y: NDArray[np.float64], rows: Rows, index: NDArray[np.int64], value: NDArray[np.float64]) -> float:
    return float((y - rows.columns(index) @ value).mean())


def _cross_validate(
    dictionary: Dictionary, coalitions: Masks, y: Any, grid: Any, folds: int, rng: np.random.Generator
) -> int:
    """Position in `grid` of the largest penalty whose refitted error is within one standard error of the least."""
    fold = rng.permutation(len(y)) % folds
    errors = np.full((folds, len(grid)), np.inf)
    for k in range(folds):
        train, test = Rows(dictionary, coalitions[fold != k]), Rows(dictionary, coalitions[fold == k])
        y_train, y_test = y[fold != k], y[fold == k]
        path = Path(train, y_train)
        best, since = np.inf, 0
        for i, penalty in enumerate(grid):
            if penalty < path.largest:
                path.solve(penalty, PATH_GAP)
            if np.count_nonzero(path.value) > MOST * len(y_train):
                break
            index, value = path.refit()
            predicted = _intercept(y_train, train, index, value) + test.columns(index) @ value
            errors[k, i] = np.mean((y_test - predicted) ** 2)
            since = 0 if errors[k, i] < (1 - 1e-3) * best else since + 1
            best = min(best, errors[k, i])
            if best < SAME**2 or since >= PATIENCE:
                errors[k, i + 1 :] = errors[k, i] if best < SAME**2 else np.inf
                break
    mean = errors.mean(0)
    least = int(np.argmin(mean))
    spread = errors[:, least].std(ddof=1) / math.sqrt(folds)
    return int(np.flatnonzero(mean <= mean[least] + spread + SAME)[0])


def extract_sampled(
    coalitions: Any,
    scores: Any,
    n: int,
    *,
    order: int = 3,
    tolerance: float | None = None,
    holdout: float = 0.2,
    duality_gap: float = 1e-3,
    folds: int = 5,
    seed: int = 0,
) -> SampledInteractions:
    """The sparse AND-OR explanation of scores on sampled coalitions, with its faithfulness on coalitions never fitted.

    coalitions: m distinct bitmasks under 2**n (bit i set: word i kept), the empty and the full one among them; from
        `sample_coalitions`. Their order plays no part.
    scores: the m log-odds, in the same order.
    n: number of words, up to 64. order: AND of orders 1..order and OR of orders 2..order are looked for; refused where
        that makes more than 131,072 columns.
    tolerance: None: the penalty is chosen by cross-validation over `folds` folds of the fitted coalitions. A number >= 0:
        the root mean square by which the scores may be missed (their noise); the largest penalty whose refitted effects
        miss them by no more is taken (discrepancy principle).
    holdout: share of the coalitions that is never fitted and gives `r2`; 0 for none.
    duality_gap: relative duality gap asked of the penalised programme.
    seed: of the choice of held-out coalitions and folds. The same arguments give the same bytes on one machine.

    Warns (RuntimeWarning) where the effects explain under half of the held-out variance, where the tolerance or the gap is
    not reached. Raises InterplayError for what cannot be used.

    >>> masks = sample_coalitions(20, 300, order=2)
    >>> v = [1.0 + 2.0 * (t & 3 == 3) - 0.5 * (t & 12 != 0) for t in masks.tolist()]    # AND of words 0, 1; OR of 2, 3
    >>> found = extract_sampled(masks, v, 20, order=2)
    >>> found.to_pandas()[["type", "mask", "effect"]].round(6).values.tolist()
    [['and', 3, 2.0], ['or', 12, -0.5]]
    >>> round(found.r2, 6), found.held_out, round(found.v_empty, 6)
    (1.0, 60, 1.0)
    """
    n = _whole(n, "n", 1, SAMPLED_WORDS)
    order = min(_whole(order, "order", 1), n)
    folds = _whole(folds, "folds", 2)
    seed = _whole(seed, "seed", 0)
    asked = None if tolerance is None else number(tolerance, "tolerance")
    if not (isinstance(holdout, (int, float, np.number)) and 0 <= holdout < 1):
        raise InterplayError(f"holdout is {_short(holdout)}; expected a share of the coalitions, 0 or more and under 1")
    if not (isinstance(duality_gap, (int, float, np.number)) and 0 < duality_gap < 1):
        raise InterplayError(
            f"duality_gap is {_short(duality_gap)}; expected a relative duality gap between 0 and 1, such as 1e-3"
        )
    if column_count(n, order) > MAX_COLUMNS:
        fits = max(d for d in range(1, order) if column_count(n, d) <= MAX_COLUMNS)
        raise InterplayError(
            f"order {order} of {n} words makes {column_count(n, order):,} columns, over {MAX_COLUMNS:,}; "
            f"order {fits} fits ({column_count(n, fits):,})"
        )
    masks, v = _table(coalitions, scores, n)
    rng = np.random.default_rng(seed)
    parts = _hold_out(masks, n, float(holdout), rng)
    needed = min(n + 2, 1 << n)
    if len(parts.fit) < needed:
        raise InterplayError(
            f"{len(masks)} coalitions, {len(parts.held)} of them held out, leave {len(parts.fit)} to fit; "
            f"expected {needed} or more for {n} words: score more coalitions"
        )
    dictionary = Dictionary(n, order)
    rows = Rows(dictionary, masks[parts.fit])
    unit = float(np.abs(v).max()) or 1.0
    inside = v[parts.fit] / unit
    center, spread = float(inside.mean()), float(inside.std())
    if spread > CONSTANT:
        y = (inside - center) / spread  # the solver's units: scores of mean 0 and standard deviation 1
        limit = None if asked is None else max(asked / unit / spread, math.sqrt(SAME))
        chosen = _choose(rows, y, limit, float(duality_gap), folds, rng)
    else:
        none = np.empty(0)
        chosen = _Chosen(np.empty(0, dtype=np.int64), none, none, 0.0, 0.0, 0.0, "constant scores")
    return _result(masks, v, parts, dictionary, chosen, center * unit, spread * unit, asked, float(duality_gap))


def _table(coalitions: Any, scores: Any, n: int) -> tuple[Masks, NDArray[np.float64]]:
    """Coalitions and scores, checked and sorted by coalition: the given order must not matter."""
    masks, v = as_masks(coalitions, n, "coalitions"), _as_float64(scores)
    if v.ndim != 1 or len(v) != len(masks):
        raise InterplayError(f"scores have shape {list(v.shape)}; expected [{len(masks)}], one per coalition")
    if not np.isfinite(v).all():
        raise InterplayError(
            f"scores hold {int((~np.isfinite(v)).sum())} NaN or infinite of {v.size}; expected finite log-odds: "
            "compute them as logit_y - logsumexp(other logits)"
        )
    rank = np.argsort(masks, kind="stable")
    masks, v = masks[rank], v[rank]
    twice = np.flatnonzero(masks[1:] == masks[:-1])
    if len(twice):
        raise InterplayError(
            f"coalition {int(masks[twice[0]])} is given {int((masks == masks[twice[0]]).sum())} times; expected distinct ones"
        )
    if not len(masks) or masks[0] != 0 or int(masks[-1]) != (1 << n) - 1:
        raise InterplayError(
            f"coalitions lack none (0) or all (2**{n} - 1) of the words; expected both, as sample_coalitions gives them"
        )
    return masks, v


class _Chosen(NamedTuple):
    """The fit at the chosen penalty, in the solver's units: ascending columns, both solutions, and how it was chosen."""

    index: NDArray[np.int64]
    penalised: NDArray[np.float64]
    refitted: NDArray[np.float64]
    intercept: float
    penalty: float
    duality_gap: float
    rule: str


def _choose(
    rows: Rows, y: NDArray[np.float64], limit: float | None, duality_gap: float, folds: int, rng: np.random.Generator
) -> _Chosen:
    path = Path(rows, y)
    grid = path.largest * np.geomspace(1.0, SMALLEST, PENALTIES)
    last, rule = PENALTIES - 1, "smallest penalty"
    if limit is not None:
        rule = "tolerance"
    elif len(y) >= 4 * folds:  # with fewer rows a fold says nothing
        rule = "cross-validation"
        last = _cross_validate(rows.dictionary, rows.coalitions, y, grid, folds, rng)
    index, value, penalty = path.index, path.value, path.largest
    for i, penalty in enumerate(grid[: last + 1]):
        if i:
            path.solve(
                penalty,
                duality_gap if limit is not None or i == last else PATH_GAP,
                ties=limit is not None or i == last,
            )
            if limit is not None and np.count_nonzero(path.value) > MOST * len(y):
                break
        if limit is not None or i == last:
            index, value = path.refit()
            if limit is not None and (y - rows.columns(index) @ value).std() <= limit:
                break
    kept = np.flatnonzero(path.value)
    kept = kept[np.argsort(path.index[kept])]
    support, penalised = path.index[kept], path.value[kept]
    refitted = np.zeros(len(support))
    refitted[np.searchsorted(support, index)] = value
    reached = dual_gap(rows, y, support, penalised)
    return _Chosen(support, penalised, refitted, _intercept(y, rows, index, value), float(penalty), reached, rule)


def _result(
    masks: Masks,
    v: NDArray[np.float64],
    parts: _Parts,
    dictionary: Dictionary,
    chosen: _Chosen,
    center: float,
    scale: float,
    asked: float | None,
    duality_gap: float,
) -> SampledInteractions:
    """Back to the units of the scores; what the effects explain, measured from the effects themselves."""
    index = chosen.index
    index = index[by_mask := np.lexsort((dictionary.is_or[index], dictionary.masks[index]))]
    sets, is_or, effects = dictionary.masks[index], dictionary.is_or[index], chosen.refitted[by_mask] * scale
    v_empty = center + scale * chosen.intercept
    rest = v - v_empty - evaluate(masks, sets, is_or) @ effects
    largest = float(np.abs(v).max()) or 1.0  # squares of scores in these units neither overflow nor vanish
    misfit = largest * float(np.sqrt(np.mean((rest[parts.fit] / largest) ** 2)))
    whole = float(v[-1] - v[0])
    held, missed = v[parts.held] / largest, rest[parts.held] / largest
    known = len(held) >= 2 and held.std() > CONSTANT
    r2 = 1.0 - float(np.sum(missed**2) / np.sum((held - held.mean()) ** 2)) if known else math.nan
    found = SampledInteractions(
        n=dictionary.n,
        order=dictionary.order,
        masks=sets,
        is_or=is_or,
        effects=effects,
        penalised=chosen.penalised[by_mask] * scale,
        v_empty=v_empty,
        objective=float(np.abs(effects).sum()),
        duality_gap=chosen.duality_gap,
        residual=float(np.abs(rest[parts.fit]).max()),
        misfit=misfit,
        tolerance=math.nan if asked is None else asked,
        converged=chosen.duality_gap <= duality_gap,
        penalty=chosen.penalty * scale,
        rule=chosen.rule,
        columns=len(dictionary),
        fitted=len(parts.fit),
        held_out=len(parts.held),
        r2=r2,
        total_effect_fraction=1.0 - float(rest[-1] - rest[0]) / whole if abs(whole) > CONSTANT * largest else math.nan,
    )
    for wrong, said in (
        (
            not found.converged,
            f"the penalised programme reached gap {found.duality_gap:.2g}, not {duality_gap:g}; raise duality_gap",
        ),
        (
            chosen.rule == "tolerance" and misfit > max(found.tolerance, 2 * math.sqrt(SAME) * scale),
            f"orders up to {found.order} miss the scores by {misfit:.3g} (root mean square), not {found.tolerance:.3g}; "
            "raise tolerance or order",
        ),
        (
            r2 < UNFAITHFUL,
            f"the effects explain {max(r2, 0.0):.0%} of the variance of coalitions never fitted: noise, orders above "
            f"{found.order}, or too few coalitions; do not read them as the model's",
        ),
    ):
        if wrong:
            warnings.warn(said, RuntimeWarning, stacklevel=3)
    return found
