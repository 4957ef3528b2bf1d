"""The model at checkpoints: full ones, and adapters that come and go without a trace on the base."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interplay.errors import InterplayError
from interplay.models.adapters import base_name_note
from interplay.models.checkpoints import checkpoint_hash, find_twins, model_at
from interplay.models.layouts import Checkpoint
from interplay.models.loading import load_model
from interplay.models.weights import hash_tensors
from interplay.scoring.forward import score_rows
from interplay.scoring.logodds import Question
from interplay.scoring.masking import masked_ids
from interplay.scoring.precision import product_float32, wide_residual
from interplay.scoring.scores import score_prepared
from interplay.scoring.trie import score_trie, supports_trie


@pytest.fixture
def base(tiny_folder):
    return load_model(tiny_folder("llama"))


def at(folder, kind="adapter") -> Checkpoint:
    return Checkpoint(1, folder, kind)


def scores(checkpoint, base, prepared) -> np.ndarray:
    with model_at(checkpoint, base) as model:
        return score_prepared(model, prepared, noise_coalitions=0).values


def edit(folder: Path, **changes) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def state(base):
    """Everything of the base that a visitor might change."""
    model = base.model
    return (
        hash_tensors(model.state_dict().items()),
        [(name, type(m).__name__, m.training) for name, m in model.named_modules()],
        [(name, p.requires_grad) for name, p in model.named_parameters()],
        sorted(model.__dict__),
    )


def edit_tensors(folder, change):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def refused(folder, base, match) -> None:
    before = state(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a reason belongs into the message
        with pytest.raises(InterplayError, match=match) as error, model_at(at(folder), base):
            pass
    assert "\n" not in str(error.value)
    assert state(base) == before


def other_base(tiny_folder, folder, **changes):
    """A model as `tiny_folder("llama")` with other sizes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_folder("llama"))
    for name, value in changes.items():
        setattr(config, name, value)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_twins():
    assert find_twins({}) == []
    assert find_twins({30: "a", 0: "a", 10: "b", 20: "a"}) == [(0, 20), (0, 30)]


def test_hashes_of_checkpoints(base, make_adapter, tiny_folder, tmp_path):
    a = make_adapter(tmp_path / "a", seed=1)
    same = shutil.copytree(a, tmp_path / "same")
    edit(same, base_model_name_or_path="another/name", inference_mode=False)
    b = make_adapter(tmp_path / "b", seed=2)
    alpha = shutil.copytree(a, tmp_path / "alpha")
    edit(alpha, lora_alpha=99)
    hashes = [checkpoint_hash(at(folder), base) for folder in (a, same, b, alpha)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    assert all(len(digest) == 64 for digest in hashes)
    # On another base the same adapter is another model.
    assert checkpoint_hash(at(a), replace(base, sha256="0" * 64)) != hashes[0]
    assert checkpoint_hash(Checkpoint(0, None, "base"), base) == base.sha256
    # A full checkpoint is hashed from its file, shard by shard, as its tensors are.
    full = checkpoint_hash(at(tiny_folder("llama"), "full"), base)
    tensors = load_file(tiny_folder("llama") / "model.safetensors")
    assert full == hash_tensors(tensors.items())
    names = sorted(tensors)
    shards = tmp_path / "shards"
    shards.mkdir()
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    save_file({n: tensors[n] for n in names[1::2]}, shards / files[0])
    save_file({n: tensors[n] for n in names[::2]}, shards / files[1])
    where = {n: files[0] for n in names[1::2]} | {n: files[1] for n in names[::2]}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert checkpoint_hash(at(shards, "full"), base) == full


def test_full_checkpoints(base, tiny_folder, prepared, tmp_path):
    folder = shutil.copytree(tiny_folder("llama", 1), tmp_path / "full")
    for file in folder.glob("tokenizer*"):
        file.unlink()  # many trainings do not save it, and it is not needed
    before = state(base)
    values = scores(at(folder, "full"), base, prepared)
    whole = score_prepared(load_model(str(tiny_folder("llama", 1))).model, prepared, noise_coalitions=0).values
    assert np.array_equal(values, whole)
    with model_at(at(folder, "full"), base, dtype="float64") as model:
        assert next(model.parameters()).dtype == torch.float64
    assert state(base) == before


def test_full_checkpoints_of_another_base(base, tiny_folder, tmp_path):
    for match, folder in (
        (
            "has vocabulary 300, the base .*put the trained tokenizer.json",
            other_base(tiny_folder, tmp_path / "v", vocab_size=300),
        ),
        ("has number of layers 3, the base", other_base(tiny_folder, tmp_path / "l", num_hidden_layers=3)),
        ("has architecture qwen3, the base", tiny_folder("qwen3")),
    ):
        with pytest.raises(InterplayError, match=match), model_at(at(folder, "full"), base):
            pass


@pytest.mark.matrix("llama", "gemma3")
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "qwen3"])
def test_adapters_come_and_go(tiny_folder, make_adapter, prepared, tmp_path, architecture):
    base = load_model(str(tiny_folder(architecture)))
    before, alone = state(base), scores(Checkpoint(0, None, "base"), base, prepared)
    a = make_adapter(tmp_path / "a", architecture, seed=1, target_modules="all-linear")
    b = make_adapter(tmp_path / "b", architecture, seed=2, r=3)
    first, second, third = (scores(at(folder), base, prepared) for folder in (a, b, a))
    fresh = load_model(str(tiny_folder(architecture)))
    assert np.array_equal(first, scores(at(a), fresh, prepared))
    assert np.array_equal(first, third)
    assert np.abs(first - second).max() > 1e-2
    assert np.abs(first - alone).max() > 1e-2
    assert state(base) == before
    assert np.array_equal(scores(Checkpoint(0, None, "base"), base, prepared), alone)


