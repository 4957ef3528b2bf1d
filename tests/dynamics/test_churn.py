"""Churn floors by hand: what a variation removes and emerges, and multiples of it."""

import numpy as np
import pytest

from interplay.dynamics import DEFINITIONS, trajectory
from interplay.dynamics.churn import Twin, churn, restrict, shared_words

STEPS = [0, 10, 20]


def game(rng: np.random.Generator, steps: int = 3, n: int = 3) -> np.ndarray:
    """Effects over checkpoints as a solver leaves them: nothing at order 0, single words under AND only."""
    e = rng.normal(size=(steps, 2, 1 << n)) * (rng.random((steps, 2, 1 << n)) < 0.6)
    e[..., 0] = 0
    e[:, 1, 1 << np.arange(n)] = 0
    return e


def row(frame, **keys):
    chosen = frame
    for name, value in keys.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_floor_is_the_null_of_the_trajectory():
    """The rephrased floor of the trajectory and the table here are one quantity, computed on two roads."""
    rng = np.random.default_rng(0)
    effects = [game(rng) for _ in range(5)]
    twins = [game(rng, 2) for _ in range(5)]  # two wordings
    track = trajectory(
        STEPS,
        effects,
        [rng.normal(size=(3, 8)) for _ in range(5)],
        list("abcde"),
        rephrased=twins,
        draws=2,
    )
    floors = churn([Twin(e, t) for e, t in zip(effects, twins, strict=True)], STEPS, 0, "rephrased").floors
    for definition in DEFINITIONS:
        for name in ("removed", "emerged"):
            for measure in ("count", "strength", "count_fraction", "strength_fraction"):
                null = track.get(measure, name, definition)["null"].iloc[-1]
                ours = row(floors, definition=definition, set=name, measure=measure)["value"]
                assert ours == pytest.approx(null, nan_ok=True)


def test_multiples_divide_means_and_bracket_them():
    rng = np.random.default_rng(1)
    pairs = [Twin(game(rng), game(rng, 1)) for _ in range(8)]
    found = churn(pairs, STEPS, 0, "words")
    track = trajectory(
        STEPS, [p.effects for p in pairs], [rng.normal(size=(3, 8)) for _ in pairs], [str(i) for i in range(8)], draws=2
    )
    for name in ("removed", "emerged"):
        floor = row(found.floors, definition="paper", set=name, measure="strength")["value"]
        for step in (10, 20):
            got = row(found.multiples, definition="paper", set=name, measure="strength", step=step)
            assert got["ratio"] == pytest.approx(track.get("strength", name, "paper")["value"][step] / floor)
            assert got["lo"] <= got["ratio"] <= got["hi"]
            assert got["samples"] == 8


def test_a_twin_that_equals_the_reference_has_no_floor():
    rng = np.random.default_rng(2)
    e = game(rng)
    found = churn([Twin(e, e[:1])] * 3, STEPS, 0, "precision")
    assert row(found.floors, definition="paper", set="removed", measure="count")["value"] == 0
    assert row(found.multiples, definition="paper", set="removed", measure="count", step=20)["ratio"] == np.inf
    assert np.isnan(row(found.multiples, definition="paper", set="removed", measure="count", step=20)["hi"])


def test_later_reference_has_no_multiples_before_it_and_samples_without_twin_do_not_count():
    rng = np.random.default_rng(3)
    pairs = [Twin(game(rng), game(rng, 1)), None, Twin(game(rng), game(rng, 1))]
    found = churn(pairs, STEPS, 10, "rephrased")
    assert set(found.multiples["step"]) == {20}
    assert set(found.floors["reference"]) == {10}
    assert found.floors["samples"].max() == 2
    assert churn([None], STEPS, 0, "words").floors.empty


def test_restrict_keeps_what_is_among_the_words():
    rng = np.random.default_rng(4)
    e = game(rng, n=4)
    cut = restrict(e, [1, 3])
    assert cut.shape == (3, 2, 4)
    assert np.array_equal(cut[..., 3], e[..., 0b1010])
    assert np.array_equal(restrict(e, range(4)), e)
    assert shared_words([(0, 1), (4, 6)], [(7, 9)]) == ([], [])


def test_the_floor_of_several_wordings_is_their_mean():
    """A prompt that one wording cannot ask has the mean of the others."""
    rng = np.random.default_rng(5)
    samples = [(game(rng), game(rng, 2)) for _ in range(4)]
    both, first, second = (
        churn([Twin(e, t[w]) for e, t in samples], STEPS, 0, "rephrased").floors for w in (slice(2), [0], [1])
    )
    assert both["value"].to_numpy() == pytest.approx((first["value"] + second["value"]).to_numpy() / 2)
    mixed = [Twin(e, t if i else t[:1]) for i, (e, t) in enumerate(samples)]
    got = row(churn(mixed, STEPS, 0, "rephrased").floors, definition="paper", set="removed", measure="count")
    alone = churn([Twin(samples[0][0], samples[0][1][:1])], STEPS, 0, "rephrased").floors
    rest = churn([Twin(e, t) for e, t in samples[1:]], STEPS, 0, "rephrased").floors
    one, three = (row(f, definition="paper", set="removed", measure="count")["value"] for f in (alone, rest))
    assert got["value"] == pytest.approx((one + 3 * three) / 4)
    assert got["samples"] == 4
