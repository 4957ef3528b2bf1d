"""The dictionary of AND and OR columns, the penalised programme and its certificate."""

import numpy as np
import pytest

from interplay.effects.dictionary import Dictionary, Rows, column_count
from interplay.effects.penalised import Path, dual_gap, weights
from interplay.effects.sampled import sample_coalitions


@pytest.mark.parametrize(("n", "order"), [(1, 1), (5, 1), (5, 2), (6, 3), (6, 6)])
def test_correlations_are_those_of_the_written_out_columns(n, order, monkeypatch):
    every = np.arange(2**n, dtype=np.uint64)
    dictionary = Dictionary(n, order)
    assert len(dictionary) == column_count(n, order) == len(dictionary.masks)
    ands = [s for s in range(1, 2**n) if s.bit_count() <= order]
    assert set(dictionary.masks[~dictionary.is_or].tolist()) == set(ands)
    assert sorted(dictionary.masks[dictionary.is_or].tolist()) == [s for s in ands if s.bit_count() >= 2]
    phi = np.array(
        [
            [
                bool(s & t) if is_or else s & t == s
                for s, is_or in zip(dictionary.masks.tolist(), dictionary.is_or, strict=True)
            ]
            for t in every.tolist()
        ],
        dtype=float,
    )
    r = np.random.default_rng(0).standard_normal(2**n)
    rows = Rows(dictionary, every)
    np.testing.assert_allclose(rows.correlate(r), phi.T @ r, atol=1e-12)
    np.testing.assert_array_equal(rows.columns(np.arange(len(dictionary))), phi)
    monkeypatch.setattr("interplay.effects.dictionary.CACHE_BYTES", 0)  # products made anew, in pieces
    np.testing.assert_allclose(Rows(dictionary, every).correlate(r), phi.T @ r, atol=1e-12)


def test_the_last_word_of_64_is_a_word():
    coalitions = np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)
    dictionary = Dictionary(64, 2)
    got = dict(
        zip(
            zip(dictionary.masks.tolist(), dictionary.is_or, strict=True),
            Rows(dictionary, coalitions).correlate(np.ones(3)),
            strict=False,
        )
    )
    assert got[2**63, False] == 2
    assert got[2**63 + 1, False] == 1
    assert got[2**63 + 1, True] == 2


