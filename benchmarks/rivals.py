"""What our solver is compared with: HiGHS on the same linear programme, the lineage's SGD, shapiq's exact Möbius transform.

Reference implementations, written to be as quick as their method allows, so that a ratio says something about the method:
HiGHS gets the best of the formulations that were tried, SGD the best rate of a grid. Nothing here is part of the package.

SGD [lineage]: "Defining and extracting generalizable interaction primitives from DNNs" (arXiv 2401.16318) and the code
published with it learn p and q in v_and = (v + q)/2 + p, v_or = (v + q)/2 - p, |q| <= delta by clamping, from p = q = 0 with
loss |I_and|_1 + |I_or|_1, SGD of momentum 0.9, rates falling geometrically from `rate` to `rate`/10 over 20,000 or 50,000
steps, products with dense 2^n × 2^n matrices in float32. Rates are set per task there: 1e-7, 1e-6 and 1e-5 occur.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from interplay.effects.moebius import moebius

STEPS = 20_000
MOMENTUM = 0.9
PUBLISHED_RATES = (1e-7, 1e-6, 1e-5)
RATES = (1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)  # the best of these by objective is what a row shows
ZETA = np.array([[1.0, 0.0], [1.0, 1.0]])
MOEBIUS = np.array([[1.0, 0.0], [-1.0, 1.0]])
GOLDEN = np.array([[1.0, 1.0], [0.0, -1.0]])  # one word of K = M P Z (docs/design/solver.md)


class Found(NamedTuple):
    """Effects [2^n] in the form of `interplay.effects`: order 0 zero, OR of one word merged into AND."""

    and_effects: np.ndarray
    or_effects: np.ndarray

    @property
    def objective(self) -> float:
        return float(np.abs(self.and_effects).sum() + np.abs(self.or_effects).sum())


def _found(a: np.ndarray, b: np.ndarray) -> Found:
    # the same scores, and never a larger objective
    single = 1 << np.arange(len(a).bit_length() - 1)
    a, b = a.copy(), b.copy()
    a[single] += b[single]
    b[single] = 0.0
    a[0] = b[0] = 0.0
    return Found(a, b)


# --- HiGHS ---------------------------------------------------------------------------------------------------------------


def highs(v: np.ndarray, tolerance: float = 0.0) -> Found:
    """min |a|_1 + |b|_1 with b = c + K a (+ M P q, |q| <= tolerance) by scipy's HiGHS, interior point and crossover.

    K is the sparse Kronecker power of `GOLDEN`, 3^n entries. Quicker than any other formulation tried (n = 10, delta = 0, CPU
    seconds): this 0.4 (dual simplex 0.8); Z a - P Z b = u 0.7-0.9 (1.9); the dual programme 0.6 (1.9); `highs_stated` 9-10 (23).
    """
    from scipy import sparse
    from scipy.optimize import linprog

    size = len(v)
    identity = sparse.identity(size, format="csr")
    k = _kron(GOLDEN, size)
    parts, cost = [k, -k, -identity, identity], np.ones(4 * size)
    cost[[0, size, 2 * size, 3 * size]] = 0.0  # order 0 is free
    bounds = np.array([[0.0, np.inf]] * (4 * size))
    if tolerance > 0:
        parts.append(_kron(MOEBIUS, size)[:, ::-1])
        box = np.array([[-tolerance, tolerance]] * size)
        box[0] = 0.0  # nothing corrects v(∅)
        cost, bounds = np.concatenate([cost, np.zeros(size)]), np.concatenate([bounds, box])
    result = linprog(
        cost, A_eq=sparse.hstack(parts, format="csc"), b_eq=moebius((v - v[0])[::-1]), bounds=bounds, method="highs-ipm"
    )
    x = result.x[: 4 * size].reshape(4, size)
    return _found(x[0] - x[1], x[2] - x[3])


def highs_stated(v: np.ndarray) -> float:
    """The programme as it is written down, AND and OR columns as sparse columns, with linprog's defaults: its objective."""
    from scipy import sparse
    from scipy.optimize import linprog

    s = np.arange(len(v))
    conj = (s[:, None] & s[None, 1:]) == s[None, 1:]
    several = s[np.array([bin(i).count("1") > 1 for i in s])]
    disj = (s[:, None] & several[None]) != 0
    phi = sparse.csc_matrix(np.concatenate([conj, disj], axis=1).astype(float))
    columns = sparse.hstack([phi, -phi], format="csc")[1:]
    return float(linprog(np.ones(columns.shape[1]), A_eq=columns, b_eq=(v - v[0])[1:], method="highs").fun)


def _kron(x: np.ndarray, size: int) -> Any:
    from scipy import sparse

    result = sparse.csr_matrix(np.ones((1, 1)))
    while result.shape[0] < size:
        result = sparse.kron(result, x, format="csr")
    return result


# --- SGD -----------------------------------------------------------------------------------------------------------------


def rates(rate: float, steps: int) -> np.ndarray:
    """The published schedule: geometric, from `rate` to a tenth of it. [steps]"""
    return np.geomspace(rate, rate / 10, steps)


