"""The exact projection onto {effects that match the scores}, in O(n 2^n)-like time and without an iteration.

With a the AND and b the OR effects (order 0 of both free), q the correction within the tolerance, u = v - v(∅), Z the zeta
transform and P the complement T -> N∖T, what must hold is Z a - P Z b + q = u [ours]. A Kronecker power X⊗...⊗X applied to an
array over coalitions is two small matrix products, one for each half of the words. Derivation: docs/design/solver.md.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

ZETA = np.array([[1.0, 0.0], [1.0, 1.0]])  # one word: v(∅) = a(∅), v({i}) = a(∅) + a({i})
MOEBIUS = np.array([[1.0, 0.0], [-1.0, 1.0]])
DENSE_WORDS = 8  # measured: 7 against 21 µs at n = 8, 31 against 21 at n = 9
SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])  # one word: complement


def power(x: Any, k: int) -> Any:
    """The k-fold Kronecker power of a small matrix."""
    return functools.reduce(np.kron, [x] * k, np.ones((1, 1)))


def singular_basis() -> tuple[Any, Any, Any]:
    """U, s, V' of the one-word K = M P Z = [[1, 1], [0, -1]], in closed form: s is the golden ratio and its inverse."""
    phi = (1 + math.sqrt(5)) / 2
    norm = math.sqrt(1 + phi**2)
    left = np.array([[phi, 1.0], [-1.0, phi]]) / norm
    right = np.array([[1.0, phi], [phi, -1.0]]) / norm
    return left, np.array([phi, 1 / phi]), right


class Shell(NamedTuple):
    """Rows of a Schur-Weyl basis that behave alike: `copies` invariant spaces of dimension `size`, one after another."""

    size: int
    copies: int


@functools.lru_cache(maxsize=16)
def schur_weyl(k: int) -> tuple[tuple[Shell, ...], Any]:
    """An orthogonal basis of the 2^k coalitions in which every Kronecker power X⊗...⊗X is block diagonal.

    Returns the shells and the basis (rows, 2^k × 2^k). Words are added one at a time: a space of dimension d = 2j+1 (spin j)
    and a word give spaces of dimension d+1 and d-1, with the Clebsch-Gordan coefficients of j ⊗ 1/2.
    """
    spaces = {1: np.ones((1, 1, 1))}  # dimension d -> [copies, d, 2^words]; row i of a space has "height" i - (d-1)/2
    for _ in range(k):
        grown: dict[int, list[np.ndarray]] = {}
        for d, space in spaces.items():
            kept = np.concatenate([np.zeros_like(space), space], axis=-1)  # the new word is the highest bit
            masked = np.concatenate([space, np.zeros_like(space)], axis=-1)
            rise = np.sqrt(np.arange(1, d + 1) / d)  # sqrt((j+m+1)/(2j+1)) for m = -j..j
            fall = rise[::-1]
            up = np.zeros((space.shape[0], d + 1, kept.shape[-1]))
            up[:, 1:] += rise[:, None] * kept
            up[:, :-1] += fall[:, None] * masked
            grown.setdefault(d + 1, []).append(up)
            if d > 1:  # orthogonal to `up` in each plane spanned by (kept row i, masked row i+1)
                down = rise[:-1, None] * masked[:, 1:] - fall[1:, None] * kept[:, :-1]
                grown.setdefault(d - 1, []).append(down)
        spaces = {d: np.concatenate(parts) for d, parts in grown.items()}
    shells = tuple(Shell(d, spaces[d].shape[0]) for d in sorted(spaces))
    return shells, np.concatenate([spaces[shell.size].reshape(-1, 2**k) for shell in shells])