def test_the_base_comes_back_after_an_exception_and_in_its_own_mode(base, make_adapter, prepared, tmp_path):
    base.model.train()
    base.model.lm_head.requires_grad_(False)
    before = state(base)

    def interrupted():
        with model_at(at(make_adapter(tmp_path / "a")), base) as model:
            assert not model.training
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert state(base) == before


@pytest.mark.matrix(3)
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 64, "head_dim": 8},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
        {"num_key_value_heads": 4},
    ],
)
def test_an_adapter_of_another_base(base, tiny_folder, make_adapter, prepared, tmp_path, changes):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(other_base(tiny_folder, tmp_path / "other", **changes))
    config = LoraConfig(
        r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", base_model_name_or_path="o/ther"
    )
    wrapped = get_peft_model(other, config)
    wrapped.peft_config["default"].base_model_name_or_path = "o/ther"
    wrapped.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    refused(tmp_path / "adapter", base, r"does not fit the base .* give the base it was trained on \(o/ther\)")
    good = make_adapter(tmp_path / "good")
    fresh = load_model(tiny_folder("llama"))
    assert np.array_equal(scores(at(good), base, prepared), scores(at(good), fresh, prepared))


def test_adapters_with_other_modules_missing_or_extra_tensors(base, make_adapter, tmp_path):
    folder = make_adapter(tmp_path / "absent")
    edit(folder, target_modules=["nowhere_proj"])
    refused(folder, base, "does not fit the base")

    folder = make_adapter(tmp_path / "more")
    edit(folder, target_modules=["q_proj"])  # the tensors of v_proj are left over
    refused(folder, base, "does not fit the base .* 8 weights differ by name|does not fit the base .* 4 weights differ")

    folder = make_adapter(tmp_path / "less")
    edit_tensors(folder, lambda tensors: tensors.pop(sorted(tensors)[0]))
    refused(folder, base, r"does not fit the base .* 1 weights differ by name \(first: .*lora_A")

    folder = make_adapter(tmp_path / "rank")
    edit(folder, r=5)
    refused(folder, base, "does not fit the base")


def test_adapters_that_would_write_into_the_base_are_refused(tiny_folder, make_adapter, tmp_path):
    base = load_model(str(tiny_folder("qwen2")))
    folder = make_adapter(tmp_path / "embedding", "qwen2")
    name = "base_model.model.model.layers.0.mlp.up_proj.weight"
    edit_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(48, 32)}))
    refused(folder, base, "holds weights of the base itself .*up_proj.*merge it")
    name = "base_model.model.model.embed_tokens.weight"
    edit_tensors(folder, lambda tensors: (tensors.clear(), tensors.update({name: torch.zeros(345, 31)})))
    refused(folder, base, "does not fit the base .*embed_tokens.weight has shape \\(345, 31\\)")


