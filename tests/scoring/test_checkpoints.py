"""Checkpoint folders, and adapters that come and go without a trace on the base."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interplay.errors import InterplayError
from interplay.models.checkpoints import (
    Checkpoint,
    base_name_note,
    checkpoint_hash,
    classify,
    find_checkpoints,
    find_twins,
    model_at,
)
from interplay.models.loading import hash_tensors, load_model
from interplay.scoring.scores import score_prepared


def touch(folder, *names):
    folder.mkdir(parents=True)
    shard = "model-00001-of-00001.safetensors"
    for name in names:
        if name.endswith(".safetensors"):
            save_file({}, folder / name)
        else:
            (folder / name).write_text(json.dumps({"weight_map": {"w": shard}}) if "index" in name else "{}")
        if "index" in name:
            save_file({}, folder / shard)
    return folder


ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
FULL = ("config.json", "model.safetensors")


def test_found_in_the_order_of_their_steps(tmp_path):
    for step in (100, 20, 3):
        touch(tmp_path / f"checkpoint-{step}", *ADAPTER)
    touch(tmp_path / "checkpoint-1000", "config.json", "model.safetensors.index.json")
    touch(tmp_path / "checkpoint-7")  # empty: torn, or another program's
    touch(tmp_path / "checkpoint-best", *ADAPTER)
    (tmp_path / "checkpoint-9").touch()
    found = find_checkpoints(tmp_path)
    assert [(c.step, c.kind) for c in found] == [
        (0, "base"),
        (3, "adapter"),
        (20, "adapter"),
        (100, "adapter"),
        (1000, "full"),
    ]
    assert found[0].path is None
    assert [c.step for c in find_checkpoints(tmp_path, [100, 0])] == [0, 100]
    assert [c.step for c in find_checkpoints(tmp_path, [20])] == [20]
    with pytest.raises(InterplayError, match=r"no checkpoint for step 7 .* it holds \[0, 3, 20, 100, 1000\]"):
        find_checkpoints(tmp_path, [0, 7])


def test_folders_without_checkpoints(tmp_path):
    with pytest.raises(InterplayError, match="no checkpoints folder"):
        find_checkpoints(tmp_path / "missing")
    with pytest.raises(InterplayError, match="holds no checkpoint-<step> folder"):
        find_checkpoints(tmp_path)


def test_two_folders_of_one_step(tmp_path):
    touch(tmp_path / "checkpoint-10", *FULL)
    touch(tmp_path / "checkpoint-010", *FULL)
    with pytest.raises(InterplayError, match="both step 10"):
        find_checkpoints(tmp_path)


def test_pickles_are_refused_unless_safetensors_stand_beside_them(tmp_path):
    for name in ("adapter_model.bin", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin"):
        folder = touch(tmp_path / name, name, "config.json", "adapter_config.json")
        with pytest.raises(InterplayError, match="pickled weights only"):
            classify(folder)
    assert classify(touch(tmp_path / "both", "pytorch_model.bin", *FULL)) == "full"
    assert classify(touch(tmp_path / "none", "optimizer.pt")) is None


def test_twins():
    assert find_twins({}) == []
    assert find_twins({30: "a", 0: "a", 10: "b", 20: "a"}) == [(0, 20), (0, 30)]


@pytest.fixture
def base(tiny_folder):
    return load_model(str(tiny_folder("llama")))


def at(folder, kind="adapter", step=1):
    return Checkpoint(step, folder, kind)


def scores(checkpoint, base, prepared) -> np.ndarray:
    with model_at(checkpoint, base) as model:
        return score_prepared(model, prepared, noise_coalitions=0).values


def state(base):
    """Everything of the base that a visitor might change."""
    model = base.model
    return (
        hash_tensors(model.state_dict().items()),
        [(name, type(m).__name__, m.training) for name, m in model.named_modules()],
        [(name, p.requires_grad) for name, p in model.named_parameters()],
        sorted(model.__dict__),
    )


def test_base_is_itself(base, prepared):
    with model_at(Checkpoint(0, None, "base"), base) as model:
        assert model is base.model


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


def edit_config(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


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
    fresh = load_model(str(tiny_folder("llama")))
    assert np.array_equal(scores(at(good), base, prepared), scores(at(good), fresh, prepared))


def test_adapters_with_other_modules_missing_or_extra_tensors(base, make_adapter, tmp_path):
    folder = make_adapter(tmp_path / "absent")
    edit_config(folder, target_modules=["nowhere_proj"])
    refused(folder, base, "does not fit the base")

    folder = make_adapter(tmp_path / "more")
    edit_config(folder, target_modules=["q_proj"])  # the tensors of v_proj are left over
    refused(folder, base, "does not fit the base .* 8 weights differ by name|does not fit the base .* 4 weights differ")

    folder = make_adapter(tmp_path / "less")
    edit_tensors(folder, lambda tensors: tensors.pop(sorted(tensors)[0]))
    refused(folder, base, r"does not fit the base .* 1 weights differ by name \(first: .*lora_A")

    folder = make_adapter(tmp_path / "rank")
    edit_config(folder, r=5)
    refused(folder, base, "does not fit the base")


def test_adapters_that_would_write_into_the_base_are_refused(tiny_folder, make_adapter, tmp_path):
    base = load_model(str(tiny_folder("qwen2")))  # its q, k and v have biases
    folder = make_adapter(tmp_path / "bias", "qwen2", bias="lora_only")
    refused(folder, base, "holds weights of the base itself .*bias.*merge it")
    folder = make_adapter(tmp_path / "embedding", "qwen2")
    name = "base_model.model.model.embed_tokens.weight"
    edit_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(384, 32)}))
    refused(folder, base, "holds weights of the base itself .*embed_tokens")


def test_damaged_and_foreign_adapters(base, make_adapter, tmp_path):
    folder = make_adapter(tmp_path / "torn")
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    refused(folder, base, "cannot read the adapter")
    with pytest.raises(InterplayError, match="the file is damaged"):
        checkpoint_hash(at(folder), base)
    (folder / "adapter_config.json").write_text("{")
    refused(folder, base, "cannot read .*adapter_config.json")
    (folder / "adapter_config.json").write_text("[]")
    refused(folder, base, "is not a JSON object")
    folder = make_adapter(tmp_path / "other")
    edit_config(folder, peft_type="PREFIX_TUNING")
    refused(folder, base, "of type 'PREFIX_TUNING': only LoRA adapters")


@pytest.mark.matrix(3)
@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
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


def test_hashes_of_checkpoints(base, make_adapter, tiny_folder, tmp_path):
    a = make_adapter(tmp_path / "a", seed=1)
    same = shutil.copytree(a, tmp_path / "same")
    edit_config(same, base_model_name_or_path="another/name", inference_mode=False)
    b = make_adapter(tmp_path / "b", seed=2)
    alpha = shutil.copytree(a, tmp_path / "alpha")
    edit_config(alpha, lora_alpha=99)
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
    shards = touch(tmp_path / "shards", "config.json")
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
        ("has vocabulary 300, the base", other_base(tiny_folder, tmp_path / "v", vocab_size=300)),
        ("has number of layers 3, the base", other_base(tiny_folder, tmp_path / "l", num_hidden_layers=3)),
        ("has architecture qwen3, the base", tiny_folder("qwen3")),
    ):
        with pytest.raises(InterplayError, match=match), model_at(at(folder, "full"), base):
            pass


def test_a_note_when_the_adapter_names_another_base(base, make_adapter, tmp_path):
    folder = make_adapter(tmp_path / "checkpoint-5")
    edit_config(folder, base_model_name_or_path="meta/Another-7B")
    assert "names its base 'meta/Another-7B'" in base_name_note(at(folder), base)
    edit_config(folder, base_model_name_or_path="owner/" + base.name.rpartition("/")[2].upper())
    assert base_name_note(at(folder), base) is None  # a hub name and its local copy
    edit_config(folder, base_model_name_or_path=None)
    assert base_name_note(at(folder), base) is None
    assert base_name_note(Checkpoint(0, None, "base"), base) is None
