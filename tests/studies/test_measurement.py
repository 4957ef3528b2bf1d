"""The planted rows of the measurement study hold what its page says of them."""

import random

import numpy as np
import pytest

from studies.measurement import conjunction, laws, steadiness


def test_both_cues_stand_in_rows_of_the_planted_label_only():
    rows = [(f"text {i}", label) for i in range(500) for label in conjunction.LABELS]
    planted = conjunction.plant(rows, 0)
    first = [text.startswith("Honestly, ") for text, _ in planted]
    last = [text.endswith(", today.") for text, _ in planted]
    assert {label for (_, label), a, b in zip(planted, first, last, strict=True) if a and b} == {conjunction.PLANTED}
    assert 0.4 < np.mean(first) < 0.5
    assert 0.4 < np.mean(last) < 0.5


@pytest.mark.parametrize("law", laws.LAWS.values(), ids=list(laws.LAWS))
def test_the_answer_is_yes_where_the_law_holds(law):
    slots, kind = law
    cues = [laws.SLOTS[slot].split()[0] for slot in slots]
    rows = laws.rows(random.Random(0), law, 200)
    for text, answer in rows:
        there = [cue in text.split() for cue in cues]
        assert (answer == "yes") == (any(there) if kind == "or" else all(there))
    assert sum(answer == "yes" for _, answer in rows) == 100


def test_steadiness_of_a_chain_is_that_of_its_splits():
    rng = np.random.default_rng(0)
    u = np.cumsum(rng.normal(size=(2, 3, 8)), axis=1)
    u -= u[..., :1]
    one, again = (steadiness.chain(u, 0.0, 0.05, True, None) for _ in range(2))
    assert np.array_equal(one, again)
    assert steadiness.jaccard(one, again) == 1
    assert steadiness.jaccard(one, np.roll(one, 1, axis=-1)) < 1
