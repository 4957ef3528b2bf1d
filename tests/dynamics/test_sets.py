"""The sets, by hand on tiny games and by their identities on random ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from interplay.dynamics.measures import floor_values
from interplay.dynamics.sets import DEFINITIONS, SETS, pack, partition, salient, thresholds, unpack


def test_salient_is_strict_ignores_order_0_and_takes_and_with_or():
    e = np.array([[100.0, 0.05, 0.06, 0.0], [0.0, 0.0, 0.0, -1.0]])
    # largest |I| of order >= 1 is 1 (an OR effect); tau = 0.05 is not exceeded by 0.05
    assert salient(e, 0.05).tolist() == [[False, False, True, False], [False, False, False, True]]
    assert e[0, 0] == 100.0  # the input is left alone


def test_nothing_is_salient_where_all_effects_are_zero():
    assert not salient(np.zeros((3, 2, 8))).any()


# One row a checkpoint; columns: AND{0}, AND{1}, AND{0,1}, OR{0,1}.
STORY = np.array([
    [1.0, 1.0, 0.0, -1.0],
    [1.0, 0.0, 1.0, 1.0],   # AND{1} leaves, AND{0,1} comes, OR flips
    [1.0, 1.0, 0.0, -1.0],  # AND{1} comes back, AND{0,1} leaves again, OR flips back
])  # fmt: skip


def story():
    e = np.zeros((3, 2, 4))
    e[:, 0, 1:] = STORY[:, :3]
    e[:, 1, 3] = STORY[:, 3]
    return e


def columns(mask):
    return [[int(x) for x in (*row[0, 1:], row[1, 3])] for row in mask]


def test_story_as_the_paper_reads_it():
    sets = partition(story(), 0, "paper")
    assert columns(sets.all) == [[1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 0, 1]]
    assert columns(sets.preserved) == [[1, 1, 0, 1], [1, 0, 0, 1], [1, 0, 0, 1]]  # cumulative: AND{1} stays out
    assert columns(sets.emerged) == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert columns(sets.removed) == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert columns(sets.kept) == [[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 1]]
    assert columns(sets.reentered) == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_story_with_signs_the_flipped_or_has_left_and_another_one_has_come():
    sets = partition(story(), 0, "signed")
    assert columns(sets.preserved) == [[1, 1, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert columns(sets.emerged) == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]]
    assert columns(sets.removed) == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]  # OR: old sign removed, new sign emerged
    assert columns(sets.kept) == [[1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 0, 1]]
    assert columns(sets.reentered) == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]  # back with the sign it had


def test_common_has_one_threshold_so_the_same_effect_is_salient_at_every_checkpoint_or_at_none():
    e = np.zeros((3, 2, 4))
    e[:, 0, 1], e[:, 0, 2], e[:, 0, 3] = [0.1, 1.0, 100.0], [0.1, 0.1, 0.1], [0.0, 6.0, 4.0]
    assert columns(partition(e, 0, "paper").all) == [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
    common = partition(e, 0)
    assert columns(common.all) == [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]  # tau = 5
    assert columns(common.emerged) == columns(common.all)
    assert not common.removed.any(), "the small effects of the base were never there to be removed"
    assert thresholds(e).tolist() == [5, 5, 5]


def test_common_keeps_what_has_the_same_sign_and_is_within_a_factor_of_two():
    e = np.zeros((2, 2, 4))
    e[0, 0, 1:], e[0, 1, 3] = [1.0, -1.0, 2.0], 1.0
    e[1, 0, 1:], e[1, 1, 3] = [2.0, 1.0, 0.9], 2.1
    sets = partition(e, 0)
    assert columns(sets.kept)[1] == columns(sets.preserved)[1] == [1, 0, 0, 0]  # exactly twice as strong is the same
    assert columns(sets.removed)[1] == columns(sets.emerged)[1] == [0, 1, 1, 1]  # flipped, halved, more than doubled


def test_the_floor_of_a_checkpoint_is_measured_with_the_threshold_of_the_run():
    e = np.zeros((2, 2, 4))
    e[0, 0, 1:], e[1, 0, 1:] = [0.1, 0.2, 0.0], [40.0, 0.0, 0.0]
    twin = np.zeros((2, 4))
    twin[0, 1:] = [0.0, 0.0, 0.3]
    count = {d: floor_values(e, 0, twin[None], d, 0.05)["count", "emerged", 0] for d in DEFINITIONS}
    assert count == {"common": 0, "paper": 1, "signed": 1}  # tau = 2; each wording's own


def test_and_and_or_of_the_same_words_are_two_interactions():
    e = np.zeros((2, 2, 4))
    e[0, 0, 3] = e[1, 1, 3] = 1.0
    sets = partition(e, 0, "paper")
    assert not sets.preserved[1].any()
    assert sets.emerged[1, 1, 3]
    assert sets.removed[1, 0, 3]


def test_a_later_reference_leaves_the_steps_before_it_with_omega_only():
    sets = partition(story(), 1, "paper")
    for name in SETS[1:]:
        assert not getattr(sets, name)[0].any(), name
    assert sets.all[0].sum() == 3
    assert columns(sets.preserved)[1:] == [[1, 0, 1, 1], [1, 0, 0, 1]]
    assert columns(sets.emerged)[2] == [0, 1, 0, 0]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_at_the_reference_all_is_preserved(definition):
    sets = partition(story(), 1, definition)
    assert np.array_equal(sets.preserved[1], sets.all[1])
    assert np.array_equal(sets.kept[1], sets.all[1])
    for mask in (sets.emerged, sets.removed, sets.reentered):
        assert not mask[1].any()


effects = hnp.arrays(np.float64, (5, 2, 8), elements=st.sampled_from([-2.0, -1.0, -0.06, 0.0, 0.0, 0.06, 1.0, 30.0]))


@given(effects, st.integers(0, 4), st.sampled_from(DEFINITIONS))
def test_identities(e, reference, definition):
    sets = partition(e, reference, definition)
    omega, omega_ref = sets.all[reference:], sets.all[reference]
    p, g, r, k, b = (getattr(sets, name)[reference:] for name in SETS[1:])
    assert np.array_equal(p | g, omega)
    assert not (p & g).any()
    assert not (p[1:] & ~p[:-1]).any()  # P shrinks
    assert not (p & ~k).any()
    assert not (b & ~g).any()
    assert np.array_equal(r | k, np.broadcast_to(omega_ref, r.shape))
    assert not (r & k).any()
    assert np.array_equal(b, k & ~p)
    if definition != "paper":
        both, now, before = r & omega, e[reference:], np.broadcast_to(e[reference], k.shape)
        assert (np.sign(now[k]) == np.sign(before[k])).all()
        ratio = np.divide(now, before, out=np.zeros_like(now), where=before != 0)
        if definition == "signed":  # removed with one sign, there with the other
            assert (ratio[both] < 0).all()
        else:
            assert ((ratio[k] >= 0.5) & (ratio[k] <= 2)).all()
            assert ((ratio[both] < 0.5) | (ratio[both] > 2)).all()
    else:
        assert not (r & omega).any()
    assert not sets.all[..., 0].any()


@given(effects)
def test_packing_loses_nothing(e):
    sets = partition(e, 2, "signed")
    for name, mask, back in zip(SETS, sets, unpack(pack(sets)), strict=True):
        assert np.array_equal(mask, back), name
