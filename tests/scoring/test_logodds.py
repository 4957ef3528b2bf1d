"""Log-odds from logits against probabilities, and where probabilities fail."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interplay.scoring.logodds import Question, log_odds

logits_2d = st.integers(2, 6).flatmap(
    lambda v: st.lists(st.lists(st.floats(-8, 8), min_size=v, max_size=v), min_size=1, max_size=4)
)


@given(logits_2d, st.data())
def test_equals_the_probability_formula(rows, data):
    logits = torch.tensor(rows, dtype=torch.float64)
    m, size = logits.shape
    targets = data.draw(st.lists(st.integers(0, size - 1), min_size=m, max_size=m))
    p = logits.softmax(-1)[torch.arange(m), torch.tensor(targets)]
    expected = float((p.log() - torch.log1p(-p)).sum())
    assert float(log_odds(logits, targets)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(logits_2d, st.data())
def test_among_equals_the_others_taken_away(rows, data):
    logits = torch.tensor(rows[:1], dtype=torch.float64)
    size = logits.shape[1]
    pool = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=size, unique=True))
    expected = log_odds(logits[:, pool], [0])
    for labels in (pool, [*pool, *pool]):
        asked = Question((pool[0],), tuple((token,) for token in labels))
        assert float(asked.answer(logits)) == pytest.approx(float(expected), rel=1e-12)


def test_labels_of_several_tokens_by_hand():
    # After the prompt token 0 has p = 1/2, tokens 1 and 2 a quarter each; after (0,) token 1 has 3/4.
    first, after = [math.log(2), 0.0, 0.0], [math.log(0.5), math.log(3), math.log(0.5)]
    asked = Question((0, 1), ((0, 1), (0, 2), (1,)))
    assert asked.prefixes == ((), (0,))
    logits = torch.tensor([[first, after]], dtype=torch.float64)
    p, other, third = 0.5 * 0.75, 0.5 * 0.125, 0.25
    assert float(asked.answer(logits)) == pytest.approx(math.log(p / (other + third)), rel=1e-12)


def test_prefixes_hold_all_their_beginnings_and_the_empty_one_first():
    asked = Question((9, 8, 7), ((9, 8, 7), (9, 8, 6, 5), (4,)))
    assert asked.prefixes == ((), (9,), (9, 8), (9, 8, 6))
    assert asked.labels[0] == (9, 8, 7)


def test_several_targets_by_hand():
    # Row 0: 1 - log(e^0 + e^2); row 1: 3 - log(e^1 + e^1) = 3 - 1 - log 2. Teacher forcing adds them.
    logits = torch.tensor([[1.0, 0.0, 2.0], [1.0, 3.0, 1.0]], dtype=torch.float64)
    by_hand = (1 - math.log(1 + math.e**2)) + (2 - math.log(2))
    assert float(log_odds(logits, [0, 1])) == pytest.approx(by_hand, rel=1e-12)
    batch = torch.stack([logits, logits.flip(-1)])
    assert log_odds(batch, [0, 1]).shape == (2,)
    assert float(log_odds(batch, [0, 1])[0]) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("gap", [50.0, 200.0, 1e4])
@pytest.mark.parametrize("sign", [1, -1])
def test_does_not_saturate(gap, sign):
    logits = torch.tensor([[sign * gap, 0.0, 0.0]])
    assert float(log_odds(logits, [0])) == pytest.approx(sign * gap - math.log(2), rel=1e-6)


def test_a_huge_vocabulary_of_small_logits_keeps_its_digits():
    size = 262_144
    logits = torch.zeros(1, size)
    assert float(log_odds(logits, [5])) == pytest.approx(-math.log(size - 1), abs=1e-4)


def test_narrow_logits_are_promoted_and_wide_ones_stay():
    for dtype, result in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2):
        assert log_odds(torch.zeros(1, 3, dtype=dtype), [0]).dtype == result


def test_input_is_not_changed():
    logits = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    log_odds(logits, [1])
    assert torch.equal(logits, before)


@pytest.mark.parametrize("among", [((1,), (2,)), ((0,),), ((0,), (0,))])
def test_among_without_the_target_or_without_another_label(among):
    with pytest.raises(ValueError, match="must hold the target"):
        Question((0,), among)


def test_a_question_without_a_target():
    with pytest.raises(ValueError, match="at least one target token"):
        Question(())


def test_is_monotone_in_the_target_logit():
    others = np.linspace(-3, 3, 7)
    values = [float(log_odds(torch.tensor([[x, 0.5, -1.0]], dtype=torch.float64), [0])) for x in others]
    np.testing.assert_allclose(np.diff(values), np.diff(others))  # v is affine in the logit with slope 1
