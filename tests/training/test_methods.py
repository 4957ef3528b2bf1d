"""The methods of SFT beside LoRA and full fine-tuning: what they train, that it repeats itself, and what they refuse."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from interplay.errors import InterplayError
from interplay.models.checkpoints import checkpoint_hash, model_at
from interplay.models.layouts import find_layout
from interplay.models.loading import LoadedModel, load_model
from interplay.models.weights import hash_tensors
from interplay.training.methods import (
    NAMES,
    adapter_config,
    load_for_training,
    method_notes,
    method_title,
)
from interplay.training.sft import finetune, settle


@pytest.fixture
def train(tiny_folder, examples, plan):
    """`train(folder, "dora", "llama", **changes of the plan)`: the log of a training on a model of its own."""

    def run(folder, method, architecture="llama", on_step=None, **changes):
        base = load_for_training(str(tiny_folder(architecture)), method)
        return finetune(base, examples, plan(method=method, **changes), folder, on_step=on_step)

    return run


def weights(folder, step) -> str:
    return hash_tensors(load_file(folder / f"checkpoint-{step}" / "adapter_model.safetensors").items())


def model_of(architecture: str, **own) -> LoadedModel:
    """A random model without files: methods look at its layers only."""
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = AutoConfig.for_model(architecture, **{**shape, "vocab_size": 64, "pad_token_id": 0, **own})
    return LoadedModel(AutoModelForCausalLM.from_config(config), None, f"owner/{architecture}", "")


@pytest.mark.matrix(2)
@pytest.mark.parametrize(("method", "architecture"), [("dora", "llama"), ("ia3", "gemma3")])
def test_checkpoints_are_written_and_measured(train, tiny_folder, tmp_path, method, architecture):
    log = train(tmp_path, method, architecture, learning_rate=0.05)
    assert [entry["step"] for entry in log] == [1, 2, 3]
    base = load_model(str(tiny_folder(architecture)))
    before, ids = hash_tensors(base.model.state_dict().items()), torch.arange(5, 12)[None]
    found = find_layout(tmp_path).checkpoints
    assert [(c.step, c.kind) for c in found] == [(0, "base"), (1, "adapter"), (3, "adapter")]
    assert len({checkpoint_hash(c, base) for c in found}) == 3
    logits = []
    for checkpoint in found:
        with model_at(checkpoint, base) as model, torch.no_grad():
            logits.append(model(ids).logits)
    assert (logits[0] - logits[2]).abs().max() > 1e-3
    assert hash_tensors(base.model.state_dict().items()) == before
    config = json.loads((tmp_path / "checkpoint-3" / "adapter_config.json").read_text())
    names = set(load_file(tmp_path / "checkpoint-3" / "adapter_model.safetensors"))
    if method == "dora":
        assert config["use_dora"]
        assert {n.rpartition("lora_")[2] for n in names} == {"A.weight", "B.weight", "magnitude_vector"}
        assert len(names) == 2 * 7 * 3  # layers, linear layers in each, tensors of each
    else:
        assert config["peft_type"] == "IA3"
        assert {n.split(".")[-2] for n in names} == {"k_proj", "v_proj", "down_proj"}
        assert (
            sum(t.numel() for t in load_file(tmp_path / "checkpoint-3" / "adapter_model.safetensors").values()) == 160
        )


class Cut(Exception):
    pass


@pytest.mark.matrix("ia3", "qlora")
@pytest.mark.parametrize("method", ["dora", "ia3", "qlora"])
def test_an_interrupted_training_ends_in_the_same_bits(train, tmp_path, method):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    options = {"steps": 4, "save_at": (2, 4)}

    def stop(step, total, loss):
        if step == 3:
            raise Cut

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    log = train(whole, method, **options)
    with pytest.raises(Cut):
        train(cut, method, on_step=stop, **options)
    seen = []
    assert train(cut, method, on_step=lambda step, *rest: seen.append(step), **options) == log
    assert seen == [3, 4]
    for folder in (whole, cut):
        settle(folder)
    for file in sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file()):
        assert (whole / file).read_bytes() == (cut / file).read_bytes(), file


def test_lists_in_no_order_are_settled(tmp_path):
    for turned in (False, True):
        folder = tmp_path / str(turned) / "checkpoint-1"
        folder.mkdir(parents=True)
        lists = {"target_modules": ["b", "a"], "feedforward_modules": ["d", "c"], "exclude_modules": None}
        config = {key: value[::-1] if turned and value else value for key, value in lists.items()}
        (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}, indent=2, sort_keys=True))
        settle(folder.parent)
    texts = [(tmp_path / str(t) / "checkpoint-1" / "adapter_config.json").read_text() for t in (False, True)]
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["feedforward_modules"] == ["c", "d"]


@pytest.mark.parametrize(
    ("architecture", "targets", "feedforward"),
    [
        ("llama", {"k_proj", "v_proj", "down_proj"}, {"down_proj"}),
        ("qwen2", {"k_proj", "v_proj", "down_proj"}, {"down_proj"}),
        ("qwen3", {"k_proj", "v_proj", "down_proj"}, {"down_proj"}),
        ("gemma3_text", {"k_proj", "v_proj", "down_proj"}, {"down_proj"}),
        ("smollm3", {"k_proj", "v_proj", "down_proj"}, {"down_proj"}),  # not in peft's table
        ("opt", {"q_proj", "k_proj", "fc2"}, {"fc2"}),  # from peft's table
        ("gpt2", {"c_attn", "mlp.c_proj"}, {"mlp.c_proj"}),
    ],
)
def test_where_ia3_goes(plan, architecture, targets, feedforward):
    from peft import get_peft_model

    base = model_of(architecture)
    config = adapter_config(plan(method="ia3"), base)
    assert config.target_modules == targets
    assert config.feedforward_modules == feedforward
    assert config.fan_in_fan_out == (architecture == "gpt2")
    assert config.base_model_name_or_path == base.name
    wrapped = get_peft_model(base.model, config)
    put = [m for m in wrapped.modules() if type(m).__module__ == "peft.tuners.ia3.layer" and hasattr(m, "ia3_l")]
    assert len(put) == len(targets)
    assert sum(m.is_feedforward for m in put) == 1


def test_ia3_where_nobody_knows(plan):
    base = model_of("phi3")  # one layer for queries, keys and values
    with pytest.raises(
        InterplayError, match=r"its layers in a phi3: set training.targets .*\(it has .*qkv_proj"
    ) as error:
        adapter_config(plan(method="ia3"), base)
    assert "\n" not in str(error.value)
    config = adapter_config(plan(method="ia3", targets="qkv_proj, down_proj"), base)
    assert config.target_modules == {"qkv_proj", "down_proj"}
    assert config.feedforward_modules == {"down_proj"}
    assert adapter_config(plan(method="ia3", targets="qkv_proj"), base).feedforward_modules == set()


@pytest.mark.matrix(1)
@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_layers_that_are_not_there(train, tmp_path, method):
    with pytest.raises(InterplayError, match=r"training\.targets 'nowhere_proj' cannot be trained") as error:
        train(tmp_path, method, targets="nowhere_proj")
    assert "\n" not in str(error.value)


def test_configs_take_the_plan_as_it_is(plan):
    base = model_of("llama")
    for method in ("lora", "dora"):
        config = adapter_config(plan(method=method, rank=5, alpha=7.5, dropout=0.25, targets="q_proj,v_proj"), base)
        assert (config.r, config.lora_alpha, config.lora_dropout) == (5, 7.5, 0.25)
        assert config.target_modules == {"q_proj", "v_proj"}
        assert config.use_dora == (method == "dora")
    assert adapter_config(plan(method="full"), base) is None


def test_every_method_of_the_settings_is_here():
    from typing import get_args

    from interplay.config.settings import TrainingSettings

    assert set(NAMES) == set(get_args(TrainingSettings.model_fields["method"].annotation))
    assert [method_title(m, 4) for m in NAMES] == [
        "LoRA r = 4",
        "DoRA r = 4",
        "QLoRA r = 4",
        "IA3",
        "full fine-tuning",
    ]


def test_what_a_reader_must_know():
    assert [m for m in NAMES if method_notes(m)] == ["qlora"]
    assert "rounded to 4 bits" in method_notes("qlora")[0]
    assert [m for m in NAMES if any("Weight decay" in note for note in method_notes(m, 0.1))] == ["dora", "ia3"]


@pytest.mark.matrix(2)
@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "full"])
def test_others_train_in_float32(tiny_folder, method):
    base = load_for_training(str(tiny_folder("llama")), method, bf16=True)
    assert next(base.model.parameters()).dtype == torch.float32
    assert base.sha256 == load_model(str(tiny_folder("llama"))).sha256


def test_qlora_without_bitsandbytes(tiny_folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(InterplayError, match=r"pip install 'interplay\[qlora\]'") as error:
        load_for_training(str(tiny_folder("llama")), "qlora")
    assert "\n" not in str(error.value)


def test_qlora_is_never_lora_in_disguise(tiny_folder, examples, plan, tmp_path):
    base = load_model(str(tiny_folder("llama")))
    with pytest.raises(InterplayError, match=r"QLoRA needs .* in 4 bits: load it with"):
        finetune(base, examples, plan(method="qlora"), tmp_path / "out")


def test_qlora(train, tiny_folder, examples, plan, tmp_path):
    pytest.importorskip("bitsandbytes")
    log = train(tmp_path, "qlora")
    assert [entry["step"] for entry in log] == [1, 2, 3]
    base = load_model(str(tiny_folder("llama")))
    found = find_layout(tmp_path).checkpoints
    assert [(c.step, c.kind) for c in found] == [(0, "base"), (1, "adapter"), (3, "adapter")]
    with model_at(found[2], base) as model:
        assert torch.isfinite(model(torch.arange(5, 12)[None]).logits).all()
    tensors = load_file(tmp_path / "checkpoint-3" / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    name = json.loads((tmp_path / "checkpoint-3" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert name == str(tiny_folder("llama"))


def test_qlora_of_a_model_that_is_not_there(tiny_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InterplayError, match=r"cannot load .* in 4 bits") as error:
        load_for_training(str(tmp_path), "qlora")
    assert "\n" not in str(error.value)
