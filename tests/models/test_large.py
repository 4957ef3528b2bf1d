"""Models larger than a device: spread or offloaded, they give the scores, the hash and the errors of a plain load."""

import json
import sys

import numpy as np
import pytest
import torch

from interplay.errors import InterplayError
from interplay.models.checkpoints import model_at
from interplay.models.layouts import Checkpoint
from interplay.models.loading import load_model, load_weights
from interplay.models.placement import Placement, input_device, layers_apart, whole_tensors
from interplay.models.weights import hash_tensors
from interplay.scoring.precision import wide_residual
from interplay.scoring.scores import score_prepared

WAYS = [
    {"device_map": "auto"},
    {"device_map": "cpu"},
    {"device_map": "disk"},
    {"device_map": "auto", "max_memory": {"cpu": "60KB"}},  # next to nothing fits: all of it is read from disk
    {"device_map": "sequential", "max_memory": {"cpu": "90KB"}},  # a part of it fits
]


@pytest.fixture
def offload_folders(tmp_path, monkeypatch):
    """Folders made for offloaded weights while the test runs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda: sorted(tmp_path.glob("interplay-offload-*"))


def loses_nothing(unit, expected) -> None:
    np.testing.assert_array_equal(unit.values, expected.values)
    assert unit.noise_sigma == expected.noise_sigma
    assert unit.dtype == expected.dtype


@pytest.mark.matrix(3)
@pytest.mark.parametrize(
    "way", WAYS, ids=lambda way: "-".join(map(str, [way["device_map"], *way.get("max_memory", ())]))
)
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "qwen2"])
def test_scores_and_hash_are_those_of_a_plain_load(tiny_folder, loaded, prepared, architecture, way, offload_folders):
    plain = loaded(architecture)
    found = load_model(str(tiny_folder(architecture)), **way)
    assert found.sha256 == plain.sha256
    loses_nothing(score_prepared(found.model, prepared), score_prepared(plain.model, prepared))
    offloads = way["device_map"] == "disk" or "max_memory" in way
    places = set(getattr(found.model, "hf_device_map", {"": "cpu"}).values())
    assert places == ({"disk"} if way is WAYS[3] else {"cpu", "disk"} if offloads else {"cpu"})
    assert any(p.is_meta for p in found.model.parameters()) == offloads
    assert input_device(found.model) == torch.device("cpu")
    assert offload_folders() == []  # weights are read from the model's own files


@pytest.mark.matrix(1)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_dtype_holds_on_disk(tiny_folder, loaded, prepared, dtype):
    plain = loaded("llama", dtype)
    found = load_model(str(tiny_folder("llama")), dtype=dtype, device_map="disk")
    assert found.sha256 == plain.sha256
    loses_nothing(score_prepared(found.model, prepared), score_prepared(plain.model, prepared))


def test_plain_passes_go_through_hooks_too(tiny_folder, loaded, prepared, monkeypatch):
    monkeypatch.setattr(sys.modules[score_prepared.__module__], "supports_trie", lambda model: False)
    found = load_weights(str(tiny_folder("qwen3")), Placement(device_map="disk"))
    loses_nothing(score_prepared(found, prepared), score_prepared(loaded("qwen3").model, prepared))


def test_weights_in_memory_behind_hooks_are_hashed(tiny_folder, loaded, prepared):
    """What a GPU has no room for lies in memory, not on disk; accelerate's own function does the same without a GPU."""
    from accelerate import cpu_offload

    plain = loaded("llama")
    model = load_weights(str(tiny_folder("llama")))
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(p.is_meta for p in model.parameters())
    assert input_device(model) == torch.device("cpu")
    assert hash_tensors(whole_tensors(model)) == plain.sha256
    loses_nothing(score_prepared(model, prepared), score_prepared(plain.model, prepared))