def test_damaged_and_foreign_adapters(base, make_adapter, tmp_path):
    folder = make_adapter(tmp_path / "torn")
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    refused(folder, base, "cannot read the adapter")
    with pytest.raises(InterplayError, match="the file is damaged"):
        checkpoint_hash(at(folder), base)
    (folder / "adapter_config.json").write_text("{")
    refused(folder, base, "cannot read .*adapter_config.json")
    folder = make_adapter(tmp_path / "other")
    edit(folder, peft_type="PREFIX_TUNING")
    refused(folder, base, "of type 'PREFIX_TUNING', which puts trained vectors before the prompt")
    edit(folder, peft_type="VERA")
    refused(folder, base, "of type 'VERA'; LoRA, DoRA, IA3 and trainable tokens can be put on a base: merge it")


@pytest.mark.matrix(3)
@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"rank_pattern": {"v_proj": 3}, "alpha_pattern": {"v_proj": 1}},
        {"modules_to_save": ["norm"]},
        {"layers_to_transform": [1]},
    ],
)
def test_variants_of_lora_work_and_leave_no_trace(base, make_adapter, prepared, tmp_path, tiny_folder, options):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, before = make_adapter(tmp_path / "a", **options), state(base)
    values = scores(at(folder), base, prepared)
    assert state(base) == before
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder("llama")), folder).eval()
    assert np.array_equal(values, score_prepared(wrapped, prepared, noise_coalitions=0).values)


def test_a_note_when_the_adapter_names_another_base(base, make_adapter, tmp_path):
    folder = make_adapter(tmp_path / "checkpoint-5")
    edit(folder, base_model_name_or_path="meta/Another-7B")
    assert "names its base 'meta/Another-7B'" in base_name_note(at(folder), base.name)
    edit(folder, base_model_name_or_path="owner/" + base.name.rpartition("/")[2].upper())
    assert base_name_note(at(folder), base.name) is None  # a hub name and its local copy
    edit(folder, base_model_name_or_path=None)
    assert base_name_note(at(folder), base.name) is None
    assert base_name_note(Checkpoint(0, None, "base"), base.name) is None


@pytest.mark.matrix(2)
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_the_trie_agrees_with_plain_passes(tiny_folder, make_adapter, prepared, tmp_path, architecture, method):
    base = load_model(str(tiny_folder(architecture)), dtype="float64")
    before = state(base)
    bare = score_prepared(base.model, prepared, noise_coalitions=0).values
    words = (prepared.input_ids, prepared.spans, prepared.absence.fills[0])
    with model_at(at(make_adapter(tmp_path / "a", architecture, method)), base) as model:
        assert supports_trie(model)
        packed = score_trie(model, *words, Question(prepared.target_ids))
        plain = np.array([score_rows(model, row[None], Question(prepared.target_ids))[0] for row in masked_ids(*words)])
    np.testing.assert_allclose(packed, plain, rtol=0, atol=1e-5)  # peft computes adapters in float32
    assert np.abs(packed - bare).max() > 0.1
    assert state(base) == before
    np.testing.assert_array_equal(score_prepared(base.model, prepared, noise_coalitions=0).values, bare)


