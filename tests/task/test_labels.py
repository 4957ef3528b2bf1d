"""Eval loss, accuracy and macro-F1 against plain computations, one unpadded row at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from interplay.dynamics.stats import mean_of, percentile, ratio_of, resample_counts, wilson
from interplay.task import passes
from interplay.task.labels import EvalSet, prepare_eval, score_eval
from interplay.task.metrics import macro_f1, macro_f1_of

LABELS = ("anger", "joy", "love", "sadness")


def logprobs(model, prompt, target) -> torch.Tensor:
    """Log p of each target token [m], teacher-forced; no padding, no batch."""
    with torch.no_grad():
        out = model(input_ids=torch.tensor([[*prompt, *target]]), use_cache=False).logits[0]
    at = torch.arange(len(prompt) - 1, len(prompt) + len(target) - 1)
    return out.double().log_softmax(-1)[at, torch.tensor(target)]


def plain(model, data) -> tuple[float, float]:
    """Eval loss and the accuracy of the likeliest whole label."""
    own = torch.cat([logprobs(model, e.input_ids, e.target_ids) for e in data.encoded])
    hits = []
    for e, gold in zip(data.encoded, data.gold or (), strict=False):
        sums = [float(logprobs(model, e.input_ids, ids).sum()) for ids in data.label_ids]
        hits.append(int(np.argmax(sums)) == gold)
    return float(-own.mean()), float(np.mean(hits)) if hits else float("nan")


def evaluate(model, data, **options) -> tuple[float, float]:
    """Eval loss and accuracy from what `score_eval` gives."""
    scores = score_eval(model, data, **options)
    hits = np.nan if data.gold is None else np.mean(scores.predicted == np.array(data.gold))
    return scores.nll.sum() / scores.tokens.sum(), hits


@pytest.mark.matrix("llama", "gemma3")
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "qwen3"])
def test_eval_loss_is_that_of_single_rows_whatever_the_batches(loaded, data, architecture):
    model = loaded(architecture)
    expected, _ = plain(model, data)
    lengths = {len(e.input_ids) for e in data.encoded}
    assert len(lengths) > 3  # so that batches are padded
    results = [evaluate(model, data, batch_tokens=b) for b in (1, 150, 100_000)]
    for loss, accuracy in results:
        assert loss == pytest.approx(expected, rel=1e-9)
        assert accuracy == results[0][1]
    single = loaded(architecture, "float32")
    assert evaluate(single, data)[0] == pytest.approx(expected, rel=1e-4)


def test_the_head_never_gives_more_logits_than_allowed(loaded, data, monkeypatch):
    model = loaded("llama")
    expected = evaluate(model, data)
    seen = []
    hook = model.lm_head.register_forward_hook(lambda m, args, out: seen.append(out.numel()))
    monkeypatch.setattr(passes, "MAX_LOGITS", 40 * 384)
    limited = evaluate(model, data)
    hook.remove()
    assert len(seen) > 1
    assert max(seen) <= 40 * model.config.vocab_size
    assert limited == (pytest.approx(expected[0], rel=1e-12), expected[1])


def test_tokens_are_weighted_equally_not_rows(loaded, rows, template, tiny_tokenizer):
    model = loaded("qwen2")
    short = replace(rows[0], target="joy", label=None)
    long = replace(rows[1], target="we had to laugh at all the food", label=None)
    both = prepare_eval([short, long], None, tiny_tokenizer, template)
    parts = [prepare_eval([row], None, tiny_tokenizer, template) for row in (short, long)]
    sizes = [len(p.encoded[0].target_ids) for p in parts]
    losses = [evaluate(model, p)[0] for p in parts]
    assert sizes[0] != sizes[1]
    assert evaluate(model, both)[0] == pytest.approx(np.average(losses, weights=sizes), rel=1e-9)
    assert score_eval(model, both).predicted is None


def test_accuracy_by_the_first_token_where_first_tokens_differ(loaded, data):
    firsts = [ids[0] for ids in data.label_ids]
    assert len(set(firsts)) == len(firsts)
    model = loaded("gemma3")
    hits = []
    for e, gold in zip(data.encoded, data.gold, strict=True):
        ranked = [float(logprobs(model, e.input_ids, [first])[0]) for first in firsts]
        hits.append(int(np.argmax(ranked)) == gold)
    assert evaluate(model, data)[1] == np.mean(hits)


@pytest.mark.matrix(1)
@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_accuracy_by_the_whole_label_where_first_tokens_collide(loaded, rows, template, tiny_tokenizer, batch_tokens):
    colliding = ("joy", "joyless", "just so", "sadness")
    relabelled = [replace(row, target=colliding[i % 4], label=colliding[i % 4]) for i, row in enumerate(rows)]
    data = prepare_eval(relabelled, colliding, tiny_tokenizer, template)
    firsts = [ids[0] for ids in data.label_ids]
    assert len(set(firsts)) < len(firsts)
    for architecture in ("llama", "qwen3"):
        model = loaded(architecture)
        _, accuracy = plain(model, data)
        assert evaluate(model, data, batch_tokens=batch_tokens)[1] == accuracy


def test_a_model_that_knows_the_answer_is_right(rows, template, tiny_tokenizer, data, loaded):
    """Gold in hand: logits that put all weight on the row's own next token give loss 0 and accuracy 1."""

    class Oracle(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.config = inner, inner.config

        def get_input_embeddings(self):
            return self.inner.get_input_embeddings()

        def forward(self, input_ids, attention_mask=None):
            following = torch.roll(input_ids, -1, dims=1)
            logits = torch.nn.functional.one_hot(following, self.config.vocab_size).double() * 1e3
            return type("Out", (), {"logits": logits})

    assert evaluate(Oracle(loaded("llama")), data) == (pytest.approx(0.0, abs=1e-9), 1.0)


def test_progress_and_an_empty_set(loaded, data):
    seen = []
    evaluate(loaded("llama"), data, batch_tokens=150, progress=lambda *a: seen.append(a))
    assert seen[-1] == (len(data.encoded), len(data.encoded))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(score_eval(loaded("llama"), EvalSet((), (), None, ())).nll) == 0


def test_the_model_keeps_its_mode(loaded, data):
    model = loaded("qwen2")
    model.train()
    evaluate(model, data)
    assert all(m.training for m in model.modules())
    model.eval()


def test_rows_that_cannot_be_used_are_named(rows, template, tiny_tokenizer):
    special = replace(rows[0], id="special", target="<|im_end|>")
    strange = replace(rows[1], id="strange", label="hunger")
    unlabelled = replace(rows[2], id="unlabelled", label=None)
    data = prepare_eval([special, strange, unlabelled, rows[3]], LABELS, tiny_tokenizer, template)
    assert len(data.encoded) == 1
    assert data.gold == (LABELS.index(rows[3].label),)
    reasons = dict(data.skipped)
    assert set(reasons) == {"special", "strange", "unlabelled"}
    assert "'hunger' is not among the labels" in reasons["strange"]
    without = prepare_eval([strange, rows[3]], None, tiny_tokenizer, template)
    assert (len(without.encoded), without.gold, without.label_ids) == (2, None, None)


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilson_solves_its_equation(successes, trials):
    successes = min(successes, trials)
    share, low, high = wilson(successes, trials)
    assert share == successes / trials
    assert 0 <= low <= share <= high <= 1
    # The ends are the p at which the observed share lies 1.96 standard errors away.
    for p in (low, high):
        assert (share - p) ** 2 == pytest.approx(1.96**2 * p * (1 - p) / trials, abs=1e-9)


def naive_f1(gold, predicted):
    """F1 = 2 tp / (2 tp + fp + fn) of each label that occurs on either side; their mean."""
    found = []
    for label in {*gold, *predicted}:
        tp = sum(g == p == label for g, p in zip(gold, predicted, strict=True))
        wrong = sum((g == label) != (p == label) for g, p in zip(gold, predicted, strict=True))
        found.append(2 * tp / (2 * tp + wrong))
    return sum(found) / len(found)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12), st.integers(0, 99))