class Projection:
    """Projection of x = (a, b) or (a, b, q/gamma), arrays [batch, k, 2^n], onto Z a - P Z b (+ q) = u.

    `gamma` None leaves q out (the scores are matched exactly). `xp` is numpy, or torch with `device`.
    """

    def __init__(self, n: int, gamma: float | None, xp: Any = np, device: Any = None) -> None:
        self.n, self.gamma, self.xp = n, gamma, xp
        high, low = n - n // 2, n // 2
        self.shape = (2**high, 2**low)
        # of each pair of shells: start, stop, copies, size, inverse, for [copies, size] @ inverse on start:stop
        self.blocks: list[tuple[int, int, int, int, Any]] = []

        def put(x: Any) -> Any:
            x = np.ascontiguousarray(x)
            return x if xp is np else xp.as_tensor(x, device=device)

        if gamma is None:
            # b = c + K a with c = -M P u, K = M P Z. In the singular basis K = U S V' the normal matrix is 1 + S^2.
            left, s, right = singular_basis()
            parts = [(power(s[:, None] * right, high), power(s[:, None] * right, low))]  # K a, in the basis of U
            parts += [(-power(left.T, high), power(left.T, low))]  # - b
            lift = left.T @ MOEBIUS @ SWAP  # u -> -c, in the basis of U
            self.lift = put(power(lift, high)), put(power(lift, low).T)
            self.diagonal = put((1.0 / (1.0 + power(s[None, :] ** 2, n))).reshape(self.shape))
        else:
            if n <= DENSE_WORDS:  # one shell of everything: one dense product costs less than many small ones
                shells_high, basis_high = (Shell(2**high, 1),), np.eye(2**high)
                shells_low, basis_low = (Shell(2**low, 1),), np.eye(2**low)
            else:
                (shells_high, basis_high), (shells_low, basis_low) = schur_weyl(high), schur_weyl(low)
            parts = [(basis_high @ power(ZETA, high), basis_low @ power(ZETA, low))]
            parts += [(-basis_high @ power(SWAP @ ZETA, high), basis_low @ power(SWAP @ ZETA, low))]
            parts += [(gamma * basis_high, basis_low)]
            self.lift = put(basis_high), put(basis_low.T)
            self._make_blocks(gamma, shells_high, parts[0][0], parts[1][0], shells_low, parts[0][1], parts[1][1], put)
        self.k = len(parts)
        self.forward = (
            put(np.stack([part[1].T for part in parts])),  # [k, L, L], from the right
            put(np.concatenate([part[0] for part in parts], axis=1)),  # [H, k·H], from the left, and sums over k
        )
        self.backward = (
            put(np.concatenate([part[0] for part in parts], axis=1).T),
            put(np.stack([part[1] for part in parts])),
        )

    def _make_blocks(self, gamma, shells_high, a_high, b_high, shells_low, a_low, b_low, put) -> None:
        # Normal matrix Z Z' + P Z Z' P + gamma^2: in the basis of each half it splits over pairs of shells.
        index = np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)
        permutation, start, row = [], 0, 0
        for high in shells_high:
            i = slice(row, row + high.size)  # the first copy stands for all
            column = 0
            for low in shells_low:
                j = slice(column, column + low.size)
                normal = np.kron(a_high[i] @ a_high[i].T, a_low[j] @ a_low[j].T)
                normal += np.kron(b_high[i] @ b_high[i].T, b_low[j] @ b_low[j].T)
                normal += gamma**2 * np.eye(high.size * low.size)
                inverse = np.linalg.inv(normal)
                copies, size = high.copies * low.copies, high.size * low.size
                here = index[row : row + high.copies * high.size, column : column + low.copies * low.size]
                here = here.reshape(high.copies, high.size, low.copies, low.size).transpose(0, 2, 1, 3)
                permutation.append(here.reshape(-1))
                stop = start + copies * size
                self.blocks.append((start, stop, copies, size, put((inverse + inverse.T) / 2)))
                start, column = stop, column + low.copies * low.size
            row += high.copies * high.size
        order = np.concatenate(permutation)
        self.permutation, self.back = put(order), put(np.argsort(order))

    def target(self, u: Any) -> Any:
        """The right-hand side of `step` for scores u, [batch, 2^n]: [batch, H, L] in the solver's basis."""
        left, right = self.lift
        return left @ (u.reshape(-1, *self.shape) @ right)

    def step(self, target: Any, x: Any) -> Any:
        """What to add to x, [batch, k, 2^n], to project it: the transposed constraint applied to the multiplier."""
        batch, (H, L), xp = x.shape[0], self.shape, self.xp
        right, left = self.forward
        y = xp.matmul(x.reshape(batch, self.k, H, L), right)
        r = target - xp.matmul(left, y.reshape(batch, self.k * H, L))
        multiplier = self._solve(r)
        left, right = self.backward
        y = xp.matmul(left, multiplier).reshape(batch, self.k, H, L)
        return xp.matmul(y, right).reshape(batch, self.k, H * L)

    def _solve(self, r: Any) -> Any:
        if not self.blocks:
            return r * self.diagonal
        batch = r.shape[0]
        if len(self.blocks) == 1:
            return self.xp.matmul(r.reshape(batch, 1, -1), self.blocks[0][-1]).reshape(r.shape)
        flat = self._gather(r.reshape(batch, -1), self.permutation)
        solved = self.xp.empty_like(flat)
        for start, stop, copies, size, inverse in self.blocks:
            part = flat[:, start:stop].reshape(batch, copies, size)
            solved[:, start:stop] = self.xp.matmul(part, inverse).reshape(batch, copies * size)
        return self._gather(solved, self.back).reshape(r.shape)

    def _gather(self, x: Any, index: Any) -> Any:
        return x.take(index, axis=1) if self.xp is np else x.index_select(1, index)


@functools.lru_cache(maxsize=32)
def cached_projection(n: int, gamma: float | None, device: str | None = None) -> Projection:
    """One `Projection` per size and device; at n = 16 it holds about 8 MB."""
    if device is None:
        return Projection(n, gamma)
    import torch

    return Projection(n, gamma, torch, torch.device(device))
