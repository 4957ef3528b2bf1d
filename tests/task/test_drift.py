"""KL divergences of known distributions, from the pass that gives the loss; nats of windows against one token at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interplay.errors import InterplayError
from interplay.task import drift
from interplay.task.drift import BaseDistributions, divergences, retention_windows, score_windows
from interplay.task.labels import score_eval

TEXT = "we had to laugh at all the food, not happy with the sadness. " * 12


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=6))
def test_divergences_of_two_known_distributions(pairs):
    p, q = (np.array(side) / sum(side) for side in zip(*pairs, strict=True))
    forward, reverse = divergences(np.log(p), np.log(q))
    assert forward == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-9)
    assert reverse == pytest.approx(sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)), abs=1e-9)
    assert divergences(np.log(p), np.log(p)) == (0.0, 0.0)
    # Both are normalised, so a shift of all logits is no difference.
    assert divergences(np.log(p) + 5, np.log(p))[0] == pytest.approx(0, abs=1e-9)


def test_a_token_the_base_never_says_costs_nothing_forward_and_everything_back():
    forward, reverse = divergences(np.array([0.0, -np.inf]), np.log([0.5, 0.5]))
    assert forward == pytest.approx(math.log(2))
    assert reverse == math.inf


def first_distribution(model, e) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.tensor([e.input_ids])).logits[0, -1].double().log_softmax(-1).numpy()


def test_kl_comes_from_the_pass_that_gives_the_loss(loaded, data):
    one, other = loaded("llama", "float32"), loaded("qwen2", "float32")
    base = BaseDistributions(len(data.encoded))
    score_eval(one, data, batch_tokens=150, seen=base.collect)
    passes = []
    hook = other.register_forward_hook(lambda *_: passes.append(1))
    alone = score_eval(other, data, batch_tokens=150)
    without, compared = len(passes), base.against()
    scores = score_eval(other, data, batch_tokens=150, seen=compared.seen)
    hook.remove()
    assert len(passes) == 2 * without, "no pass of its own"
    np.testing.assert_array_equal(scores.nll, alone.nll)
    for i, e in enumerate(data.encoded):
        expected = divergences(first_distribution(one, e), first_distribution(other, e))
        assert (compared.found.forward[i], compared.found.reverse[i]) == pytest.approx(expected, rel=1e-3)
        assert expected[0] > 0.01
    again = base.against()
    score_eval(one, data, batch_tokens=150, seen=again.seen)
    np.testing.assert_array_equal(again.found.forward, 0)


def test_memory_of_the_base_is_bounded(monkeypatch, loaded, data):
    exact = compare(loaded, data)
    monkeypatch.setattr(drift, "SINGLE_BYTES", 1000)
    half = compare(loaded, data)
    np.testing.assert_allclose(half, exact, rtol=0.01)
    assert not np.array_equal(half, exact)
    size = loaded("llama").config.vocab_size
    monkeypatch.setattr(drift, "MOST_BYTES", 5 * size * 2)  # five rows in float16
    few = compare(loaded, data)
    assert np.isnan(few[5:]).all()
    np.testing.assert_array_equal(few[:5], half[:5])


def compare(loaded, data) -> np.ndarray:
    base = BaseDistributions(len(data.encoded))
    score_eval(loaded("llama"), data, seen=base.collect)
    compared = base.against()
    score_eval(loaded("qwen2"), data, seen=compared.seen)
    return compared.found.forward


def test_another_head_is_refused():
    base = BaseDistributions(1)
    base.collect(0, torch.zeros(4))
    with pytest.raises(InterplayError, match=r"5 tokens in its head and step 0 has 4.* set task\.kl to false"):
        base.against().seen(0, torch.zeros(5))


@pytest.mark.parametrize("batch_tokens", [1, 200, None])
def test_nats_of_windows_are_those_of_one_token_at_a_time(loaded, tiny_tokenizer, monkeypatch, batch_tokens):
    model = loaded("qwen3")
    monkeypatch.setattr(drift, "WINDOW", 20)
    windows = retention_windows(TEXT, model, tiny_tokenizer, 50)
    ids = tiny_tokenizer(TEXT, add_special_tokens=False)["input_ids"][:50]
    assert windows == (tuple(ids[:20]), tuple(ids[20:40]), tuple(ids[40:]))
    nats = []
    with torch.no_grad():
        for window in windows:
            for i in range(1, len(window)):
                logits = model(input_ids=torch.tensor([window[:i]])).logits[0, -1]
                nats.append(-float(logits.double().log_softmax(-1)[window[i]]))
    found = score_windows(model, windows, batch_tokens=batch_tokens)
    assert found.tokens.tolist() == [19, 19, 9]
    assert found.nll.sum() == pytest.approx(sum(nats), rel=1e-9)


def test_windows_start_with_the_tokenizers_bos_and_fit_the_model(loaded, tiny_tokenizer, monkeypatch):
    model = loaded("llama")
    monkeypatch.setattr(drift, "_leading_ids", lambda tokenizer: (0,))
    windows = retention_windows(TEXT * 9, model, tiny_tokenizer, 1200)
    assert {w[0] for w in windows} == {0}
    assert max(map(len, windows)) == 512
    assert sum(len(w) - 1 for w in windows) == 1200
    monkeypatch.setattr(drift, "MAX_LOGITS", 100 * model.config.vocab_size)
    assert max(map(len, retention_windows(TEXT, model, tiny_tokenizer, 300))) == 100


def test_a_text_too_short_is_refused(loaded, tiny_tokenizer):
    with pytest.raises(InterplayError, match="give a longer text"):
        retention_windows("a", loaded("llama"), tiny_tokenizer, 100)