def test_macro_f1_is_that_of_its_definition_in_every_resample(pairs, seed):
    gold, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    assert macro_f1(gold, predicted) == f1_score(gold, predicted, average="macro", zero_division=0.0)
    assert macro_f1(gold, predicted) == pytest.approx(naive_f1(gold.tolist(), predicted.tolist()))
    counts = resample_counts(len(pairs), 3, np.random.default_rng(seed))
    for one, row in zip(macro_f1_of(gold, predicted, counts), counts.astype(int), strict=True):
        assert one == pytest.approx(naive_f1(np.repeat(gold, row).tolist(), np.repeat(predicted, row).tolist()))


def test_macro_f1_by_hand():
    # Four labels; F1 of 0: 2*2/(2*2+1) = 4/5; of 1: 2/(2+1) = 2/3; of 2: never predicted, 0.
    assert macro_f1([0, 0, 1, 2], [0, 0, 1, 1]) == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_rows_say_what_the_figures_are_made_of(loaded, data):
    seen = {}
    model = loaded("qwen2")
    scores = score_eval(model, data, batch_tokens=150, seen=lambda row, logprobs: seen.update({row: logprobs}))
    assert sorted(seen) == list(range(len(data.encoded)))
    for i, e in enumerate(data.encoded):
        own = logprobs(model, e.input_ids, e.target_ids)
        assert scores.nll[i] == pytest.approx(-float(own.sum()), rel=1e-9)
        assert scores.tokens[i] == len(e.target_ids)
        assert float(seen[i][e.target_ids[0]]) == pytest.approx(float(own[0]), rel=1e-9)
    assert [row.id for row in data.rows] == [f"r{i}" for i in range(16)]


def test_resampled_means_leave_out_what_is_not_known():
    x = np.array([[1.0, 3.0, np.nan], [2.0, 2.0, 2.0]])
    counts = np.array([[1, 1, 1], [0, 0, 3], [0, 2, 1]])
    np.testing.assert_allclose(mean_of(x, counts), [[2.0, 2.0], [np.nan, 2.0], [3.0, 2.0]])
    np.testing.assert_allclose(ratio_of(x[0], np.array([1.0, 2.0, 5.0]), counts), [4 / 3, np.nan, 1.5])
    assert np.isnan(percentile(1.0, np.array([1.0, np.nan, np.nan])).lo)
    assert percentile(1.0, np.array([1.0, 1.0, np.nan])) == (1.0, 1.0, 1.0)
