"""Precision while scoring: independent of what a caller has switched on, which comes back; oneDNN gives the same numbers."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.effects import extract
from interplay.models.loading import load_model
from interplay.scoring import precision
from interplay.scoring.logodds import Question
from interplay.scoring.precision import (
    exact_products,
    fast_products,
    is_rounded,
    product_float32,
    product_in_two,
    product_of_weights,
    wide_residual,
)
from interplay.scoring.scores import prepare, score, score_prepared
from interplay.scoring.trie import score_trie

TEMPLATE = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)


@pytest.fixture
def prepared(tiny_tokenizer):
    words = ["not", "happy", "food"]
    sample = make_sample("I was not happy with the food", "sadness", words=words, template=TEMPLATE)
    return prepare(sample, tiny_tokenizer, TEMPLATE)


@pytest.fixture
def matmul_precision():
    """Sets torch's precision of float32 products for one test."""
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


def test_an_autocast_around_it_changes_nothing(tiny_folder, prepared):
    model = load_model(str(tiny_folder("llama"))).model
    expected = score_prepared(model, prepared)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = score_prepared(model, prepared)
        assert torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.noise_sigma == expected.noise_sigma


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_rounded_products_are_seen_and_measured_against_exact_ones(tiny_folder, prepared, matmul_precision, setting):
    model = load_model(str(tiny_folder("llama"))).model
    assert not is_rounded(model)
    expected = score_prepared(model, prepared)
    matmul_precision(setting)
    assert is_rounded(model)
    with exact_products():
        assert not is_rounded(model)
    found = score_prepared(model, prepared)
    assert torch.get_float32_matmul_precision() == setting
    np.testing.assert_allclose(found.values, expected.values, atol=max(5e-5, 10 * found.noise_sigma))


def test_exact_products_come_back_after_an_exception(matmul_precision):
    matmul_precision("medium")
    with pytest.raises(KeyError), exact_products():
        raise KeyError
    assert torch.get_float32_matmul_precision() == "medium"


def test_layers_that_insist_on_one_dtype(tiny_tokenizer):
    """GPT-2 (layer_norm, addmm) and a model with biases run on a wide residual stream."""
    for kind, own in (
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("phi", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}),
    ):
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, vocab_size=len(tiny_tokenizer), **own)
        model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).eval()
        ids = torch.arange(5, 15)[None]
        with torch.no_grad():
            wide = model.float()(ids).logits
            model.to(torch.bfloat16)
            with wide_residual(model, product_float32):
                same = model(ids).logits
            with wide_residual(model):
                near = model(ids).logits
        assert same.dtype == near.dtype == torch.float32
        torch.testing.assert_close(same, wide, atol=1e-5, rtol=0)
        torch.testing.assert_close(near, wide, atol=0.1, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_16_bit_product_is_one_whether_or_not_the_processor_has_it(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, generator=generator) for size in ((5, 64), (7, 64)))
    found = []
    for lacking in (True, False):
        monkeypatch.setattr(precision, "_lacks_narrow_products", lambda lacking=lacking: lacking)
        found.append(precision.product_of_weights(x, weight.to(dtype), None))
    step = torch.finfo(dtype).eps  # sums in another order may round to the neighbour
    torch.testing.assert_close(*found, rtol=step, atol=1e-6)
    assert all(torch.equal(one, one.to(dtype).float()) for one in found)


def test_noisy_scores_are_warned_of(tiny_folder, tiny_tokenizer, monkeypatch):
    model = load_model(str(tiny_folder("llama")), dtype="bfloat16").model
    sample = make_sample("I was not happy with the food", "sadness", n=3, template=TEMPLATE)
    monkeypatch.setattr("interplay.scoring.precision.FLAGGED", 1e-9)
    with pytest.warns(RuntimeWarning, match="bfloat16 scores have a noise of .* use float32"):
        score(model, tiny_tokenizer, sample, template=TEMPLATE)


@pytest.fixture
def model(tiny_folder):
    return AutoModelForCausalLM.from_pretrained(tiny_folder("qwen2"), dtype=torch.float32).eval()  # has biases


@pytest.mark.parametrize("slow", [True, False])
def test_same_logits(model, monkeypatch, slow):
    if slow and not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(precision, "_is_mkl_slow", lambda: slow)
    ids = torch.arange(4, 44).view(2, 20)
    with torch.no_grad():
        plain = model(ids).logits
        with fast_products(model) as on:
            fast = model(ids).logits
        after = model(ids).logits
    assert on is slow
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=5e-5)
    assert torch.equal(after, plain)