def sgd_dense(
    v: np.ndarray,
    matrices: tuple[Any, Any],
    rate: float,
    steps: int = STEPS,
    run: int | None = None,
    tolerance: float = 0.0,
) -> Found:
    """As published: torch autograd and SGD through `dense_matrices(len(v))`. `run`: stop after so many of the steps."""
    import torch

    u = torch.from_numpy((v - v[0]).astype(np.float32))
    and_matrix, or_matrix = matrices
    p, q = torch.zeros_like(u, requires_grad=True), torch.zeros_like(u, requires_grad=tolerance > 0)
    optimizer = torch.optim.SGD([p, q] if tolerance > 0 else [p], lr=rate, momentum=MOMENTUM)
    for lr in rates(rate, steps)[:run]:
        optimizer.param_groups[0]["lr"] = float(lr)
        q.data.clamp_(-tolerance, tolerance)
        half = 0.5 * (u + q)
        loss = (and_matrix @ (half + p)).abs().sum() + (or_matrix @ (half - p)).abs().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _ends_at(v, p.detach().numpy(), q.detach().numpy(), tolerance)


def dense_matrices(size: int) -> tuple[Any, Any]:
    """Scores to AND effects, scores to OR effects; torch float32 [size, size]. Order 0 of OR is v(∅), as published."""
    import torch

    one = torch.from_numpy(MOEBIUS.astype(np.float32))
    and_matrix = torch.ones(1, 1)
    while and_matrix.shape[0] < size:
        and_matrix = torch.kron(and_matrix, one)
    or_matrix = and_matrix.flip(1).neg_()
    or_matrix[0] = 0.0
    or_matrix[0, 0] = 1.0
    return and_matrix, or_matrix


def sgd_fast(v: np.ndarray, rate: float, steps: int = STEPS, run: int | None = None, tolerance: float = 0.0) -> Found:
    """The same steps with each dense matrix replaced by two small ones (Kronecker halves) and the gradient by hand."""
    n = len(v).bit_length() - 1
    shape = (1 << n - n // 2, 1 << n // 2)
    high, low = (_power(MOEBIUS, k) for k in (n - n // 2, n // 2))
    one = np.stack([high, -high[:, ::-1]])  # AND, and OR: minus the transform of the reversed array
    two = np.stack([low, low[:, ::-1]])
    forward = one, np.ascontiguousarray(two.transpose(0, 2, 1))
    backward = np.ascontiguousarray(one.transpose(0, 2, 1)), two
    half = ((v - v[0]) / 2).astype(np.float32).reshape(shape)
    p, q = np.zeros_like(half), np.zeros_like(half)
    p_speed, q_speed = np.zeros_like(half), np.zeros_like(half)
    split = np.empty((2, *shape), dtype=np.float32)
    limit = np.float32(tolerance)
    for lr in rates(rate, steps)[:run].astype(np.float32):
        base = half
        if tolerance > 0:
            np.clip(q, -limit, limit, out=q)
            base = half + np.float32(0.5) * q
        np.add(base, p, out=split[0])
        np.subtract(base, p, out=split[1])
        effects = forward[0] @ (split @ forward[1])
        effects[1, 0, 0] = split[1, 0, 0]
        sign = np.sign(effects)
        empty = sign[1, 0, 0]
        sign[1, 0, 0] = 0.0
        gradient = backward[0] @ (sign @ backward[1])
        gradient[1, 0, 0] += empty
        p_speed *= MOMENTUM
        p_speed += gradient[0]
        p_speed -= gradient[1]
        p -= lr * p_speed
        if tolerance > 0:
            q_speed *= MOMENTUM
            q_speed += np.float32(0.5) * (gradient[0] + gradient[1])
            q -= lr * q_speed
    return _ends_at(v, p.ravel(), q.ravel(), tolerance)


def _power(x: np.ndarray, k: int) -> np.ndarray:
    result = np.ones((1, 1), dtype=np.float32)
    for _ in range(k):
        result = np.kron(result, x.astype(np.float32))
    return result


def _ends_at(v: np.ndarray, p: np.ndarray, q: np.ndarray, tolerance: float) -> Found:
    """The effects of a p and q, in float64: what rounding did to the steps counts, what it would do to the sum does not."""
    q = np.clip(q.astype(np.float64), -tolerance, tolerance)
    q[0] = 0.0  # so that universal matching holds at v(∅): never a gain for SGD beyond its tolerance
    half = (v - v[0] + q) / 2
    return _found(moebius(half + p), -moebius((half - p)[::-1]))


def best_rate(v: np.ndarray, tolerance: float = 0.0, grid: tuple[float, ...] = RATES, steps: int = STEPS) -> float:
    """The rate of the grid that ends at the least objective."""
    return min(grid, key=lambda rate: sgd_fast(v, rate, steps, tolerance=tolerance).objective)


# --- shapiq --------------------------------------------------------------------------------------------------------------


def shapiq_moebius(v: np.ndarray) -> Callable[[], np.ndarray] | None:
    """A call that runs shapiq's exact Möbius transform of v and returns it in our order; None where it is not installed."""
    try:
        from shapiq import ExactComputer  # ty: ignore[import-not-found]
    except ImportError:
        return None
    n = len(v).bit_length() - 1
    bits = 1 << np.arange(n)

    def call() -> np.ndarray:
        computer = ExactComputer(lambda kept: v[np.atleast_2d(kept) @ bits], n_players=n)
        found = computer("Moebius")
        out = np.zeros(len(v))
        for words, place in found.interaction_lookup.items():
            out[sum(1 << i for i in words)] = found.values[place]
        return out

    return call
