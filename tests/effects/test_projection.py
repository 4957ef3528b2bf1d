"""The projection: on the shell, orthogonal to it, and its basis does what representation theory promises."""

import numpy as np
import pytest
from effect_games import or_zeta, zeta

from interplay.effects.projection import Projection, power, schur_weyl, singular_basis


@pytest.mark.parametrize("k", range(6))
def test_schur_weyl_basis_block_diagonalises_every_kronecker_power(k):
    shells, basis = schur_weyl(k)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2**k), atol=1e-12)
    assert sum(shell.size * shell.copies for shell in shells) == 2**k
    x = np.random.default_rng(k).normal(size=(2, 2))
    turned = basis @ power(x, k) @ basis.T
    expected, start = np.zeros_like(turned), 0
    for size, copies in shells:
        first = turned[start : start + size, start : start + size]  # every copy equals the first
        stop = start + size * copies
        expected[start:stop, start:stop] = np.kron(np.eye(copies), first)
        start = stop
    np.testing.assert_allclose(turned, expected, atol=1e-10)


@pytest.mark.parametrize("gamma", [None, 0.5, 4.0])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 10])
def test_projection_is_exact_and_orthogonal(n, gamma):
    rng = np.random.default_rng(n)
    shell = Projection(n, gamma)
    u, x = rng.normal(size=(2, 2**n)), rng.normal(size=(2, shell.k, 2**n))

    def left_over(x, u):
        q = 0.0 if gamma is None else gamma * x[:, 2]
        return u - zeta(x[:, 0]) - or_zeta(x[:, 1]) - q

    p = x + shell.step(shell.target(u), x)
    assert np.abs(left_over(p, u)).max() < 1e-9
    np.testing.assert_allclose(p + shell.step(shell.target(u), p), p, atol=1e-9)  # a second time changes nothing
    zero = np.zeros_like(u)
    along = rng.normal(size=x.shape)
    along += shell.step(shell.target(zero), along)  # a direction within the shell
    inner = ((p - x) * along).reshape(2, -1).sum(-1)
    assert np.abs(inner).max() < 1e-8 * np.linalg.norm(p - x) * np.linalg.norm(along)


def test_singular_basis():
    left, s, right = singular_basis()
    np.testing.assert_allclose(left @ left.T, np.eye(2), atol=1e-15)
    np.testing.assert_allclose(right @ right.T, np.eye(2), atol=1e-15)
    k = left @ np.diag(s) @ right
    np.testing.assert_allclose(k @ k, np.eye(2), atol=1e-15)  # K K = I