def test_gradients_and_other_dtypes_are_left_alone(model, monkeypatch):
    monkeypatch.setattr(precision, "_is_mkl_slow", lambda: True)
    ids = torch.arange(4, 24)[None]
    with fast_products(model):
        model(ids).logits.sum().backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None
    with fast_products(model.to(torch.float64)) as on:
        assert not on


def test_it_ends_with_an_exception(model, monkeypatch):
    monkeypatch.setattr(precision, "_is_mkl_slow", lambda: True)
    with pytest.raises(RuntimeError, match="stop"), fast_products(model):
        raise RuntimeError("stop")
    assert torch.overrides._get_current_function_mode_stack() == []


def test_activations_in_two_parts_lose_nearly_nothing(stories_folder):
    loaded = load_model(str(stories_folder), dtype="bfloat16x2")
    text = "One day a little girl named Lily found a big red ball in the park"
    sample = make_sample(text, "She", n=8, template=PromptTemplate(chat=False))
    prepared = prepare(sample, loaded.tokenizer, PromptTemplate(chat=False))
    words = prepared.input_ids, prepared.spans, prepared.absence.fills[0], Question(prepared.target_ids)
    with wide_residual(loaded.model, product_float32):
        exact = score_trie(loaded.model, *words)
    with wide_residual(loaded.model, product_of_weights):
        plain = score_trie(loaded.model, *words)
    found = score_prepared(loaded.model, prepared, noise_coalitions=32)
    assert found.dtype == "bfloat16x2"
    error, rounding = found.values - exact, plain - exact
    assert np.abs(error).max() < 3e-4
    assert found.noise_sigma < 3e-4
    assert np.std(rounding) > 500 * np.std(error)
    two, all_digits, one = (
        set(np.argsort(-np.abs(extract(v, 0.0).effects).ravel())[:20].tolist()) for v in (found.values, exact, plain)
    )
    assert len(two & all_digits) == 20
    assert len(one & all_digits) < 15


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_product_in_two_parts(dtype):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, 64), torch.randn(7, 64).to(dtype), torch.randn(7)
    exact = product_float32(x, weight, bias)
    found = product_in_two(x, weight, bias)
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 0.01 * (product_of_weights(x, weight, bias) - exact).abs().max()
    torch.testing.assert_close(
        product_in_two(x[0, 0].to(dtype), weight, None), product_float32(x[0, 0].to(dtype), weight, None)
    )


@pytest.fixture
def amd(monkeypatch, tmp_path):
    """An AMD processor without a choice; gives what sets how oneDNN is timed, and the folder the choice is kept in."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setenv("INTERPLAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "_processor", lambda: "vendor_id : AuthenticAMD")

    def timed(gain):
        precision._is_mkl_slow.cache_clear()
        monkeypatch.setattr(precision, "_gain_of_onednn", lambda: gain)
        return precision._is_mkl_slow()

    yield timed, tmp_path / "cache"
    precision._is_mkl_slow.cache_clear()


def test_the_product_is_timed_once_and_kept_with_the_machine(amd, monkeypatch):
    timed, cache = amd
    assert timed(1.8) is True
    assert timed(0.8) is True  # another process: what the first one chose
    monkeypatch.setattr(precision, "_processor", lambda: "vendor_id : AuthenticAMD\nmodel : 2")
    assert timed(0.8) is False
    assert sorted(file.read_text() for file in cache.iterdir()) == ["MKL", "oneDNN"]
    monkeypatch.setattr(precision, "_processor", lambda: "vendor_id : GenuineIntel")
    assert timed(1.8) is False
    assert len(list(cache.iterdir())) == 2


def test_a_choice_that_cannot_be_kept_or_read_is_timed_anew(amd):
    timed, cache = amd
    cache.write_text("no folder")
    assert timed(1.8) is True
    assert timed(1.2) is False
    cache.unlink()
    assert timed(1.8) is True
    (file,) = cache.iterdir()
    file.write_text("")  # a process that ended between its two acts
    assert timed(1.2) is False


def test_timing_the_product_draws_no_random_number():
    state = torch.random.get_rng_state()
    assert 0.1 < precision._gain_of_onednn() < 10
    assert torch.equal(torch.random.get_rng_state(), state)
