"""The rivals of the benchmark solve the same problem as the package: a ratio against something else would mean nothing."""

import numpy as np
import pytest

from benchmarks import recovery, rivals
from benchmarks.recovery import exact_rows, measure, planted
from benchmarks.solving import games
from interplay.effects import extract
from interplay.effects.moebius import moebius, reconstruct


@pytest.fixture
def scores():
    return games(4, 2)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_highs_is_the_same_programme(scores, kind, share):
    v = scores[kind]
    delta = share * float(np.abs(v - v[0]).max())
    ours, theirs = extract(v, tolerance=delta), rivals.highs(v, delta)
    bound = float(ours.objective * (1 - ours.duality_gap))
    assert bound - 1e-7 <= theirs.objective <= float(ours.objective) + 1e-7
    missed = np.abs(reconstruct(*theirs, v[0]) - v)
    assert missed.max() <= delta + 1e-7
    assert missed[0] < 1e-12  # rounding is the processor's
    if delta > 0:  # the tolerance is used, so the bounds on q arrived
        assert theirs.objective < rivals.highs(v).objective - 1e-3


def test_dense_matrices_are_the_transforms(scores):
    v = scores[0] - scores[0][0]
    and_matrix, or_matrix = (m.double().numpy() for m in rivals.dense_matrices(16))
    np.testing.assert_allclose(and_matrix @ v, moebius(v), atol=1e-12)
    np.testing.assert_allclose((or_matrix @ v)[1:], -moebius(v[::-1])[1:], atol=1e-12)
    assert (or_matrix @ v)[0] == v[0]


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
@pytest.mark.parametrize("n", [4, 5])  # halves of equal and of unequal size
def test_fast_sgd_takes_the_steps_of_dense_sgd(n, tolerance):
    v = games(n, 2)[1]
    dense = rivals.sgd_dense(v, rivals.dense_matrices(1 << n), 1e-3, steps=60, tolerance=tolerance)
    fast = rivals.sgd_fast(v, 1e-3, steps=60, tolerance=tolerance)
    start = rivals.sgd_fast(v, 1e-3, steps=60, run=0)
    moved = np.abs(fast.and_effects - start.and_effects).max()
    assert moved > 0.05
    for one, other in zip(dense, fast, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * moved)


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_sgd_ends_at_a_split_of_the_scores_and_never_under_the_bound(scores, tolerance):
    for v in scores:
        rate = rivals.best_rate(v, tolerance, grid=(1e-4, 1e-3), steps=400)
        end = rivals.sgd_fast(v, rate, steps=400, tolerance=tolerance)
        assert np.abs(reconstruct(*end, v[0]) - v).max() <= tolerance + 1e-9
        ours = extract(v, tolerance=tolerance)
        assert end.objective >= float(ours.objective * (1 - ours.duality_gap)) - 1e-9
        assert end.objective < rivals.sgd_fast(v, rate, steps=400, run=0).objective  # and it learns


def test_shapiq_computes_the_same_transform():
    v = games(4, 2)[0]
    call = rivals.shapiq_moebius(v)
    if call is None:
        pytest.skip("shapiq is not installed")
    np.testing.assert_allclose(call()[1:], moebius(v)[1:], atol=1e-9)


def test_planted_terms_are_distinct_and_of_the_orders_asked_for():
    game = planted(8, 6, 4, 1, 3, seed=3)
    sizes = np.array([int(mask).bit_count() for mask in game.masks])
    assert len(game.terms) == 10
    assert sizes.min() >= 1
    assert sizes.max() <= 3
    assert sizes[game.is_or].min() >= 2


def test_measure_of_the_planted_effects_themselves_is_perfect():
    game = planted(6, 5, 3, 1, 3, seed=0)
    row = measure(
        game, dict(zip(zip(game.masks.tolist(), game.is_or.tolist(), strict=True), game.effects, strict=True))
    )
    assert (row["recall"], row["recall_and"], row["precision"], row["named"]) == (1.0, 1.0, 1.0, 8)
    assert row["l1_of_planted"] == pytest.approx(1.0)


def test_exact_rows_tell_solvers_apart():
    rows = exact_rows(seeds=1, sgd_seeds=0, low=(3,))
    ours = [row for row in rows if row["solver"] == "interplay extract"]
    plain = [row for row in rows if row["solver"] != "interplay extract"]
    assert [row["noise"] for row in ours] == [0.0, 0.02, 0.05]
    assert min(row["recall"] for row in ours) == 1.0  # orders >= 3 come back whole
    assert max(row["precision"] for row in plain) < 0.5


def test_a_peer_that_fails_is_not_measured_rather_than_zero(monkeypatch):
    game = planted(6, 2, 2, 1, 3, seed=0)
    right = dict(zip(zip(game.masks.tolist(), game.is_or.tolist(), strict=True), game.effects.tolist(), strict=True))
    setting = {"setting": "s", "noise": 0.0}
    table = [
        measure(game, right, **setting, solver="ours", cpu_seconds=1.0, r2=1.0),
        {**setting, "solver": "peer", "reason": "ImportError: no such package"},
    ]
    monkeypatch.setattr(recovery, "exact_rows", lambda *given: table)
    monkeypatch.setattr(recovery, "sampled_rows", lambda *given: [])
    section = recovery.recovery_rows(quick=True)
    ours, peer = section.rows
    assert list(ours) == list(peer)
    assert ours["recall"] == 1.0
    assert all(np.isnan(peer[column]) for column in ("recall", "least recall", "precision", "named", "CPU s"))
    assert "peer: not measured: ImportError: no such package" in section.notes
