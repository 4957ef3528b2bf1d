"""The sparsest split of scores into AND and OR effects, with a certificate: the one linear programme behind `extract`.

    min |c|_1   subject to   |u(T) - (Phi c)(T)| <= delta  for every coalition T                        [ours; solver.md]

u = v - v(∅); Phi has the AND columns of orders 1..n and the OR columns of orders 2..n. Douglas-Rachford splitting, in two
phases: with a small ridge, which makes the answer a unique continuous function of the scores, then once more around that answer
to certify it for the programme without the ridge. Derivation and measurements: docs/design/solver.md.
"""

from typing import Any, NamedTuple

import numpy as np

from interplay.effects.moebius import (
    add_supersets,
    butterfly,
    moebius,
    reconstruct,
    subtract_subsets,
    subtract_supersets,
)
from interplay.effects.projection import Projection, cached_projection

# What breaks ties, and so is part of the answer  [ours]. The regularised programme is
#     min sum w_S |c_S| + mu/2 sum r_S c_S^2,    w, r = 1, ORDER_ONE for order 1 and 1 + ORDER_COST·omega, 1 above.
# AND{i} + AND{j} = AND{i,j} + OR{i,j} costs the same both ways: without w and r a sum of words comes out as pairs.
OMEGA = 1e-2  # mu = omega |x|_1 / |x|_2^2 at the start: the ridge adds about omega/2 of the objective
ORDER_COST = 0.5
ORDER_ONE = 1e-2
RIDGE_GAP, RIDGE_GAP_MOST = 0.1, 0.5  # the regularised programme is solved to this fraction of the gap asked for,
PATIENCE = 1000  # and after this many iterations to one that grows with them: wide tolerances converge slowly
SWALLOWED = 1e-12  # scores beyond the tolerance by less than this part of them are within it, to rounding

# Speed only: measured over planted, noisy, additive and network games of 7-10 words (docs/design/solver.md).
STEP = 0.5  # prox step, in units of the size-weighted mean size of the start
RELAXATION = 1.6
# Scale of the tolerance block against the effects, times sqrt(tolerance / size of u), as a power of two; beyond GAMMA_WORDS words
# twice as much for every two words.
GAMMA, GAMMA_WORDS = 7.0, 12
CHECK_EVERY, ROUND = 25, 100  # iterations between checks, and between moves of the center in the second phase
CHUNK, CHUNK_ON_DEVICE = 1 << 15, 1 << 22  # coalitions solved side by side


class Split(NamedTuple):
    """Effects of a batch [batch, 2^n] and their certificate [batch], in the units of v."""

    and_effects: Any
    or_effects: Any
    dual: Any  # lower bound on the objective of every split within the tolerance
    error_bar: Any  # bound on the Euclidean distance, orders 2 and up, to the optimum of the regularised programme
    iterations: Any


def dual_bound(u: Any, y: Any, delta: Any) -> Any:
    """Lower bound on the optimum from any multiplier y [..., 2^n]: (<u, y> - delta |y|_1) / max |Phi' y|, at least 0.
    u [..., 2^n] has u(∅) = 0, delta is [...]; y(∅) is ignored, as no effect changes v(∅).
    """
    u = np.asarray(u, dtype=np.float64)
    y = np.array(y, dtype=np.float64, order="C")
    y[..., 0] = 0.0
    value = (u * y).sum(-1) - np.asarray(delta) * np.abs(y).sum(-1)
    y[..., 0] = -y.sum(-1)  # then sum(y) = 0 and the OR columns are minus the AND columns of the complement
    sup_and = np.abs(butterfly(y.copy(), add_supersets)[..., 1:]).max(-1)
    sup_or = np.abs(butterfly(np.ascontiguousarray(y[..., ::-1]), add_supersets)[..., 1:]).max(-1)
    largest = np.maximum(np.maximum(sup_and, sup_or), np.finfo(np.float64).tiny)
    return np.asarray(np.maximum(value / largest, 0.0))


