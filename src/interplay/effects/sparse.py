"""The sparsest split of scores into AND and OR effects, with a certificate: the one linear programme behind `extract`.

    min |c|_1   subject to   |u(T) - (Phi c)(T)| <= delta  for every coalition T                        [ours; solver.md]

u = v - v(∅); Phi has the AND columns of orders 1..n and the OR columns of orders 2..n. Fused with the effects r of another table,
the programme is min |c|_1 + FUSE |c - r|_1: of nearly equally sparse splits the one that changes least from r.

Douglas-Rachford splitting, in two phases: with a ridge, which makes the answer a unique and steady function of the scores, then
once more around that answer to bound what the ridge costs. Derivation and measurements: docs/design/solver.md.
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
#     min sum w_S |c_S| + FUSE sum |c_S - r_S| + mu/2 sum q_S c_S^2,    w, q = 1, ORDER_ONE for order 1 and ORDER_COST, 1 above.
# AND{i} + AND{j} = AND{i,j} + OR{i,j} costs the same both ways: without w and q a sum of words comes out as pairs.
OMEGA = 0.05  # mu = omega |x|_1 / |x|_2^2 at the start: it costs some 1e-4 of the objective
ORDER_COST = 1.005
ORDER_ONE = 1e-2
FUSE = 0.25  # halves the change that is due to ties alone, for half a per cent of |c|_1
RIDGE_GAP, RIDGE_GAP_MOST = 0.1, 0.5  # the regularised programme is solved to this fraction of the gap asked for,
RIDGE_COST = 2e-3  # the ridge is shown to cost at most this part of the objective; the second phase ends there
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
    objective: Any  # |c|_1, and FUSE |c - r|_1 where it is fused
    dual: Any  # lower bound on the objective of every split within the tolerance
    ridge_gap: Any  # relative duality gap of the regularised programme
    error_bar: Any  # bound on the Euclidean distance, orders 2 and up, to the optimum of the regularised programme
    iterations: Any


def dual_bound(u: Any, y: Any, delta: Any, reference: Any = None) -> Any:
    """Lower bound on the objective, at least 0, from any multiplier y [..., 2^n], scaled until it is feasible.

    Alone: (<u, y> - delta |y|_1) / max |Phi' y|. u [..., 2^n] has u(∅) = 0, delta is [...]; y(∅) is ignored, as no effect changes
    v(∅). Fused with `reference` [..., 2, 2^n]: |Phi' y| may reach 1 + FUSE, and the conjugate of the objective is taken off.
    """
    u = np.asarray(u, dtype=np.float64)
    y = np.array(y, dtype=np.float64, order="C")
    y[..., 0] = 0.0
    value = (u * y).sum(-1) - np.asarray(delta) * np.abs(y).sum(-1)
    y[..., 0] = -y.sum(-1)  # then sum(y) = 0 and the OR columns are minus the AND columns of the complement
    on_and = butterfly(y.copy(), add_supersets)
    on_or = -butterfly(np.ascontiguousarray(y[..., ::-1]), add_supersets)
    return _scaled_dual(np, value, np.stack([on_and, on_or], -2), reference)


def _scaled_dual(xp: Any, value: Any, on: Any, reference: Any) -> Any:
    """The dual value [...] of a multiplier scaled to feasibility: `value` <u, y> - delta |y|_1, `on` [..., 2, 2^n] its Phi' y."""
    largest = xp.amax(xp.abs(on[..., 1:]), (-2, -1)) if xp is not np else np.abs(on[..., 1:]).max((-2, -1))
    largest = _as_numpy(largest)
    if reference is None:
        return np.maximum(_as_numpy(value) / np.maximum(largest, np.finfo(np.float64).tiny), 0.0)
    scale = np.minimum(1.0, (1.0 + FUSE) / np.maximum(largest, np.finfo(np.float64).tiny))
    size = np.abs(_as_numpy(reference))
    # The conjugate of |c| + FUSE |c - r| at s, |s| <= 1 + FUSE, is reached at c = 0 or c = r.
    at_reference = scale[..., None, None] * _as_numpy(on) * _as_numpy(reference) - size
    return np.maximum(scale * _as_numpy(value) - np.maximum(at_reference, -FUSE * size)[..., 1:].sum((-2, -1)), 0.0)