@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_what_is_scored_is_what_peft_computes(tiny_folder, make_adapter, prepared, tmp_path, recwarn, method):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = load_model(tiny_folder("llama"))
    folder = make_adapter(tmp_path / "a", method=method)
    with model_at(at(folder), base) as model:
        values = score_prepared(model, prepared).values
    assert not [w for w in recwarn if "packed trie differs" in str(w.message)]
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder("llama")), folder).eval()
    np.testing.assert_array_equal(values, score_prepared(wrapped, prepared, noise_coalitions=0).values)
    merged = wrapped.merge_and_unload()
    np.testing.assert_allclose(values, score_prepared(merged, prepared, noise_coalitions=0).values, rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_16_bit_bases(tiny_folder, make_adapter, prepared, tmp_path, method):
    base = load_model(str(tiny_folder("llama")), dtype="bfloat16")
    words = (prepared.input_ids, prepared.spans, prepared.absence.fills[0])
    with model_at(at(make_adapter(tmp_path / "a", method=method)), base) as model:
        with wide_residual(model, product_float32):
            exact = score_rows(model, masked_ids(*words), Question(prepared.target_ids))
            np.testing.assert_allclose(
                score_trie(model, *words, Question(prepared.target_ids)), exact, rtol=0, atol=5e-4
            )
        scored = score_prepared(model, prepared)
    assert 0 < np.abs(scored.values - exact).max() < 80 * torch.finfo(torch.bfloat16).eps
    assert np.isfinite(scored.noise_sigma)


@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_tensors_missing_or_left_over(tiny_folder, make_adapter, tmp_path, method):
    base = load_model(tiny_folder("llama"))
    folder = make_adapter(tmp_path / "less", method=method)
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


def test_ia3_of_another_base_or_with_other_feedforward_layers(tiny_folder, make_adapter, tmp_path):
    folder = make_adapter(tmp_path / "a", method="ia3")
    refused(edit(folder, feedforward_modules=[]), load_model(tiny_folder("llama")), "does not fit the base")
    refused(edit(folder, target_modules=["c_attn"]), load_model(tiny_folder("llama")), "does not fit the base")


def test_hashes_tell_what_changes_the_function(tiny_folder, make_adapter, tmp_path):
    base = load_model(tiny_folder("llama"))
    hashes = {}
    lora = make_adapter(tmp_path / "lora", method="lora")
    hashes["lora"] = checkpoint_hash(at(lora), base)
    # A plain LoRA's hash is that of its tensors and of eight settings, whatever other adapters have by now.
    edit(lora, feedforward_modules=None, use_qalora=False, target_parameters=None, qalora_group_size=16)
    assert checkpoint_hash(at(lora), base) == hashes["lora"]
    for method in ("dora", "ia3"):
        folder = make_adapter(tmp_path / method, method=method)
        hashes[method] = checkpoint_hash(at(folder), base)
        assert checkpoint_hash(at(edit(folder, inference_mode=False)), base) == hashes[method]
    hashes["dora, not normed"] = checkpoint_hash(at(edit(tmp_path / "dora", use_dora=False)), base)
    both = edit(tmp_path / "ia3", feedforward_modules=["v_proj", "down_proj"])
    hashes["ia3, v too"] = checkpoint_hash(at(both), base)
    assert checkpoint_hash(at(edit(both, feedforward_modules=["down_proj", "v_proj"])), base) == hashes["ia3, v too"]
    assert len(set(hashes.values())) == len(hashes)


@pytest.mark.matrix(2)
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "loftq", "corda", "lora_ga"])
def test_starts_that_take_their_share_from_the_base(tiny_folder, make_adapter, tmp_path, start):
    """peft would change the base in place when it puts such an adapter on."""
    base = load_model(tiny_folder("llama"))
    refused(
        edit(make_adapter(tmp_path / "a", method="lora"), init_lora_weights=start),
        base,
        f"started by '{start}'.*convert",
    )


@pytest.mark.matrix(2)
@pytest.mark.parametrize("start", [True, False, "gaussian", "orthogonal"])
def test_starts_that_leave_the_base_alone(tiny_folder, make_adapter, tmp_path, start):
    base = load_model(tiny_folder("llama"))
    before, ids = state(base), torch.arange(5, 12)[None]
    folder = make_adapter(tmp_path / "a", method="lora")
    with model_at(at(folder), base) as model, torch.no_grad():
        expected = model(ids).logits
    with model_at(at(edit(folder, init_lora_weights=start)), base) as model, torch.no_grad():
        assert torch.equal(model(ids).logits, expected)
    assert state(base) == before


def test_adapters_that_are_more_than_weights(tiny_folder, make_adapter, tmp_path):
    base = load_model(tiny_folder("llama"))
    folder = make_adapter(tmp_path / "a", method="lora")
    refused(edit(folder, layer_replication=[[0, 2], [1, 2]]), base, "uses layer_replication")
    refused(edit(folder, layer_replication=None, alora_invocation_tokens=[5]), base, "uses alora_invocation_tokens")
    assert base.model.config.num_hidden_layers == 2