class _Problem:
    """A batch in the solver's units (largest |u| beyond the tolerance = 1), on numpy or on a torch device."""

    def __init__(self, u: Any, delta: Any, gamma: float | None, omega: float, device: str | None) -> None:
        # u [batch, 2^n], delta [batch]: all positive and `gamma` a number, or all zero and `gamma` None
        self.n = u.shape[-1].bit_length() - 1
        self.single = 1 << np.arange(self.n)  # the coalitions of one word
        self.tolerant, self.gamma = gamma is not None, gamma or 1.0
        self.projection: Projection = cached_projection(self.n, gamma, device)
        self.exact: Projection = cached_projection(self.n, None, device)
        self.xp = xp = self.projection.xp
        shrunk = u - np.clip(u, -delta[:, None], delta[:, None])  # the start: scores as small as the tolerance allows
        start = np.zeros((u.shape[0], self.projection.k, u.shape[1]))
        start[:, 0] = butterfly(shrunk.copy(), subtract_subsets) / 2
        start[:, 1] = butterfly(np.ascontiguousarray(shrunk[:, ::-1]), subtract_subsets) / -2
        size = np.abs(start[:, :2]).reshape(u.shape[0], -1)
        step = STEP * (size**2).sum(-1) / size.sum(-1)
        both = np.concatenate(self.merge(start[:, 0].copy(), start[:, 1].copy()), axis=-1)
        mu = omega * np.abs(both).sum(-1) / (both**2).sum(-1)
        box = np.zeros_like(u)
        if self.tolerant:
            start[:, 2] = (u - shrunk) / self.gamma
            box[:, 1:] = delta[:, None] / self.gamma  # nothing corrects v(∅)
        cost = np.full((1, u.shape[1]), 1.0 + ORDER_COST * omega)
        weight = np.ones((1, u.shape[1]))
        cost[:, self.single], weight[:, self.single] = 1.0, ORDER_ONE
        put = (lambda x: x) if device is None else (lambda x: xp.as_tensor(x, device=device))
        self.u, self.delta, self.start, self.step, self.box = put(u), put(delta), put(start), put(step), put(box)
        self.mu, self.cost, self.ridge = put(mu), put(cost), put(mu[:, None] * weight)
        self.moebius_u = put(butterfly(u.copy(), subtract_subsets))
        self.target = self.projection.target(self.u)

    def prox(self, rows: Any, center: Any) -> tuple[Any, Any, Any]:
        """Clip bounds [batch, k, 2^n], factor [batch, 1, 2^n] and shift of the prox of the regularised programme (`center` None),
        or of |c|_1 + mu/2 |c - center|^2, `center` [batch, 2, 2^n]."""
        step, mu = self.step[rows][:, None], self.mu[rows][:, None]
        threshold, ridge = (self.cost, self.ridge[rows]) if center is None else (self.cost * 0.0 + 1.0, mu)
        bound = 0.0 * self.start[rows]
        bound[:, :2] = (step * threshold)[:, None]
        bound[:, 1, self.single] = np.inf  # AND and OR of one word are the same column: keep AND
        bound[:, :2, 0] = 0.0  # order 0 is free
        factor = 1.0 / (1.0 + step * ridge + 0.0 * bound[:, 0])
        factor[:, 0] = 1.0
        shift = None
        if center is not None:
            shift = 0.0 * self.start[rows]
            shift[:, :2] = (step * mu)[:, None] * center
        if self.tolerant:
            bound[:, 2] = self.box[rows]
        return bound, factor[:, None], shift

    def merge(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Order 0 dropped, OR of one word moved into AND; in place. The same scores, and never a larger objective."""
        a[:, self.single] += b[:, self.single]
        b[:, self.single] = 0.0
        a[:, 0] = 0.0
        b[:, 0] = 0.0
        return a, b

    def primal(self, rows: Any, x: Any) -> tuple[Any, Any]:
        """Effects within the tolerance from a projected point x: the correction is clipped, the excess absorbed."""
        a, b = x[:, 0] + 0.0, x[:, 1] + 0.0  # copies: `merge` works in place
        if self.tolerant:
            q = x[:, 2] * self.gamma
            limit = self.delta[rows][:, None]
            excess = q - self.xp.minimum(self.xp.maximum(q, -limit), limit)
            excess[:, 0] = q[:, 0]
            change = self.exact.step(self.exact.target(excess), self.xp.zeros_like(x[:, :2]))  # least change
            a, b = a + change[:, 0], b + change[:, 1]
        return self.merge(a, b)

    def multiplier(self, rows: Any, push: Any) -> tuple[Any, Any, Any, Any]:
        """Phi'y on AND and on OR columns, <u, y> and |y|_1, from the projection's step (= Phi' y times the prox step)."""
        scaled = push / self.step[rows][:, None, None]
        on_and = scaled[:, 0]
        on_or = scaled[:, 1] - scaled[:, 1, :1]  # y(∅) chosen so that y sums to zero
        product = (self.moebius_u[rows] * on_and).sum(-1)
        size = self.xp.abs(scaled[:, 2, 1:]).sum(-1) / self.gamma if self.tolerant else 0.0 * product
        return on_and, on_or, product, size


def _iterate(problem: _Problem, z: Any, rows: Any, center: Any, check: Any, max_iterations: int) -> Any:
    """Douglas-Rachford on the samples `rows` from `z` until `check(iteration, rows, push, x, z)` says done, per sample.

    Finished samples leave the batch. Returns iterations, [whole batch].
    """
    xp, project = problem.xp, problem.projection.step
    used = np.zeros(len(problem.u), dtype=np.int64)
    target = problem.target[rows]
    high, factor, shift = problem.prox(rows, center)
    low = -high
    for iteration in range(1, max_iterations + 1):
        moved = z if shift is None else z + shift
        clipped = xp.minimum(xp.maximum(moved, low), high)
        x = moved - clipped  # soft threshold
        x[:, :2] *= factor
        if problem.tolerant:
            x[:, 2] = clipped[:, 2]
        reflected = 2.0 * x - z
        push = project(target, reflected)
        if iteration % CHECK_EVERY == 0 or iteration == max_iterations:
            used[rows] = iteration
            done = check(iteration, rows, push, reflected + push, z)
            if done.all():
                break
            if done.any():
                keep = np.flatnonzero(~done)
                rows, z, x, reflected, push = rows[keep], z[keep], x[keep], reflected[keep], push[keep]
                low, high, target, factor = low[keep], high[keep], target[keep], factor[keep]
                shift = None if shift is None else shift[keep]
        z = z + RELAXATION * (reflected + push - x)
    return used


def _as_numpy(x: Any) -> Any:
    return x if isinstance(x, np.ndarray) else x.cpu().numpy()


def _solve_chunk(
    u: Any, delta: Any, gamma: float | None, duality_gap: float, max_iterations: int, device: str | None
) -> Split:
    """u [batch, 2^n] scaled so that max|u| - delta is 1; delta [batch] all zero (gamma None) or all positive."""
    problem = _Problem(u, delta, gamma, min(OMEGA, 10 * duality_gap), device)
    xp, mu = problem.xp, problem.mu
    batch = len(u)
    everyone = np.arange(batch)
    best_and, best_or = xp.zeros_like(problem.u), xp.zeros_like(problem.u)
    best_push, best_z = xp.zeros_like(problem.start), problem.start * 1.0
    objective, ridge_value = np.full(batch, np.inf), np.full(batch, np.inf)
    ridge_dual, dual = np.full(batch, -np.inf), np.full(batch, -np.inf)

    def measure_dual(rows: Any, push: Any) -> Any:
        on_and, on_or, product, size = problem.multiplier(rows, push)
        largest = _as_numpy(xp.maximum(xp.amax(xp.abs(on_and[:, 1:]), -1), xp.amax(xp.abs(on_or[:, 1:]), -1)))
        value = _as_numpy(product - problem.delta[rows] * size)
        scaled = value / np.maximum(largest, np.finfo(np.float64).tiny)
        better = np.flatnonzero(scaled > dual[rows])
        dual[rows[better]] = scaled[better]
        best_push[rows[better]] = push[better]
        # The conjugate of w|c| + ridge/2 c^2 is finite everywhere: the regularised dual needs no scaling.
        over_and = xp.clip(xp.abs(on_and[:, 1:]) - problem.cost[:, 1:], 0.0, None)
        over_or = xp.clip(xp.abs(on_or[:, 1:]) - problem.cost[:, 1:], 0.0, None)
        over_or[:, problem.single - 1] = 0.0  # the same columns as AND of one word
        penalty = (over_and * over_and + over_or * over_or) / (2.0 * problem.ridge[rows][:, 1:])
        return value - _as_numpy(penalty.sum(-1))

    def check_ridge(iteration: int, rows: Any, push: Any, x: Any, z: Any) -> Any:
        ridge_dual[rows] = np.maximum(ridge_dual[rows], measure_dual(rows, push))
        a, b = problem.primal(rows, x)
        size = xp.abs(a) + xp.abs(b)
        ridge = _as_numpy((problem.cost * size + problem.ridge[rows] * (a * a + b * b) / 2.0).sum(-1))
        better = np.flatnonzero(ridge < ridge_value[rows])
        chosen = rows[better]
        best_and[chosen], best_or[chosen] = a[better], b[better]
        ridge_value[chosen], objective[chosen] = ridge[better], _as_numpy(size.sum(-1))[better]
        best_z[rows] = z
        part = min(RIDGE_GAP * max(1.0, iteration / PATIENCE), RIDGE_GAP_MOST)
        return ridge_value[rows] - ridge_dual[rows] <= part * duality_gap * ridge_value[rows]

    def check_dual(iteration: int, rows: Any, push: Any, x: Any, z: Any) -> Any:
        measure_dual(rows, push)
        if iteration == ROUND:
            center[rows], best_z[rows] = xp.stack(problem.primal(rows, x), 1), z
        return objective[rows] - dual[rows] <= duality_gap * objective[rows]

    iterations = _iterate(problem, problem.start * 1.0, everyone, None, check_ridge, max_iterations)
    # With the ridge around the optimum it costs nothing, so its multiplier serves the plain programme too. Where the answer is a
    # little off the plain optimum, the center moves along (a proximal point method).
    center, left = xp.stack([best_and, best_or], 1), max_iterations
    while left > 0 and len(rows := np.flatnonzero(objective - dual > duality_gap * objective)):
        iterations += _iterate(problem, best_z[rows], rows, center[rows], check_dual, min(left, ROUND))
        left -= ROUND

    a, b = _as_numpy(best_and), _as_numpy(best_or)
    rest = u - reconstruct(a, b)
    a += moebius(rest - np.clip(rest, -delta[:, None], delta[:, None]))  # what rounding left outside the tolerance
    a[:, 0] = 0.0
    y = butterfly(np.ascontiguousarray(_as_numpy(best_push)[:, 0]), subtract_supersets)
    ridge = _as_numpy(problem.ridge) * (a * a + b * b) / 2.0 + _as_numpy(problem.cost) * (np.abs(a) + np.abs(b))
    error = np.sqrt(2.0 * np.maximum(ridge.sum(-1) - ridge_dual, 0.0) / _as_numpy(mu))
    return Split(a, b, dual_bound(u, y, delta), error, iterations)


def solve(u: Any, delta: Any, duality_gap: float, max_iterations: int, device: str | None = None) -> Split:
    """The sparsest split of each row of u, [batch, 2^n] float64 with u(∅) = 0, within delta, [batch]."""
    batch, length = u.shape
    result = Split(
        np.zeros_like(u), np.zeros_like(u), np.zeros(batch), np.zeros(batch), np.zeros(batch, dtype=np.int64)
    )
    largest = np.abs(u).max(-1, initial=0.0)
    scale = largest - delta
    scale[scale <= SWALLOWED * largest] = 0.0
    size = max(1, (CHUNK if device is None else CHUNK_ON_DEVICE) // length)
    tolerant = (scale > 0) & (delta > 0)
    level = np.zeros(batch)
    base = GAMMA * 2.0 ** (max(0, length.bit_length() - 1 - GAMMA_WORDS) / 2)
    level[tolerant] = np.clip(np.round(np.log2(base * np.sqrt(delta[tolerant] / scale[tolerant]))), -4, 8)
    level[~tolerant] = np.nan
    groups: list[tuple[float | None, Any]] = [(None, np.flatnonzero((scale > 0) & (delta == 0)))]
    groups += [(2.0**exponent, np.flatnonzero(level == exponent)) for exponent in np.unique(level[tolerant])]
    for gamma, index in groups:
        for start in range(0, len(index), size):
            rows = index[start : start + size]
            unit = scale[rows]
            part = _solve_chunk(u[rows] / unit[:, None], delta[rows] / unit, gamma, duality_gap, max_iterations, device)
            result.and_effects[rows] = part.and_effects * unit[:, None]
            result.or_effects[rows] = part.or_effects * unit[:, None]
            result.dual[rows] = part.dual * unit
            result.error_bar[rows] = part.error_bar * unit
            result.iterations[rows] = part.iterations
    return result
