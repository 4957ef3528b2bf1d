"""Games whose interactions are known, and slow transforms written straight from the definitions."""

import numpy as np

from interplay.effects.moebius import add_subsets, butterfly, moebius, orders, reconstruct


def subsets(mask: int) -> list[int]:
    return [t for t in range(mask + 1) if t & mask == t]


def and_by_definition(v) -> list:
    return [sum((-1) ** (s.bit_count() - t.bit_count()) * v[t] for t in subsets(s)) for s in range(len(v))]


def or_by_definition(v) -> list:
    full = len(v) - 1
    return [-sum((-1) ** (s.bit_count() - t.bit_count()) * v[full - t] for t in subsets(s)) for s in range(len(v))]


def co_moebius(v) -> list:
    """Sum over T ⊆ S of (-1)^|T| v(N∖T)  (the commonality of the dual reading; Grabisch et al. 2000)."""
    full = len(v) - 1
    return [sum((-1) ** t.bit_count() * v[full - t] for t in subsets(s)) for s in range(len(v))]


def scores_by_definition(a, b, v_empty) -> list:
    size = range(len(a))
    return [v_empty + sum(a[s] for s in size if s and s & t == s) + sum(b[s] for s in size if s & t) for t in size]


def planted(n, ands, ors, seed, lowest=3, noise=0.0, v_empty=0.0):
    """`ands` AND and `ors` OR effects of order >= lowest, of size 0.5 to 1.5 and either sign; scores, and both effects."""
    rng = np.random.default_rng(seed)
    a, b = np.zeros(2**n), np.zeros(2**n)
    for effects, count in ((a, ands), (b, ors)):
        where = rng.choice(np.flatnonzero(orders(n) >= lowest), count, replace=False)
        effects[where] = rng.uniform(0.5, 1.5, count) * rng.choice([-1.0, 1.0], count)
    return reconstruct(a, b, v_empty) + noise * rng.standard_normal(2**n), a, b


def network(n, seed):
    """A small random tanh network of the word masks: dense effects at every order, as a language model's scores have."""
    rng = np.random.default_rng(seed)
    masks = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    hidden = np.tanh(masks @ rng.normal(size=(n, 32)) * 0.7 + rng.normal(size=32) * 0.3)
    hidden = np.tanh(hidden @ rng.normal(size=(32, 32)) * 0.26)
    return hidden @ rng.normal(size=32) * 0.3


def dictionary(n):
    """Phi: one column per AND of order 1..n, then one per OR of order 2..n; rows are coalitions."""
    t = np.arange(2**n)
    ands = [(t & s == s) * 1.0 for s in range(1, 2**n)]
    ors = [(t & s != 0) * 1.0 for s in range(1, 2**n) if s.bit_count() >= 2]
    return np.stack(ands + ors, axis=1)


def linear_programme(u, delta):
    """The optimum of min |c|_1, |u - Phi c| <= delta, by HiGHS."""
    from scipy.optimize import linprog

    phi = dictionary(len(u).bit_length() - 1)[1:]
    both = np.hstack([phi, -phi])
    cost = np.ones(both.shape[1])
    if delta == 0:
        found = linprog(cost, A_eq=both, b_eq=u[1:], method="highs")
    else:
        found = linprog(
            cost, A_ub=np.vstack([both, -both]), b_ub=np.concatenate([u[1:] + delta, delta - u[1:]]), method="highs"
        )
    assert found.status == 0
    return found.fun


def zeta(effects):
    """The game of AND effects, order 0 included: v(T) = sum over S within T of I(S); the inverse of `moebius`."""
    return butterfly(np.array(effects), add_subsets)


def or_moebius(v):
    """The OR effects that explain a game alone, order 0 included: minus the Möbius transform of v(N∖T)."""
    return -moebius(np.asarray(v)[..., ::-1])


def or_zeta(effects):
    """The game of OR effects, order 0 included: the inverse of `or_moebius`."""
    return -zeta(effects)[..., ::-1]


def fused_programme(u, delta, reference, fuse):
    """The optimum of min |c|_1 + fuse |c - r|_1, |u - Phi c| <= delta, by HiGHS; reference r [2, 2^n]."""
    from scipy.optimize import linprog

    length = len(u)
    phi = dictionary(length.bit_length() - 1)[1:]
    ors = [s for s in range(length) if s.bit_count() >= 2]
    r, k = np.concatenate([reference[0, 1:], reference[1, ors]]), phi.shape[1]
    one, none = np.eye(k), np.zeros_like(phi)  # variables: c = p - m, and e >= |c - r|
    rows = np.block([[one, -one, -one], [-one, one, -one], [phi, -phi, none], [-phi, phi, none]])
    limits = np.concatenate([r, -r, u[1:] + delta, delta - u[1:]])
    found = linprog(np.r_[np.ones(2 * k), np.full(k, fuse)], A_ub=rows, b_ub=limits, method="highs")
    assert found.status == 0
    return found.fun
