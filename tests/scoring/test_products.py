"""Linear layers through oneDNN: the same numbers to rounding, and nothing left behind."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from interplay.scoring import products
from interplay.scoring.products import fast_products


@pytest.fixture
def model(tiny_folder):
    return AutoModelForCausalLM.from_pretrained(tiny_folder("qwen2"), dtype=torch.float32).eval()  # has biases


@pytest.mark.parametrize("slow", [True, False])
def test_same_logits(model, monkeypatch, slow):
    if slow and not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(products, "_slow_here", lambda: slow)
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
    monkeypatch.setattr(products, "_slow_here", lambda: True)
    ids = torch.arange(4, 24)[None]
    with fast_products(model):
        model(ids).logits.sum().backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None
    with fast_products(model.to(torch.float64)) as on:
        assert not on


def test_it_ends_with_an_exception(model, monkeypatch):
    monkeypatch.setattr(products, "_slow_here", lambda: True)
    with pytest.raises(RuntimeError, match="stop"), fast_products(model):
        raise RuntimeError("stop")
    assert torch.overrides._get_current_function_mode_stack() == []
