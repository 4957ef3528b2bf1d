"""DoRA and IA3 on a base: in the packed trie, in 16 bits, without a trace; and adapters that would change the base."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interplay.errors import InterplayError
from interplay.models.checkpoints import Checkpoint, checkpoint_hash, model_at
from interplay.models.loading import hash_tensors, load_model
from interplay.scoring.forward import score_rows
from interplay.scoring.masking import masked_ids
from interplay.scoring.precision import product_float32, wide_residual
from interplay.scoring.scores import score_prepared
from interplay.scoring.trie import score_trie, supports_trie

IA3 = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}


@pytest.fixture
def adapter(tiny_folder):
    """`adapter(folder, "gemma3", "ia3")`: an adapter with random tensors, as peft saves it."""

    def make(folder: Path, architecture: str = "llama", method: str = "dora", seed: int = 1, **options) -> Path:
        from peft import IA3Config, LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(tiny_folder(architecture))
        if method == "ia3":
            config = IA3Config(task_type="CAUSAL_LM", **(IA3 | options))
        else:
            own = {"r": 2, "lora_alpha": 4, "target_modules": "all-linear", "use_dora": method == "dora"}
            config = LoraConfig(task_type="CAUSAL_LM", **(own | options))
        wrapped = get_peft_model(model, config)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator) * 0.3
                parameter.data = parameter.data * (1 + noise) if "ia3" in name or "magnitude" in name else noise
        wrapped.save_pretrained(folder, save_embedding_layers=False)
        return folder

    return make


def at(folder: Path) -> Checkpoint:
    return Checkpoint(1, folder, "adapter")


def edit(folder: Path, **changes) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def state(base):
    model = base.model
    return (
        hash_tensors(model.state_dict().items()),
        [(name, type(m).__name__, m.training) for name, m in model.named_modules()],
        [(name, p.requires_grad) for name, p in model.named_parameters()],
        sorted(model.__dict__),
    )


def refused(folder: Path, base, match: str) -> None:
    before = state(base)
    with pytest.raises(InterplayError, match=match) as error, model_at(at(folder), base):
        pass
    assert "\n" not in str(error.value)
    assert state(base) == before


@pytest.mark.matrix(2)
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_the_trie_agrees_with_plain_passes(tiny_folder, adapter, prepared, tmp_path, architecture, method):
    base = load_model(str(tiny_folder(architecture)), dtype="float64")
    before = state(base)
    bare = score_prepared(base.model, prepared, noise_coalitions=0).values
    words = (prepared.input_ids, prepared.spans, prepared.mask_id)
    with model_at(at(adapter(tmp_path / "a", architecture, method)), base) as model:
        assert supports_trie(model)
        packed = score_trie(model, *words, prepared.target_ids)
        plain = np.array([score_rows(model, row[None], prepared.target_ids)[0] for row in masked_ids(*words)])
    np.testing.assert_allclose(packed, plain, rtol=0, atol=1e-5)  # peft computes adapters in float32
    assert np.abs(packed - bare).max() > 0.1
    assert state(base) == before
    np.testing.assert_array_equal(score_prepared(base.model, prepared, noise_coalitions=0).values, bare)


@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_what_is_scored_is_what_peft_computes(tiny_folder, adapter, prepared, tmp_path, recwarn, method):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = load_model(str(tiny_folder("llama")))
    folder = adapter(tmp_path / "a", method=method)
    with model_at(at(folder), base) as model:
        values = score_prepared(model, prepared).values
    assert not [w for w in recwarn if "packed trie differs" in str(w.message)]
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder("llama")), folder).eval()
    np.testing.assert_array_equal(values, score_prepared(wrapped, prepared, noise_coalitions=0).values)
    merged = wrapped.merge_and_unload()
    np.testing.assert_allclose(values, score_prepared(merged, prepared, noise_coalitions=0).values, rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_16_bit_bases(tiny_folder, adapter, prepared, tmp_path, method):
    base = load_model(str(tiny_folder("llama")), dtype="bfloat16")
    words = (prepared.input_ids, prepared.spans, prepared.mask_id)
    with model_at(at(adapter(tmp_path / "a", method=method)), base) as model:
        with wide_residual(model, product_float32):
            exact = score_rows(model, masked_ids(*words), prepared.target_ids)
            np.testing.assert_allclose(score_trie(model, *words, prepared.target_ids), exact, rtol=0, atol=5e-4)
        scored = score_prepared(model, prepared)
    assert 0 < np.abs(scored.values - exact).max() < 80 * torch.finfo(torch.bfloat16).eps
    assert np.isfinite(scored.noise_sigma)


@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_tensors_missing_or_left_over(tiny_folder, adapter, tmp_path, method):
    base = load_model(str(tiny_folder("llama")))
    folder = adapter(tmp_path / "less", method=method)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    lost = sorted(name for name in tensors if "magnitude" in name or "ia3" in name)[0]
    save_file({n: t for n, t in tensors.items() if n != lost}, file, metadata={"format": "pt"})
    refused(folder, base, r"1 weights differ by name \(first: .*(magnitude|ia3_l)")

    extra = "base_model.model.model.layers.0.self_attn.k_proj.weight"
    save_file(tensors | {extra: torch.zeros(16, 32)}, file, metadata={"format": "pt"})
    refused(folder, base, "holds weights of the base itself .*k_proj")

    other = "ia3_l" if method == "dora" else "lora_A.weight"  # a tensor of another kind of adapter
    save_file(tensors | {extra.replace("weight", other): torch.zeros(16, 1)}, file, metadata={"format": "pt"})
    refused(folder, base, "holds weights of the base itself")


def test_ia3_of_another_base_or_with_other_feedforward_layers(tiny_folder, adapter, tmp_path):
    folder = adapter(tmp_path / "a", method="ia3")
    refused(edit(folder, feedforward_modules=[]), load_model(str(tiny_folder("llama"))), "does not fit the base")
    refused(edit(folder, target_modules=["c_attn"]), load_model(str(tiny_folder("llama"))), "does not fit the base")


def test_hashes_tell_what_changes_the_function(tiny_folder, adapter, tmp_path):
    base = load_model(str(tiny_folder("llama")))
    hashes = {}
    lora = adapter(tmp_path / "lora", method="lora")
    hashes["lora"] = checkpoint_hash(at(lora), base)
    # A plain LoRA's hash is that of its tensors and of eight settings, whatever other adapters have by now.
    edit(lora, feedforward_modules=None, use_qalora=False, target_parameters=None, qalora_group_size=16)
    assert checkpoint_hash(at(lora), base) == hashes["lora"]
    for method in ("dora", "ia3"):
        folder = adapter(tmp_path / method, method=method)
        hashes[method] = checkpoint_hash(at(folder), base)
        assert checkpoint_hash(at(edit(folder, inference_mode=False)), base) == hashes[method]
    hashes["dora, not normed"] = checkpoint_hash(at(edit(tmp_path / "dora", use_dora=False)), base)
    both = edit(tmp_path / "ia3", feedforward_modules=["v_proj", "down_proj"])
    hashes["ia3, v too"] = checkpoint_hash(at(both), base)
    assert checkpoint_hash(at(edit(both, feedforward_modules=["down_proj", "v_proj"])), base) == hashes["ia3, v too"]
    assert len(set(hashes.values())) == len(hashes)


@pytest.mark.matrix(2)
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "loftq", "corda", "lora_ga"])
def test_starts_that_take_their_share_from_the_base(tiny_folder, adapter, tmp_path, start):
    """peft would change the base in place when it puts such an adapter on."""
    base = load_model(str(tiny_folder("llama")))
    refused(
        edit(adapter(tmp_path / "a", method="lora"), init_lora_weights=start), base, f"started by '{start}'.*convert"
    )


@pytest.mark.matrix(2)
@pytest.mark.parametrize("start", [True, False, "gaussian", "orthogonal"])
def test_starts_that_leave_the_base_alone(tiny_folder, adapter, tmp_path, start):
    base = load_model(str(tiny_folder("llama")))
    before, ids = state(base), torch.arange(5, 12)[None]
    folder = adapter(tmp_path / "a", method="lora")
    with model_at(at(folder), base) as model, torch.no_grad():
        expected = model(ids).logits
    with model_at(at(edit(folder, init_lora_weights=start)), base) as model, torch.no_grad():
        assert torch.equal(model(ids).logits, expected)
    assert state(base) == before


def test_adapters_that_are_more_than_weights(tiny_folder, adapter, tmp_path):
    base = load_model(str(tiny_folder("llama")))
    folder = adapter(tmp_path / "a", method="lora")
    refused(edit(folder, layer_replication=[[0, 2], [1, 2]]), base, "uses layer_replication")
    refused(edit(folder, layer_replication=None, alora_invocation_tokens=[5]), base, "uses alora_invocation_tokens")
    assert base.model.config.num_hidden_layers == 2