def test_converted_weights_lie_in_a_folder_that_goes_with_the_model(
    tmp_path, tiny_tokenizer, prepared, offload_folders
):
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_experts=4,
        num_experts_per_tok=2, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        initializer_range=0.3,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "moe")
    tiny_tokenizer.save_pretrained(tmp_path / "moe")
    plain = load_model(str(tmp_path / "moe"))
    found = load_model(str(tmp_path / "moe"), device_map="disk")
    assert found.sha256 == plain.sha256
    loses_nothing(score_prepared(found.model, prepared), score_prepared(plain.model, prepared))
    assert len(offload_folders()) == 1
    del found
    import gc

    gc.collect()
    assert offload_folders() == []


def test_a_failed_load_leaves_no_folder(tmp_path, offload_folders):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 1}))
    with pytest.raises(InterplayError, match="cannot load"):
        load_weights(str(tmp_path / "empty"), Placement(device_map="auto"))
    assert offload_folders() == []


@pytest.mark.matrix(1)
@pytest.mark.parametrize("way", [WAYS[0], WAYS[2], WAYS[3]], ids=["auto", "disk", "all on disk"])
def test_adapters_and_full_checkpoints_on_a_spread_base(tiny_folder, loaded, prepared, make_adapter, tmp_path, way):
    adapter = Checkpoint(1, make_adapter(tmp_path / "a", target_modules=["q_proj", "o_proj", "down_proj"]), "adapter")
    full = Checkpoint(2, tiny_folder("llama", 1), "full")
    plain, found = loaded("llama"), load_model(str(tiny_folder("llama")), **way)
    before = score_prepared(found.model, prepared)
    for checkpoint in (adapter, full):
        with model_at(checkpoint, plain) as model:
            expected = score_prepared(model, prepared)
        with model_at(checkpoint, found) as model:
            loses_nothing(score_prepared(model, prepared), expected)
        assert np.abs(expected.values - before.values).max() > 0.1
    loses_nothing(score_prepared(found.model, prepared), before)
    assert hash_tensors(whole_tensors(found.model)) == plain.sha256
    if way is not WAYS[0]:
        assert set(found.model.hf_device_map.values()) >= {"disk"}


def test_ia3_goes_on_an_offloaded_base(tiny_folder, loaded, prepared, tmp_path):
    from peft import IA3Config, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    own = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    names = {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    wrapped = get_peft_model(own, IA3Config(task_type="CAUSAL_LM", **names))
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = torch.rand(parameter.shape) * 2
    wrapped.save_pretrained(tmp_path / "ia3")
    checkpoint = Checkpoint(1, tmp_path / "ia3", "adapter")
    with model_at(checkpoint, loaded("llama")) as model:
        expected = score_prepared(model, prepared)
    with model_at(checkpoint, load_model(str(tiny_folder("llama")), device_map="disk")) as model:
        loses_nothing(score_prepared(model, prepared), expected)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"modules_to_save": ["mlp"]}], ids=["DoRA", "whole modules"])
def test_adapters_that_need_offloaded_weights_are_refused(tiny_folder, prepared, make_adapter, tmp_path, options):
    found = load_model(str(tiny_folder("llama")), device_map="disk")
    before = score_prepared(found.model, prepared)
    checkpoint = Checkpoint(1, make_adapter(tmp_path / "a", **options), "adapter")
    with pytest.raises(InterplayError, match=r"needs weights of the base that are offl"), model_at(checkpoint, found):
        pass
    loses_nothing(score_prepared(found.model, prepared), before)


def test_a_map_of_our_own_covers_every_tensor_once(tiny_folder):
    from transformers import AutoModelForCausalLM, GPT2Config

    gpt2 = AutoModelForCausalLM.from_config(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64))
    for model, block in ((load_weights(str(tiny_folder("gemma3"))), "model.layers.0"), (gpt2, "transformer.h.0")):
        found = layers_apart(model, "disk", "cpu")
        assert found[block] == "disk"
        assert sorted(set(found.values())) == ["cpu", "disk"]
        for name, _ in model.named_parameters(remove_duplicate=False):
            over = [key for key in found if name == key or name.startswith(f"{key}.")]
            assert len(over) == 1, name
            assert found[over[0]] == ("disk" if ".layers." in name or ".h." in name else "cpu")