def _towards(xp: Any, z: Any, cost: Any, fuse: Any, factor: Any, reference: Any) -> Any:
    """The x that is least in (x - factor z)^2 / (2 factor) + cost |x| + fuse |x - reference|, element by element."""
    sign = 1.0 - 2.0 * (reference < 0)
    z, size = sign * z, xp.abs(reference)
    below = xp.minimum(factor * (z + cost + fuse), 0.0 * z)
    between = xp.maximum(factor * (z - cost + fuse), below)
    return sign * xp.maximum(factor * (z - cost - fuse), xp.minimum(size, between))


class _Problem:
    """A batch in the solver's units (largest |u| beyond the tolerance = 1), on numpy or on a torch device."""

    def __init__(self, u: Any, delta: Any, gamma: float | None, device: str | None, reference: Any, tie: "Tie") -> None:
        # u [batch, 2^n], delta [batch]: all positive and `gamma` a number, or all zero and `gamma` None
        # reference [batch, 2, 2^n] or None
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
        both = np.stack(self.merge(start[:, 0].copy(), start[:, 1].copy()), 1)
        mu = tie.omega * np.abs(both).sum((1, 2)) / (both**2).sum((1, 2))
        box = np.zeros_like(u)
        if self.tolerant:
            start[:, 2] = (u - shrunk) / self.gamma
            box[:, 1:] = delta[:, None] / self.gamma  # nothing corrects v(∅)
        # Of AND and OR, [2, 2^n]: what breaks ties; AND and OR of one word are the same column: keep AND; order 0 is free.
        cost, weight = np.full((2, u.shape[1]), ORDER_COST), np.ones((2, u.shape[1]))
        cost[:, self.single], weight[:, self.single] = 1.0, ORDER_ONE
        cost = np.broadcast_to(cost if tie.costs is None else cost * tie.costs, (len(u), *cost.shape))
        paid = np.ones_like(cost[0])
        paid[:, 0] = paid[1, self.single] = 0.0
        put = (lambda x: x) if device is None else (lambda x: xp.as_tensor(x, device=device))
        self.u, self.delta, self.start, self.step, self.box = put(u), put(delta), put(start), put(step), put(box)
        self.mu, self.cost, self.ridge, self.paid = (
            put(mu),
            put(cost * paid),
            put(mu[:, None, None] * weight),
            put(paid),
        )
        self.reference: Any = None if reference is None else put(reference * paid)
        self.moebius_u = put(butterfly(u.copy(), subtract_subsets))
        self.target = self.projection.target(self.u)

    def prox(self, rows: Any, center: Any) -> tuple[Any, Any, Any]:
        """Clip bounds [batch, k, 2^n], factor [batch, 2, 2^n] and shift of the prox of the regularised programme (`center` None),
        or of |c|_1 + mu/2 |c - center|^2, `center` [batch, 2, 2^n]."""
        step, mu = self.step[rows][:, None, None], self.mu[rows][:, None, None]
        threshold, ridge = (self.cost[rows], self.ridge[rows]) if center is None else (self.paid, mu)
        bound = 0.0 * self.start[rows]
        bound[:, :2] = step * threshold
        bound[:, 1, self.single] = np.inf
        factor = 1.0 / (1.0 + step * ridge + 0.0 * bound[:, :2, :1])
        factor = factor + 0.0 * self.start[rows][:, :2]
        factor[:, :, 0] = 1.0
        shift = None
        if center is not None:
            shift = 0.0 * self.start[rows]
            shift[:, :2] = step * mu * center
        if self.tolerant:
            bound[:, 2] = self.box[rows]
        return bound, factor, shift

    def merge(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Order 0 dropped, OR of one word moved into AND; in place. The same scores, and never a larger objective."""
        a[:, self.single] += b[:, self.single]
        b[:, self.single] = 0.0
        a[:, 0] = 0.0
        b[:, 0] = 0.0
        return a, b

    def primal(self, rows: Any, x: Any) -> Any:
        """Effects [batch, 2, 2^n] within the tolerance from a projected point: the correction is clipped, the excess absorbed."""
        a, b = x[:, 0] + 0.0, x[:, 1] + 0.0  # copies: `merge` works in place
        if self.tolerant:
            q = x[:, 2] * self.gamma
            limit = self.delta[rows][:, None]
            excess = q - self.xp.minimum(self.xp.maximum(q, -limit), limit)
            excess[:, 0] = q[:, 0]
            change = self.exact.step(self.exact.target(excess), self.xp.zeros_like(x[:, :2]))  # least change
            a, b = a + change[:, 0], b + change[:, 1]
        return self.xp.stack(self.merge(a, b), 1)

    def objective(self, rows: Any, c: Any, cost: Any = 1.0, ridge: Any = 0.0) -> Any:
        """[batch] numpy: of effects [batch, 2, 2^n], with the costs and ridge of the regularised programme where they are given."""
        value = cost * self.xp.abs(c) + ridge * c * c / 2.0
        if self.reference is not None:
            value = value + FUSE * self.xp.abs(c - self.reference[rows])
        return _as_numpy(value.sum((1, 2)))

    def multiplier(self, rows: Any, push: Any) -> tuple[Any, Any]:
        """Phi'y on AND and on OR columns [batch, 2, 2^n], and <u, y> - delta |y|_1, from the projection's step (= Phi' y times
        the prox step)."""
        scaled = push / self.step[rows][:, None, None]
        on = scaled[:, :2] + 0.0
        on[:, 1] = on[:, 1] - on[:, 1, :1]  # y(∅) chosen so that y sums to zero
        value = (self.moebius_u[rows] * on[:, 0]).sum(-1)
        if self.tolerant:
            value = value - self.delta[rows] * self.xp.abs(scaled[:, 2, 1:]).sum(-1) / self.gamma
        return on, value

    def conjugate(self, rows: Any, on: Any) -> Any:
        """[batch] numpy: sum over columns of the largest s c - cost |c| - FUSE |c - r| - ridge c^2 / 2, at s = `on`."""
        ridge, cost = self.ridge[rows], self.cost[rows]
        r = 0.0 * on if self.reference is None else self.reference[rows]
        fuse = 0.0 if self.reference is None else FUSE * self.paid
        c = self.paid * _towards(self.xp, on, cost, fuse, 1.0 / ridge, r)
        found = on * c - cost * self.xp.abs(c) - fuse * self.xp.abs(c - r) - ridge * c * c / 2.0
        return _as_numpy(found.sum((1, 2)))


def _iterate(problem: _Problem, z: Any, rows: Any, center: Any, check: Any, max_iterations: int) -> Any:
    """Douglas-Rachford on the samples `rows` from `z` until `check(iteration, rows, push, x, z)` says done, per sample.

    Finished samples leave the batch. Returns iterations, [whole batch].
    """
    xp, project = problem.xp, problem.projection.step
    used = np.zeros(len(problem.u), dtype=np.int64)
    target = problem.target[rows]
    high, factor, shift = problem.prox(rows, center)
    reference: Any = None
    fuse: Any = None
    if problem.reference is not None:
        reference, fuse = problem.reference[rows], FUSE * problem.step[rows][:, None, None] * problem.paid
    for iteration in range(1, max_iterations + 1):
        moved = z if shift is None else z + shift
        clipped = xp.minimum(xp.maximum(moved, -high), high)
        if reference is None:
            x = moved - clipped  # soft threshold
            x[:, :2] *= factor
        else:
            x = clipped + 0.0
            x[:, :2] = _towards(xp, moved[:, :2], high[:, :2], fuse, factor, reference)
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
                high, target, factor = high[keep], target[keep], factor[keep]
                shift = None if shift is None else shift[keep]
                if reference is not None:
                    reference, fuse = reference[keep], fuse[keep]
        z = z + RELAXATION * (reflected + push - x)
    return used


def _as_numpy(x: Any) -> Any:
    return x if isinstance(x, np.ndarray) or np.isscalar(x) else x.cpu().numpy()


class Tie(NamedTuple):
    """How ties are broken: the ridge, and factors on the cost of each column, [batch, 2, 2^n] (None: 1)."""

    omega: float = OMEGA
    costs: Any = None


STANDARD = Tie()


def _solve_chunk(
    u: Any,
    delta: Any,
    gamma: float | None,
    duality_gap: float,
    max_iterations: int,
    device: str | None,
    reference: Any,
    tie: Tie,
) -> Split:
    """u [batch, 2^n] scaled so that max|u| - delta is 1; delta [batch] all zero (gamma None) or all positive."""
    problem = _Problem(u, delta, gamma, device, reference, tie)
    xp, mu = problem.xp, problem.mu
    batch = len(u)
    everyone = np.arange(batch)
    best = xp.zeros_like(problem.start[:, :2])
    best_push, best_z = xp.zeros_like(problem.start), problem.start * 1.0
    objective, ridge_value = np.full(batch, np.inf), np.full(batch, np.inf)
    ridge_dual, dual = np.full(batch, -np.inf), np.full(batch, -np.inf)

    def measure_dual(rows: Any, push: Any) -> tuple[Any, Any]:
        on, value = problem.multiplier(rows, push)
        scaled = _scaled_dual(xp, value, on, None if reference is None else problem.reference[rows])
        better = np.flatnonzero(scaled > dual[rows])
        dual[rows[better]] = scaled[better]
        best_push[rows[better]] = push[better]
        return on, value

    def check_ridge(iteration: int, rows: Any, push: Any, x: Any, z: Any) -> Any:
        on, value = measure_dual(rows, push)
        # The conjugate of the regularised objective is finite everywhere: its dual needs no scaling.
        ridge_dual[rows] = np.maximum(ridge_dual[rows], _as_numpy(value) - problem.conjugate(rows, on))
        c = problem.primal(rows, x)
        ridge = problem.objective(rows, c, problem.cost[rows], problem.ridge[rows])
        better = np.flatnonzero(ridge < ridge_value[rows])
        chosen = rows[better]
        best[chosen] = c[better]
        ridge_value[chosen], objective[chosen] = ridge[better], problem.objective(rows, c)[better]
        best_z[rows] = z
        part = min(RIDGE_GAP * max(1.0, iteration / PATIENCE), RIDGE_GAP_MOST)
        return ridge_value[rows] - ridge_dual[rows] <= part * duality_gap * ridge_value[rows]

    def check_dual(iteration: int, rows: Any, push: Any, x: Any, z: Any) -> Any:
        measure_dual(rows, push)
        if iteration == ROUND:
            center[rows], best_z[rows] = problem.primal(rows, x), z
        return objective[rows] - dual[rows] <= wanted * objective[rows]

    iterations = _iterate(problem, problem.start * 1.0, everyone, None, check_ridge, max_iterations)
    # With the ridge around the optimum it costs nothing, so its multiplier serves the plain programme too. Where the answer is a
    # little off the plain optimum, the center moves along (a proximal point method).
    wanted = max(duality_gap, RIDGE_COST)
    center, left = best * 1.0, max_iterations
    while left > 0 and len(rows := np.flatnonzero(objective - dual > wanted * objective)):
        iterations += _iterate(problem, best_z[rows], rows, center[rows], check_dual, min(left, ROUND))
        left -= ROUND

    c = _as_numpy(best) * 1.0
    rest = u - reconstruct(c[:, 0], c[:, 1])
    c[:, 0] += moebius(
        rest - np.clip(rest, -delta[:, None], delta[:, None])
    )  # what rounding left outside the tolerance
    c[:, 0, 0] = 0.0
    scaled = best_push[:, 0] / problem.step[:, None]
    y = butterfly(np.ascontiguousarray(_as_numpy(scaled)), subtract_supersets)
    put = (lambda x: x) if device is None else (lambda x: xp.as_tensor(x, device=device))
    value = problem.objective(everyone, put(c), problem.cost, problem.ridge)
    behind = np.maximum(value - ridge_dual, 0.0)
    error = np.sqrt(2.0 * behind / _as_numpy(mu))
    found = problem.objective(everyone, put(c))
    return Split(c[:, 0], c[:, 1], found, dual_bound(u, y, delta, reference), behind / value, error, iterations)


def solve(
    u: Any,
    delta: Any,
    duality_gap: float,
    max_iterations: int,
    device: str | None = None,
    *,
    reference: Any = None,
    tie: Tie = STANDARD,
) -> Split:
    """The sparsest split of each row of u, [batch, 2^n] float64 with u(∅) = 0, within delta, [batch].

    reference: effects [batch, 2, 2^n] that it is fused with. tie: what decides between splits that cost the same.
    """
    batch, length = u.shape
    zeros = np.zeros((4, batch))
    result = Split(np.zeros_like(u), np.zeros_like(u), *zeros, iterations=np.zeros(batch, dtype=np.int64))
    if reference is not None:  # where nothing is to be explained, the reference still costs
        result.objective[:] = result.dual[:] = FUSE * np.abs(reference).sum((1, 2))
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
            fused = None if reference is None else reference[rows] / unit[:, None, None]
            limits = duality_gap, max_iterations, device
            own = tie if tie.costs is None else tie._replace(costs=tie.costs[rows])
            part = _solve_chunk(u[rows] / unit[:, None], delta[rows] / unit, gamma, *limits, fused, own)
            for name, values in zip(Split._fields, part, strict=True):
                factor = 1 if name in ("ridge_gap", "iterations") else unit if values.ndim == 1 else unit[:, None]
                getattr(result, name)[rows] = values * factor
    return result
