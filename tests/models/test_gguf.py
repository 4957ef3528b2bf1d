"""GGUF files become ordinary folders once, whole or not at all."""

import hashlib
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from interplay.errors import InterplayError
from interplay.models import gguf as ours
from interplay.models.loading import load_model

gguf = pytest.importorskip("gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("INTERPLAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_gguf(file: Path, leave_out: str = "") -> Path:
    """A one-layer Llama of 16 dimensions with a byte-less BPE vocabulary."""
    words = ["<unk>", "<s>", "</s>", "a", "b", "ab", "c", "Ġ"]
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words)
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {
        "token_embd.weight": (len(words), 16),
        "output.weight": (len(words), 16),
        "output_norm.weight": (16,),
        "blk.0.attn_norm.weight": (16,),
        "blk.0.ffn_norm.weight": (16,),
        **{f"blk.0.attn_{x}.weight": (16, 16) for x in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (24, 16),
        "blk.0.ffn_up.weight": (24, 16),
        "blk.0.ffn_down.weight": (16, 24),
    }
    for name, shape in shapes.items():
        if name != leave_out:
            writer.add_tensor(name, rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def file(tmp_path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf")


def test_round_trip_and_cache(file, cache, monkeypatch):
    loaded = load_model(str(file))
    embedding = loaded.model.get_input_embeddings().weight
    expected = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    np.testing.assert_array_equal(embedding.detach().numpy(), expected)
    assert loaded.name == str(file)
    assert loaded.tokenizer("ab")["input_ids"][-1] == 5
    (folder,) = (cache / "models").iterdir()
    assert folder.name == f"tiny-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}-2"
    assert not list(folder.glob("*.bin"))
    assert not getattr(loaded.model, "is_quantized", False)
    # The second time, nothing is converted; the folder around the file is a name for it as well.
    monkeypatch.setattr("transformers.AutoModelForCausalLM.save_pretrained", None, raising=False)
    assert ours.as_model_folder(file) == folder
    assert load_model(str(file.parent)).sha256 == loaded.sha256


def test_what_lies_beside_a_file_has_no_part_in_it(file, cache, tmp_path):
    """What is kept under a file's hash must not come from a folder that somebody sent."""
    clean = load_model(str(file)).tokenizer("ab")["input_ids"]
    shutil.rmtree(cache)
    sent = tmp_path / "sent"
    sent.mkdir()
    shutil.copy(file, sent / file.name)
    other = Tokenizer(WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    other.save(str(sent / "tokenizer.json"))
    (sent / "config.json").write_text('{"model_type": "gpt2"}')
    ours.as_model_folder(sent / file.name)
    assert load_model(str(file)).tokenizer("ab")["input_ids"] == clean


def test_a_conversion_that_fails_leaves_nothing_behind(file, cache, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", full)
    monkeypatch.setattr("transformers.tokenization_utils_base.PreTrainedTokenizerBase.save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        ours.as_model_folder(file)
    assert list((cache / "models").iterdir()) == []


def test_a_torn_folder_is_replaced(file, cache):
    folder = ours.as_model_folder(file)
    (folder / "config.json").unlink()
    assert ours.as_model_folder(file) == folder
    assert (folder / "config.json").exists()
    assert len(list((cache / "models").iterdir())) == 1


def test_files_that_are_not_gguf_or_not_whole(tmp_path, file, cache):
    bad = tmp_path / "bad.gguf"
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(file.read_bytes()[:700])
    for path, content in ((bad, b"no gguf at all"), (bad, b""), (torn, torn.read_bytes())):
        path.write_bytes(content)
        with pytest.raises(InterplayError, match="as a GGUF causal LM") as error:
            load_model(str(path))
        assert "\n" not in str(error.value)
    assert not (cache / "models").exists()


def test_missing_weights_are_refused(tmp_path, cache):
    path = write_gguf(tmp_path / "hole.gguf", leave_out="blk.0.ffn_up.weight")
    with pytest.raises(InterplayError, match=r"lacks 1 weights of its model \(first: model\.layers\.0\.mlp\.up_proj"):
        load_model(str(path))
    assert not (cache / "models").exists()


def test_without_the_gguf_package(file, monkeypatch):
    find = ours.importlib.util.find_spec
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    with pytest.raises(InterplayError, match=r"pip install 'interplay\[gguf\]'"):
        load_model(str(file))


def test_a_wheel_with_one_file_serves_its_hub_name(file, tmp_path, monkeypatch):
    monkeypatch.setattr(ours, "wheel_folder", lambda name: file.parent if name == "owner/model" else None)
    loaded = load_model("owner/model")
    assert loaded.name == loaded.model.name_or_path == "owner/model"
    assert torch.isfinite(next(loaded.model.parameters())).all()


def test_a_wheel_in_parts_is_assembled_once_and_never_half(file, tmp_path, cache, monkeypatch):
    data, calls = file.read_bytes(), []
    package = types.ModuleType("parts_of_a_model")
    package.MODEL_NAME = "whole.gguf"
    package.fails = True

    def assemble(target, overwrite):
        calls.append(target)
        Path(target).write_bytes(data[:100] if package.fails else data)
        if package.fails:
            raise ValueError("a part is damaged")

    package.assemble = assemble
    monkeypatch.setitem(sys.modules, "parts_of_a_model", package)
    monkeypatch.setitem(ours.WHEELS, "owner/parts", ("parts_of_a_model", "pip install parts"))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(ours, "wheel_folder", lambda name: empty)
    with pytest.raises(ValueError, match="a part is damaged"):
        ours.wheel_gguf("owner/parts")
    assert list((cache / "wheels").iterdir()) == []
    package.fails = False
    for _ in range(2):
        assert ours.wheel_gguf("owner/parts").read_bytes() == data
    assert len(calls) == 2


def test_an_unknown_name_has_no_wheel():
    assert ours.wheel_folder("nobody/nothing") is None
    assert ours.wheel_gguf("nobody/nothing") is None


def test_a_model_that_ties_its_embeddings_has_no_output_matrix(tmp_path):
    model = load_model(str(write_gguf(tmp_path / "tied.gguf", leave_out="output.weight"))).model
    assert torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
