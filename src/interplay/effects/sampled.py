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
from interplay.effects.sampled_result import MAX_WORDS, SampledInteractions, as_masks, number
from interplay.errors import InterplayError

MAX_COALITIONS = 1 << 20
PENALTIES, SMALLEST = 50, 1e-4  # penalties tried, evenly spaced in the logarithm, down to this share of the largest [ours]
PATH_GAP = 1e-2  # of the solutions that are only compared; the chosen one is solved to the gap asked for
PATIENCE = 8  # penalties without a better prediction of the rows left out after which a fold stops
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
    n = _whole(n, "n", 1, MAX_WORDS)
    count = _whole(count, "count", 2, MAX_COALITIONS)
    order = min(_whole(order, "order", 1), n)
    rng = np.random.default_rng(_whole(seed, "seed", 0))
    if count >= 1 << n:
        return np.arange(1 << n, dtype=np.uint64)
    levels = 2.0 ** (-1.0 / np.arange(1, order + 1))
    levels = np.concatenate([levels, 1.0 - levels])
    full = (1 << n) - 1
    if 1 << n <= 8 * count:  # too many of all to wait for new ones: the same law in one go (Efraimidis and Spirakis 2006)
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
            if np.count_nonzero(path.value) > len(y_train) // 2:
                break  # more effects than a half of the rows predicts nothing
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
    gap: float = 1e-3,
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
    gap: relative duality gap asked of the penalised programme.
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
    n = _whole(n, "n", 1, MAX_WORDS)
    order = min(_whole(order, "order", 1), n)
    folds = _whole(folds, "folds", 2)
    seed = _whole(seed, "seed", 0)
    asked = None if tolerance is None else number(tolerance, "tolerance")
    if not (isinstance(holdout, (int, float, np.number)) and 0 <= holdout < 1):
        raise InterplayError(f"holdout is {_short(holdout)}; expected a share of the coalitions, 0 or more and under 1")
    if not (isinstance(gap, (int, float, np.number)) and 0 < gap < 1):
        raise InterplayError(f"gap is {_short(gap)}; expected a relative duality gap between 0 and 1, such as 1e-3")
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
    return _fit(masks, v, n, order, asked, parts, float(gap), folds, rng)


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


def _fit(
    masks: Masks,
    v: NDArray[np.float64],
    n: int,
    order: int,
    asked: float | None,
    parts: _Parts,
    gap: float,
    folds: int,
    rng: np.random.Generator,
) -> SampledInteractions:
    size = float(np.abs(v).max())
    unit = size or 1.0
    inside = v[parts.fit] / unit
    spread = float(inside.std())
    dictionary = Dictionary(n, order)
    none = np.empty(0, dtype=np.int64)
    support, penalised, effects, penalty, reached = none, np.empty(0), np.empty(0), 0.0, 0.0
    rule = "constant scores"
    rows = Rows(dictionary, masks[parts.fit])
    center = float(inside.mean())
    if spread > CONSTANT:
        y = (inside - center) / spread  # the solver's units: scores of mean 0 and standard deviation 1
        path = Path(rows, y)
        grid = path.largest * np.geomspace(1.0, SMALLEST, PENALTIES)
        last = PENALTIES - 1
        rule = "smallest penalty"
        if asked is not None:
            rule = "tolerance"
        elif len(y) >= 4 * folds:
            rule = "cross-validation"
            last = _cross_validate(dictionary, masks[parts.fit], y, grid, folds, rng)
        limit = None if asked is None else max(asked / unit / spread, math.sqrt(SAME))
        index, value = none, np.empty(0)
        for i, penalty in enumerate(grid[: last + 1]):
            final = i == last
            if i:
                path.solve(penalty, gap if final or asked is not None else PATH_GAP)
            if final or limit is not None:
                index, value = path.refit()
            if limit is not None and _misfit(y, rows, index, value) <= limit:
                break
        chosen = np.flatnonzero(path.value)
        support, penalised = path.index[chosen], path.value[chosen]
        effects = np.zeros(len(support))
        effects[np.searchsorted(np.sort(support), index)] = value
        penalised = penalised[np.argsort(support)]
        support = np.sort(support)
        reached = dual_gap(rows, y, support, penalised)
    scale = unit * spread
    intercept = (center + spread * _intercept((inside - center) / spread, rows, support, effects)) * unit if len(
        support
    ) else center * unit
    return _result(
        masks, v, n, order, asked, parts, gap, dictionary, support, penalised * scale, effects * scale, intercept,
        float(penalty) * scale, reached, rule,
    )


def _misfit(y: NDArray[np.float64], rows: Rows, index: NDArray[np.int64], value: NDArray[np.float64]) -> float:
    return float((y - rows.columns(index) @ value).std())