def test_a_model_that_does_not_name_its_layers_is_refused():
    class Unknown(torch.nn.Linear):
        _no_split_modules = None

    with pytest.raises(InterplayError, match="Unknown does not name its layers: use device_map auto"):
        layers_apart(Unknown(2, 2), "disk", "cpu")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device_map": "cuda:0"}, "unknown device_map 'cuda:0': choose one of auto, balanced"),
        ({"max_memory": {"cpu": "1GB"}}, "max_memory is read with device_map auto, balanced"),
        ({"device_map": "disk", "max_memory": {"cpu": "1GB"}}, "max_memory is read with device_map auto, balanced"),
        ({"device_map": "auto", "max_memory": {"tpu": "1GB"}}, "max_memory names 'tpu': name a GPU by its number"),
        ({"device_map": "auto", "max_memory": {"0": "much"}}, "max_memory 0: 'much' is not a size: write 20GiB"),
        ({"device_map": "auto", "max_memory": {"cpu": -5}}, "max_memory cpu: -5 is not a size: write 20GiB"),
    ],
)
def test_placements_that_cannot_be_are_refused_in_one_line(tiny_folder, given, said):
    with pytest.raises(InterplayError) as caught:
        load_model(str(tiny_folder("llama")), **given)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_placement_is_kept_with_what_was_loaded(tiny_folder):
    found = load_model(str(tiny_folder("llama")), device_map="auto", max_memory={"cpu": "1GB"})
    assert found.placement == Placement("auto", "auto", {"cpu": "1GB"})


# ---- float16 -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["inside", "logits"])
def overflowing_folder(request, tiny_folder, tmp_path):
    """A Llama that float32 and bfloat16 hold and float16 does not: large numbers within a layer, or as logits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    with torch.no_grad():
        if request.param == "inside":
            mlp = model.model.layers[0].mlp
            mlp.up_proj.weight *= 3e5
            mlp.down_proj.weight /= 3e5
        else:
            model.model.norm.weight *= 3e5
    model.save_pretrained(tmp_path / "large")
    AutoTokenizer.from_pretrained(tiny_folder("llama")).save_pretrained(tmp_path / "large")
    return str(tmp_path / "large")


@pytest.mark.matrix(2)
@pytest.mark.parametrize("device_map", [None, "disk"])
def test_float16_that_overflows_is_an_error_in_one_line(overflowing_folder, prepared, device_map):
    for dtype in ("float32", "bfloat16"):
        model = load_weights(overflowing_folder, Placement(device_map=device_map), dtype=dtype)
        assert np.isfinite(score_prepared(model, prepared).values).all()
    model = load_weights(overflowing_folder, Placement(device_map=device_map), dtype="float16")
    with pytest.raises(InterplayError, match=r"the model gives a score of (nan|-?inf) for coalition") as caught:
        score_prepared(model, prepared)
    assert str(caught.value).endswith("use bfloat16 or float32")
    assert "\n" not in str(caught.value)


def test_a_residual_stream_over_the_range_of_float16_is_held(tiny_folder, tmp_path, prepared):
    """The sum over layers is float32, so that it may leave float16's range where no single product does."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("qwen2"))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight *= 2e3
        bias = torch.full((32,), 4e4)
        for layer in model.model.layers:  # twice 40,000 on the first channel
            layer.mlp.down_proj = torch.nn.Linear(48, 32, bias=True)
            layer.mlp.down_proj.weight.zero_()
            layer.mlp.down_proj.bias.copy_(bias)
    half = model.to(torch.float16).eval()
    unit = score_prepared(half, prepared)
    assert np.isfinite(unit.values).all()
    ids = torch.tensor([prepared.input_ids])
    with torch.no_grad():
        assert not torch.isfinite(half(ids, output_hidden_states=True).hidden_states[2]).all()


def test_a_lookup_widens_what_it_finds_and_not_the_table():
    table = torch.nn.Embedding(1000, 8, dtype=torch.float16)
    seen = []
    table.weight.register_hook(seen.append)
    with wide_residual(table), torch.no_grad():
        found = table(torch.tensor([[3, 999]]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, table.weight[[3, 999]].float()[None], rtol=0, atol=0)
