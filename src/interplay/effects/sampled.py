"""Beyond 16 words: which coalitions to score, and the sparse AND-OR fit to their scores in least squares [ours].

Reasons and measurements: docs/design/sampled.md.
"""

import functools
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interplay.effects.dictionary import MAX_COLUMNS, Dictionary, Masks, Rows, column_count, evaluate, popcount
from interplay.effects.inputs import as_float64, as_masks, fraction, per_sample, whole
from interplay.effects.interactions import SampledInteractions
from interplay.effects.penalised import Path, dual_gap
from interplay.errors import InterplayError
from interplay.limits import SAMPLED_WORDS

MAX_COALITIONS = 1 << 20
PENALTIES, SMALLEST = 50, 1e-4  # penalties tried, evenly spaced in the logarithm, down to this part of the largest
PATH_GAP = 1e-2  # of the solutions that are only compared; the chosen one is solved to the gap asked for
PATIENCE = 8  # penalties without a better prediction of the rows left out after which a fold stops
MOST = 0.8  # effects for each fitted row beyond which smaller penalties are not tried: they would fit any scores [ours]
SAME = 1e-8  # squared errors under this part of the variance are all the same: exact
CONSTANT = 1e-13  # scores that vary by less than this part of their size are constant, to rounding
UNFAITHFUL = 0.5  # R2 on coalitions never fitted under which a warning is given [ours]