def test_the_penalised_programme_against_a_quadratic_solver(game):
    """min 1/(2m)|y - b - Phi c|^2 + penalty·cost by scipy over c = c+ - c- >= 0: the same value, the same answer."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(3)
    coalitions = sample_coalitions(6, 40)
    rows = Rows(Dictionary(6, 2), coalitions)
    y = rng.standard_normal(len(rows))
    y = (y - y.mean()) / y.std()
    phi = rows.columns(np.arange(len(rows.dictionary)))
    phi = phi - phi.mean(0)
    w, mu = weights(rows.dictionary.orders)
    path = Path(rows, y)
    for share in (0.5, 0.1, 0.02):
        penalty = share * path.largest
        duality_gap = path.solve(penalty, 1e-6)
        c = np.zeros(len(w))
        c[path.index] = path.value

        def value(both, penalty=penalty):
            c = both[: len(w)] - both[len(w) :]
            r = y - phi @ c
            push = -phi.T @ r / len(y) + penalty * mu * c
            cost = penalty * np.concatenate([w, w])
            return r @ r / 2 / len(y) + cost @ both + penalty * mu @ c**2 / 2, np.concatenate([push, -push]) + cost

        start = np.concatenate([np.maximum(c, 0), np.maximum(-c, 0)])
        for begin in (start, np.zeros_like(start)):
            oracle = minimize(
                value, begin, jac=True, bounds=[(0, None)] * len(begin), method="L-BFGS-B",
                options={"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-10},
            )  # fmt: skip
            assert value(start)[0] <= oracle.fun * (1 + 1e-9)
            assert value(start)[0] >= oracle.fun * (1 - 1e-5)
        assert duality_gap <= 2e-5


def test_the_gap_holds_against_a_cone_programme():
    """min cost s.t. root mean square misfit <= that of the answer, by SLSQP over c = c+ - c- >= 0 and the intercept."""
    from scipy.optimize import minimize

    rows = Rows(Dictionary(4, 2), np.arange(16, dtype=np.uint64))
    y = np.random.default_rng(5).standard_normal(16)
    w, _ = weights(rows.dictionary.orders)
    phi = rows.columns(np.arange(len(w)))
    both = np.hstack([phi, -phi, np.ones((16, 1))])
    cost = np.concatenate([w, w, [0.0]])
    path = Path(rows, y / y.std())
    for share in (0.5, 0.2, 0.05):
        path.solve(share * path.largest, 1e-6)
        r = path.y - phi[:, path.index] @ path.value
        room = float(((r - r.mean()) ** 2).sum())
        oracle = minimize(
            lambda x: cost @ x,
            np.concatenate([np.full(2 * len(w), 0.1), [0.0]]),
            jac=lambda x: cost,
            bounds=[(0, None)] * (2 * len(w)) + [(None, None)],
            constraints={
                "type": "ineq",
                "fun": lambda x, room=room: room - ((path.y - both @ x) ** 2).sum(),
                "jac": lambda x: 2 * both.T @ (path.y - both @ x),
            },
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-12},
        )
        assert oracle.success
        ours = float(w[path.index] @ np.abs(path.value))
        duality_gap = dual_gap(rows, path.y, path.index, path.value)
        assert duality_gap <= 1e-3
        assert (1 - duality_gap) * ours <= oracle.fun * (1 + 1e-6)
        assert ours == pytest.approx(oracle.fun, rel=2e-3)


def test_the_gap_of_a_poor_answer_is_large():
    rows = Rows(Dictionary(5, 2), np.arange(32, dtype=np.uint64))
    y = rows.columns(np.array([7]))[:, 0] + 0.3 * rows.columns(np.array([2]))[:, 0]
    good = Path(rows, y)
    good.solve(0.01, 1e-6)
    assert dual_gap(rows, y, good.index, good.value) < 1e-4
    assert dual_gap(rows, y, np.array([3, 9]), np.array([0.5, 1.0])) > 0.5
    assert dual_gap(rows, y, np.array([], dtype=int), np.array([])) == 0.0


def test_the_certificate_can_be_checked_from_the_result(game):
    coalitions, v, found = game
    rng = np.random.default_rng(0)  # the held-out rows, as drawn
    inner = np.flatnonzero((coalitions != 0) & (coalitions != 2**12 - 1))
    held = rng.permutation(inner)[: found.held_out]
    fitted = np.setdiff1d(np.arange(500), held)
    rows = Rows(Dictionary(12, 3), coalitions[fitted])
    where = {
        (m, o): i
        for i, (m, o) in enumerate(zip(rows.dictionary.masks.tolist(), rows.dictionary.is_or.tolist(), strict=True))
    }
    index = np.array([where[key] for key in zip(found.masks.tolist(), found.is_or.tolist(), strict=True)])
    assert dual_gap(rows, v[fitted], index, found.penalised) == pytest.approx(found.duality_gap, abs=1e-9)
    rest = v[fitted] - found.scores(coalitions[fitted])
    assert np.sqrt(np.mean(rest**2)) == pytest.approx(found.misfit)
    assert np.abs(rest).max() == pytest.approx(found.residual)
    out = v[held] - found.scores(coalitions[held])
    assert 1 - np.sum(out**2) / np.sum((v[held] - v[held].mean()) ** 2) == pytest.approx(found.r2)
    ends = found.scores([0, 2**12 - 1])
    assert (ends[1] - ends[0]) / (v[-1] - v[0]) == pytest.approx(found.total_effect_fraction)
    assert found.objective == np.abs(found.effects).sum()
