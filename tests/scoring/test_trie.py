"""The packed trie against plain forward passes: same scores, less work, and a model left as it was."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.scoring.forward import score_rows
from interplay.scoring.logodds import Question
from interplay.scoring.masking import masked_ids
from interplay.scoring.plan import branch_order, kept_words, make_plan, plan_tokens
from interplay.scoring.precision import product_float32, wide_residual
from interplay.scoring.scores import prepare, score_prepared
from interplay.scoring.trie import TESTED, score_trie, supports_trie

MASK = ((3,),) * 64  # what stands in the place of each word
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
# What an architecture has of its own; all else is in `tiny_model`.
SPECIAL = {
    "cohere": {"logit_scale": 1.0},
    "cohere2": {**ALTERNATING, "logit_scale": 1.0},
    "exaone4": ALTERNATING,
    "gemma2": {**ALTERNATING, "attn_logit_softcapping": 1.0, "query_pre_attn_scalar": 8},
    "gemma3_text": {**ALTERNATING, "query_pre_attn_scalar": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "granitemoe": EXPERTS,
    "ministral": ALTERNATING,
    "mistral": {"sliding_window": 8},
    "mixtral": EXPERTS,
    "olmo3": ALTERNATING,
    "olmoe": EXPERTS,
    "phi3": {"sliding_window": 8},
    "phimoe": EXPERTS,
    "qwen2": {**ALTERNATING, "use_sliding_window": True},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3": {**ALTERNATING, "use_sliding_window": True},
    "qwen3_moe": EXPERTS,
    "starcoder2": {"sliding_window": 8},
}
EXPERTS_ONLY_NARROW = tuple(
    name for name, own in SPECIAL.items() if "num_experts" in own
)  # no float64 in their products


@pytest.fixture(scope="session")
def tiny_model():
    """A random model of two layers of one architecture, with a sliding window where it may have one."""

    def load(architecture: str, dtype=torch.float64, **own):
        torch.manual_seed(0)
        shape = {
            "vocab_size": 320,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "initializer_range": 0.3,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        config = AutoConfig.for_model(architecture, **{**shape, **SPECIAL.get(architecture, {}), **own})
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():  # biases and norms of a new model are zeros and ones, which would hide their absence
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter += 0.1 * torch.randn_like(parameter)
        return model.to(dtype).eval()

    return load


def prompt(first: int, n: int = 4, seed: int = 0):
    """A random prompt whose n words start at `first`; the second word has two tokens, the last has text behind it."""
    rng = np.random.default_rng(seed)
    ids = tuple(int(i) for i in rng.integers(4, 300, first + 5 * n))
    starts = [first + 4 * i for i in range(n)]
    spans = tuple((s, s + 1) if i == 1 else (s,) for i, s in enumerate(starts))
    return ids, spans


def plainly(model, ids, spans, target, among=None):
    """One prompt a pass, nothing shared."""
    question = Question(target, among)
    return np.array([score_rows(model, row[None], question)[0] for row in masked_ids(ids, spans, MASK)])


@pytest.mark.matrix("llama", "gemma2", "gpt2", "mixtral")
@pytest.mark.parametrize("architecture", sorted(TESTED))
def test_equals_plain_forward_passes(tiny_model, architecture):
    narrow = architecture in EXPERTS_ONLY_NARROW
    model = tiny_model(architecture, torch.float32 if narrow else torch.float64)
    assert supports_trie(model)
    # float32 in float64 models too: soft-capped attention takes its softmax in float32
    close = 5e-5 if narrow else 1e-5 if architecture == "gemma2" else 1e-9
    for first in (0, 3, 20):  # nothing shared; shorter, and longer, than the sliding window of 8
        ids, spans = prompt(first)
        plain = plainly(model, ids, spans, (7, 9, 11))
        assert np.std(plain) > 0.05  # the comparison means something
        for budget in (10_000, 40, 1):  # one pass; runs of leaves; one leaf at a time
            found = score_trie(model, ids, spans, MASK, Question((7, 9, 11)), budget=budget)
            np.testing.assert_allclose(found, plain, rtol=0, atol=close)


def test_the_soft_cap_matters(tiny_model):
    ids, spans = prompt(3)
    capped, free = (tiny_model("gemma2", attn_logit_softcapping=cap) for cap in (1.0, None))
    assert (
        np.abs(
            score_trie(capped, ids, spans, MASK, Question((7,))) - score_trie(free, ids, spans, MASK, Question((7,)))
        ).max()
        > 0.01
    )
    np.testing.assert_allclose(
        score_trie(free, ids, spans, MASK, Question((7,))), plainly(free, ids, spans, (7,)), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "gemma3_text", "qwen3", "mistral"])
def test_float32_within_rounding(tiny_model, architecture):
    model = tiny_model(architecture, torch.float32)
    ids, spans = prompt(5, n=6)
    plain = score_rows(model, masked_ids(ids, spans, MASK), Question((7,)), batch_tokens=1)
    np.testing.assert_allclose(score_trie(model, ids, spans, MASK, Question((7,))), plain, rtol=0, atol=5e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "gemma3_text", "qwen3", "mistral"])
def test_16_bit_models(tiny_model, architecture, dtype):
    model = tiny_model(architecture, dtype)
    ids, spans = prompt(5)
    with wide_residual(model, product_float32):  # the same model without rounding: trie and plain passes agree in it
        exact = plainly(model, ids, spans, (7,))
        np.testing.assert_allclose(score_trie(model, ids, spans, MASK, Question((7,))), exact, rtol=0, atol=5e-5)
    with wide_residual(model):
        wide = score_trie(model, ids, spans, MASK, Question((7,)))
    assert 0 < np.abs(wide - exact).max() < 40 * torch.finfo(dtype).eps
    assert all(parameter.dtype == dtype for parameter in model.parameters())


def test_a_wide_residual_takes_most_of_the_noise_away(tiny_model):
    model = tiny_model("llama", torch.bfloat16, num_hidden_layers=12)
    ids, spans = prompt(5, n=6)
    with wide_residual(model, product_float32):
        exact = score_trie(model, ids, spans, MASK, Question((7,)))
    with wide_residual(model) as on:
        wide = score_trie(model, ids, spans, MASK, Question((7,)))
    assert on
    stock = score_trie(model, ids, spans, MASK, Question((7,)))
    assert np.std(wide - exact) < 0.9 * np.std(stock - exact)
    with wide_residual(tiny_model("llama", torch.float32)) as on:  # nothing to widen
        assert not on


def test_repeated_words_first_and_last_tokens(tiny_model):
    """A word at the very first token and one at the very last, equal words, and words side by side."""
    model = tiny_model("qwen2")
    ids = (40, 41, 40, 40, 42, 41, 43, 44)
    spans = ((0,), (1, 2), (3,), (5,), (6, 7))
    for targets in ((7,), (7, 9)):
        plain = plainly(model, ids, spans, targets)
        assert len(np.unique(plain)) == 32
        for budget in (10_000, 20):
            np.testing.assert_allclose(
                score_trie(model, ids, spans, MASK, Question(targets), budget=budget), plain, rtol=0, atol=1e-9
            )


def test_the_words_may_be_the_whole_prompt(tiny_model):
    model = tiny_model("llama")
    ids, spans = (40,), ((0,),)
    np.testing.assert_allclose(
        score_trie(model, ids, spans, MASK, Question((7,))), plainly(model, ids, spans, (7,)), rtol=0, atol=1e-9
    )


@pytest.mark.matrix(2)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text"])
@pytest.mark.parametrize(
    "labels",
    [((5,), (7,), (9,)), ((7, 9), (7, 11, 12), (5,)), ((7, 9, 11), (7, 9, 12), (8, 9, 11), (8, 9, 12, 13))],
)
def test_label_sets(tiny_model, architecture, labels):
    model = tiny_model(architecture)
    ids, spans = prompt(9)
    chances = 0.0
    for target in labels:
        plain = plainly(model, ids, spans, target, labels)
        for budget in (10_000, 40):
            found = score_trie(model, ids, spans, MASK, Question(target, labels), budget=budget)
            np.testing.assert_allclose(found, plain, rtol=0, atol=1e-9)
        chances = chances + 1 / (1 + np.exp(-plain))
    np.testing.assert_allclose(chances, 1, atol=1e-9)


def test_labels_cost_their_own_tokens(tiny_model):
    ids, spans = prompt(3)
    every = np.arange(16, dtype=np.uint64)
    bare = make_plan(ids, spans, MASK, every)
    several = make_plan(ids, spans, MASK, every, ((), (5,), (7,), (7, 8)))
    assert len(several.ids) == len(bare.ids) + 16 * 3


def test_chosen_coalitions_in_their_own_order(tiny_model):
    model = tiny_model("qwen2")
    ids, spans = prompt(3, n=7)
    every = score_trie(model, ids, spans, MASK, Question((7,)))
    chosen = np.random.default_rng(0).permutation(128)[:50].astype(np.uint64)
    chosen = np.concatenate([chosen, chosen[:3]])  # also twice
    for budget in (10_000, 60, 1):
        found = score_trie(model, ids, spans, MASK, Question((7,)), coalitions=chosen, budget=budget)
        np.testing.assert_allclose(found, every[chosen], rtol=0, atol=1e-9)
    rows = score_rows(model, masked_ids(ids, spans, MASK, chosen), Question((7,)), shared=3)
    np.testing.assert_allclose(rows, every[chosen], rtol=0, atol=1e-9)


def test_more_words_than_there_are_bits_in_an_int(tiny_model):
    model = tiny_model("llama")
    rng = np.random.default_rng(0)
    ids = tuple(int(i) for i in rng.integers(4, 300, 70))
    spans = tuple((i,) for i in range(2, 66))
    chosen = np.array([0, 2**64 - 1, 2**63, 1, 2**63 + 1, *rng.integers(0, 2**63, 9)], dtype=np.uint64)
    seen = []
    found = score_trie(
        model, ids, spans, MASK, Question((7,)), coalitions=chosen, budget=300, progress=lambda *done: seen.append(done)
    )
    plain = [score_rows(model, row[None], Question((7,)))[0] for row in masked_ids(ids, spans, MASK, chosen)]
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-9)
    assert len(seen) > 1
    assert seen[-1] == (len(chosen), len(chosen))


def test_adapter(tiny_model):
    from peft import LoraConfig, get_peft_model

    model = tiny_model("qwen2")
    ids, spans = prompt(3)
    before = score_trie(model, ids, spans, MASK, Question((7,)))
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    assert supports_trie(model)
    after = score_trie(model, ids, spans, MASK, Question((7,)))
    plain = score_rows(model, masked_ids(ids, spans, MASK), Question((7,)))
    np.testing.assert_allclose(after, plain, atol=1e-9)
    assert np.abs(after - before).max() > 0.01


def test_several_adapters_on_one_base(tiny_model):
    from peft import LoraConfig, get_peft_model

    model = tiny_model("llama")
    ids, spans = prompt(3)
    base = score_trie(model, ids, spans, MASK, Question((7,)))
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(model, settings, adapter_name="one")
    model.add_adapter("two", settings)
    found = {}
    for name in ("one", "two", "one"):
        model.set_adapter(name)
        values = score_trie(model, ids, spans, MASK, Question((7,)))
        np.testing.assert_allclose(values, plainly(model, ids, spans, (7,)), rtol=0, atol=1e-9)
        np.testing.assert_array_equal(values, found.setdefault(name, values))
    assert np.abs(found["one"] - found["two"]).max() > 0.01
    with model.disable_adapter():
        np.testing.assert_array_equal(score_trie(model, ids, spans, MASK, Question((7,))), base)


def test_the_trie_is_as_small_as_it_says():
    ids, spans = prompt(3, n=5)
    every = np.arange(32, dtype=np.uint64)
    plan = make_plan(ids, spans, MASK, every)
    starts = [s[0] for s in spans]
    sizes = np.diff([0, *starts, len(ids)])
    assert len(plan.ids) == plan_tokens(branch_order(kept_words(every, 5))[1], sizes) == sum(sizes << np.arange(6))
    assert len(plan.ids) < len(ids) << 4
    rows = masked_ids(ids, spans, MASK)
    for coalition, leaf in enumerate(plan.leaf):  # each path spells the masked prompt of its coalition
        path = plan.levels[-1].path[leaf]
        np.testing.assert_array_equal(plan.ids[path], rows[coalition])
        np.testing.assert_array_equal(plan.positions[path], np.arange(len(ids)))


def test_the_model_is_left_as_it_was(tiny_model):
    model = tiny_model("gemma3_text", torch.float32).train()
    ids, spans = prompt(3)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    attention, random = model.config._attn_implementation, torch.get_rng_state()
    score_trie(model, ids, spans, MASK, Question((7,)))
    with pytest.raises(IndexError):
        score_trie(model, (*ids[:-1], 10_000), spans, MASK, Question((7,)))  # no such embedding
    assert model.config._attn_implementation == attention
    assert all(layer.self_attn.config._attn_implementation == attention for layer in model.model.layers)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_wrong_trie_is_noticed(tiny_model, tiny_tokenizer, monkeypatch, dtype):
    model = tiny_model("llama", dtype, vocab_size=len(tiny_tokenizer))
    template = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)
    sample = make_sample("I was not happy with the food", "sadness", words=["not", "happy", "food"], template=template)
    prepared = prepare(sample, tiny_tokenizer, template)
    right = score_prepared(model, prepared)
    assert (right.noise_sigma < 1e-4) == (dtype == torch.float32)
    module = import_module("interplay.scoring.scores")
    monkeypatch.setattr(module, "score_trie", lambda *args, **kwargs: score_trie(*args, **kwargs) + 0.5)
    with pytest.warns(UserWarning, match="packed trie differs from plain forward passes"):
        again = score_prepared(model, prepared)
    np.testing.assert_allclose(again.values, right.values, atol=max(5e-5, 10 * right.noise_sigma))


def test_other_architectures_take_the_plain_road(tiny_tokenizer):
    from transformers import BloomConfig  # linear biases instead of positions

    torch.manual_seed(0)
    config = BloomConfig(vocab_size=len(tiny_tokenizer), hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert not supports_trie(model)
    template = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)
    sample = make_sample("I was not happy with the food", "sadness", words=["not", "happy", "food"], template=template)
    prepared = prepare(sample, tiny_tokenizer, template)
    scored = score_prepared(model, prepared)
    assert scored.noise_sigma < 1e-4
    assert np.std(scored.values) > 1e-3
    some = np.array([5, 0, 7], dtype=np.uint64)
    np.testing.assert_allclose(score_prepared(model, prepared, coalitions=some).values, scored.values[some], atol=5e-5)


def test_words_out_of_the_order_of_the_prompt_take_the_plain_road(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", torch.float32, vocab_size=len(tiny_tokenizer))
    template = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)
    sample = make_sample("I was not happy with the food", "sadness", words=["not", "happy", "food"], template=template)
    prepared = prepare(sample, tiny_tokenizer, template)
    turned = replace(prepared, spans=prepared.spans[::-1])
    order = [int(f"{s:03b}"[::-1], 2) for s in range(8)]
    np.testing.assert_allclose(
        score_prepared(model, turned).values, score_prepared(model, prepared).values[order], atol=5e-5
    )