def sample_coalitions(n: int, count: int, seed: int = 0, *, order: int = 3) -> Masks:
    """`count` distinct coalitions of n words to score, ascending uint64 [count]: none and all, the rest drawn.

    All 2^n when count >= 2^n. Each draw keeps every word with one probability, itself drawn from 2^(-1/k) and 1 - 2^(-1/k),
    k = 1..order: at the first an AND of order k is on in half of the draws, at the second an OR is [ours].

    >>> sample_coalitions(2, 100).tolist(), len(sample_coalitions(24, 500))
    ([0, 1, 2, 3], 500)
    """
    n = whole(n, "n", 1, SAMPLED_WORDS)
    count = whole(count, "count", 2, MAX_COALITIONS)
    order = min(whole(order, "order", 1), n)
    rng = np.random.default_rng(whole(seed, "seed", 0))
    if count >= 1 << n:
        return np.arange(1 << n, dtype=np.uint64)
    levels = 2.0 ** (-1.0 / np.arange(1, order + 1))
    levels = np.concatenate([levels, 1.0 - levels])
    full = (1 << n) - 1
    if 1 << n <= 8 * count:  # new ones would be rare: the same law in one go (Efraimidis and Spirakis 2006)
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

    coalitions: m distinct bitmasks under 2**n (bit i set: word i kept), the empty and the full one among them, in any order.
    scores: the m log-odds, in the same order.
    n: number of words, up to 64. order: AND of orders 1..order and OR of orders 2..order, 131,072 columns at most.
    tolerance: None: the penalty is chosen by cross-validation over `folds` folds of the fitted coalitions. A number >= 0:
        the root mean square by which the scores may be missed (their noise); the largest penalty whose refitted effects
        miss them by no more is taken (discrepancy principle).
    holdout: fraction of the coalitions that is never fitted and gives `r2`; 0 for none.
    duality_gap: relative duality gap asked of the penalised programme.
    seed: of the choice of held-out coalitions and folds.

    Warns (RuntimeWarning) where the effects explain under half of the held-out variance, or the tolerance or gap is not reached.

    >>> masks = sample_coalitions(20, 300, order=2)
    >>> v = [1.0 + 2.0 * (t & 3 == 3) - 0.5 * (t & 12 != 0) for t in masks.tolist()]    # AND of words 0, 1; OR of 2, 3
    >>> found = extract_sampled(masks, v, 20, order=2)
    >>> found.to_pandas()[["type", "mask", "effect"]].round(6).values.tolist()
    [['and', 3, 2.0], ['or', 12, -0.5]]
    >>> round(found.r2, 6), found.held_out, round(found.v_empty, 6)
    (1.0, 60, 1.0)
    """
    n = whole(n, "n", 1, SAMPLED_WORDS)
    order = min(whole(order, "order", 1), n)
    folds = whole(folds, "folds", 2)
    seed = whole(seed, "seed", 0)
    asked = None if tolerance is None else float(per_sample(tolerance, (), "tolerance"))
    holdout = fraction(holdout, "holdout", "a fraction of the coalitions")
    duality_gap = fraction(duality_gap, "duality_gap", "a relative duality gap such as 1e-3", zero=False)
    if column_count(n, order) > MAX_COLUMNS:
        fits = max(d for d in range(1, order) if column_count(n, d) <= MAX_COLUMNS)
        raise InterplayError(
            f"order {order} of {n} words makes {column_count(n, order):,} columns, over {MAX_COLUMNS:,}; "
            f"order {fits} fits ({column_count(n, fits):,})"
        )
    masks, v = _table(coalitions, scores, n)
    rng = np.random.default_rng(seed)
    inner = np.flatnonzero((masks != 0) & (popcount(masks) != n))  # none and all words kept are always fitted
    is_held = np.zeros(len(masks), dtype=bool)
    is_held[rng.permutation(inner)[: round(holdout * len(masks))]] = True
    fitted = int((~is_held).sum())
    needed = min(n + 2, 1 << n)
    if fitted < needed:
        raise InterplayError(
            f"{len(masks)} coalitions, {is_held.sum()} of them held out, leave {fitted} to fit; "
            f"expected {needed} or more for {n} words: score more coalitions"
        )
    dictionary = Dictionary(n, order)
    rows = Rows(dictionary, masks[~is_held])
    unit = float(np.abs(v).max()) or 1.0  # squares of scores in this unit neither overflow nor vanish
    inside = v[~is_held] / unit
    center, spread = float(inside.mean()), float(inside.std())
    if spread > CONSTANT:
        y = (inside - center) / spread  # the solver's units: scores of mean 0 and standard deviation 1
        limit = None if asked is None else max(asked / unit / spread, math.sqrt(SAME))
        chosen = _choose(rows, y, limit, duality_gap, folds, rng)
    else:
        none = np.empty(0)
        chosen = _Chosen(np.empty(0, dtype=np.int64), none, none, 0.0, 0.0, 0.0, "constant scores")
    # back to the units of the scores; what the effects explain is measured from the effects themselves
    center, scale = center * unit, spread * unit
    index = chosen.index
    index = index[by_mask := np.lexsort((dictionary.is_or[index], dictionary.masks[index]))]
    sets, is_or, effects = dictionary.masks[index], dictionary.is_or[index], chosen.refitted[by_mask] * scale
    v_empty = center + scale * chosen.intercept
    rest = v - v_empty - evaluate(masks, sets, is_or) @ effects
    misfit = unit * float(np.sqrt(np.mean((rest[~is_held] / unit) ** 2)))
    total_effect = float(v[-1] - v[0])
    held, missed = v[is_held] / unit, rest[is_held] / unit
    explained = math.nan
    if abs(total_effect) > CONSTANT * unit:
        explained = 1.0 - float(rest[-1] - rest[0]) / total_effect
    known = len(held) >= 2 and held.std() > CONSTANT
    r2 = 1.0 - float(np.sum(missed**2) / np.sum((held - held.mean()) ** 2)) if known else math.nan
    found = SampledInteractions(
        n=n,
        order=order,
        masks=sets,
        is_or=is_or,
        effects=effects,
        penalised=chosen.penalised[by_mask] * scale,
        v_empty=v_empty,
        objective=float(np.abs(effects).sum()),
        duality_gap=chosen.duality_gap,
        residual=float(np.abs(rest[~is_held]).max()),
        misfit=misfit,
        tolerance=math.nan if asked is None else asked,
        converged=chosen.duality_gap <= duality_gap,
        penalty=chosen.penalty * scale,
        rule=chosen.rule,
        columns=len(dictionary),
        fitted=fitted,
        held_out=len(held),
        r2=r2,
        total_effect_fraction=explained,
    )
    warn = functools.partial(warnings.warn, category=RuntimeWarning, stacklevel=2)
    if not found.converged:
        warn(f"the penalised programme reached gap {found.duality_gap:.2g}, not {duality_gap:g}; raise duality_gap")
    if chosen.rule == "tolerance" and misfit > max(found.tolerance, 2 * math.sqrt(SAME) * scale):
        warn(
            f"orders up to {found.order} miss the scores by {misfit:.3g} (root mean square), not {found.tolerance:.3g}; "
            "raise tolerance or order"
        )
    if r2 < UNFAITHFUL:
        warn(
            f"the effects explain {max(r2, 0.0):.0%} of the variance of coalitions never fitted: noise, orders above "
            f"{found.order}, or too few coalitions; do not read them as the model's"
        )
    return found


def _table(coalitions: Any, scores: Any, n: int) -> tuple[Masks, NDArray[np.float64]]:
    """Coalitions and scores, checked and sorted by coalition: the given order must not matter."""
    masks, v = as_masks(coalitions, n), as_float64(scores)
    if v.ndim != 1 or len(v) != len(masks):
        raise InterplayError(f"scores have shape {list(v.shape)}; expected [{len(masks)}], one per coalition")
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
        exact = limit is not None or i == last  # the others only lead there
        if i:
            path.solve(penalty, duality_gap if exact else PATH_GAP, ties=exact)
            if limit is not None and np.count_nonzero(path.value) > MOST * len(y):
                break
        if exact:
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
