"""The packed trie against plain forward passes: same scores, less work, and a model left as it was."""

from importlib import import_module

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.scoring.forward import score_rows
from interplay.scoring.masking import masked_ids
from interplay.scoring.score import prepare, score_prepared
from interplay.scoring.trie import make_plan, plan_tokens, score_trie, supports_trie

ARCHITECTURES = ("llama", "qwen2", "gemma3", "qwen3", "mistral")
MASK = 3


@pytest.fixture(scope="session")
def tiny_model(tiny_folder, tiny_tokenizer):
    """Models of the shared fixture, and a Mistral with a sliding window, in a given dtype."""

    def load(architecture: str, dtype=torch.float64):
        if architecture != "mistral":
            return AutoModelForCausalLM.from_pretrained(tiny_folder(architecture), dtype=dtype).eval()
        from transformers import MistralConfig

        torch.manual_seed(0)
        config = MistralConfig(
            vocab_size=len(tiny_tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=8,
            initializer_range=0.3,
        )
        return AutoModelForCausalLM.from_config(config).to(dtype).eval()

    return load


def prompt(first: int, n: int = 4, seed: int = 0):
    """A random prompt whose n words start at `first`; the second word has two tokens, the last has text behind it."""
    rng = np.random.default_rng(seed)
    ids = tuple(int(i) for i in rng.integers(4, 300, first + 5 * n))
    starts = [first + 4 * i for i in range(n)]
    spans = tuple((s, s + 1) if i == 1 else (s,) for i, s in enumerate(starts))
    return ids, spans


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("first", [0, 3, 20])  # nothing shared; shorter, and longer, than the sliding window of 8
@pytest.mark.parametrize("targets", [(7,), (7, 9, 11)])
def test_equals_plain_forward_passes(tiny_model, architecture, first, targets):
    model = tiny_model(architecture)
    assert supports_trie(model)
    ids, spans = prompt(first)
    plain = [score_rows(model, row[None], targets)[0] for row in masked_ids(ids, spans, MASK)]
    assert np.std(plain) > 0.05  # the comparison means something
    for budget in (10_000, 40, 1):  # one pass; subtrees; one leaf at a time
        np.testing.assert_allclose(
            score_trie(model, ids, spans, MASK, targets, budget=budget), plain, rtol=0, atol=1e-9
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_within_rounding(tiny_model, architecture):
    model = tiny_model(architecture, torch.float32)
    ids, spans = prompt(5, n=6)
    plain = score_rows(model, masked_ids(ids, spans, MASK), (7,), batch_tokens=1)
    np.testing.assert_allclose(score_trie(model, ids, spans, MASK, (7,)), plain, rtol=0, atol=5e-5)


def test_among_and_one_word(tiny_model):
    model = tiny_model("llama")
    ids, spans = prompt(2, n=1)
    plain = score_rows(model, masked_ids(ids, spans, MASK), (7,), among=(5, 7, 9))
    np.testing.assert_allclose(score_trie(model, ids, spans, MASK, (7,), among=(5, 7, 9)), plain, atol=1e-9)


def test_adapter(tiny_model):
    from peft import LoraConfig, get_peft_model

    model = tiny_model("qwen2")
    ids, spans = prompt(3)
    before = score_trie(model, ids, spans, MASK, (7,))
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    assert supports_trie(model)
    after = score_trie(model, ids, spans, MASK, (7,))
    plain = score_rows(model, masked_ids(ids, spans, MASK), (7,))
    np.testing.assert_allclose(after, plain, atol=1e-9)
    assert np.abs(after - before).max() > 0.01


def test_the_trie_is_as_small_as_it_says():
    ids, spans = prompt(3, n=5)
    plan = make_plan(ids, spans, MASK)
    assert len(plan.ids) == plan_tokens(len(ids), [s[0] for s in spans], 0) < len(ids) << 5
    assert sorted(plan.coalitions) == list(range(32))
    rows = masked_ids(ids, spans, MASK)
    for leaf, coalition in enumerate(plan.coalitions):  # each path spells the masked prompt of its coalition
        path = plan.levels[-1].path[leaf]
        np.testing.assert_array_equal(plan.ids[path], rows[coalition])
        np.testing.assert_array_equal(plan.positions[path], np.arange(len(ids)))


def test_the_model_is_left_as_it_was(tiny_model):
    model = tiny_model("gemma3", torch.float32).train()
    ids, spans = prompt(3)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    attention, random = model.config._attn_implementation, torch.get_rng_state()
    score_trie(model, ids, spans, MASK, (7,))
    with pytest.raises(IndexError):
        score_trie(model, (*ids[:-1], 10_000), spans, MASK, (7,))  # no such embedding
    assert model.config._attn_implementation == attention
    assert all(layer.self_attn.config._attn_implementation == attention for layer in model.model.layers)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


def test_a_wrong_trie_is_noticed(tiny_model, tiny_tokenizer, monkeypatch):
    model = tiny_model("llama", torch.float32)
    template = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)
    sample = make_sample("I was not happy with the food", "sadness", words=["not", "happy", "food"], template=template)
    prepared = prepare(sample, tiny_tokenizer, template)
    right = score_prepared(model, prepared)
    assert right.noise_sigma < 1e-4
    module = import_module("interplay.scoring.score")  # the package has a function of that name
    monkeypatch.setattr(module, "score_trie", lambda *args, **kwargs: right.values + 0.5)
    with pytest.warns(UserWarning, match="packed trie differs from plain forward passes"):
        again = score_prepared(model, prepared)
    np.testing.assert_allclose(again.values, right.values, atol=5e-5)


def test_other_architectures_take_the_plain_road(tiny_tokenizer):
    from transformers import GPT2Config

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tiny_tokenizer), n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert not supports_trie(model)
    template = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)
    sample = make_sample("I was not happy with the food", "sadness", words=["not", "happy", "food"], template=template)
    scored = score_prepared(model, prepare(sample, tiny_tokenizer, template))
    assert scored.noise_sigma < 1e-4
    assert np.std(scored.values) > 1e-3
