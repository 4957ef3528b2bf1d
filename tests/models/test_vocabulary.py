"""Tokens that training added: adapters that bring embeddings, heads and trained tokens; whole models with other rows."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from interplay.errors import InterplayError
from interplay.models.checkpoints import model_at
from interplay.models.layouts import Checkpoint
from interplay.models.loading import load_model, load_tokenizer, with_added_tokens
from interplay.models.vocabulary import make_room
from interplay.models.weights import hash_tensors

IDS = torch.arange(5, 20)[None]
BASE = Checkpoint(0, None, "base")
Q = {"target_modules": ["q_proj"]}
BOTH = ["embed_tokens", "lm_head"]


@pytest.fixture
def train(tiny_folder, tiny_tokenizer, tmp_path):
    """`train("qwen2", added=3, **config)`: a LoRA as peft saves it, with its tokenizer, and the logits it was saved with."""

    def make(architecture="qwen2", *, added=0, name="checkpoint-5", tokenizer=True, kind="lora", **config):
        from peft import LoraConfig, TrainableTokensConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source = tiny_folder(architecture)
        model = AutoModelForCausalLM.from_pretrained(source)
        own = AutoTokenizer.from_pretrained(source)
        own.add_tokens([f"<new{i}>" for i in range(added)])
        if added:
            model.resize_token_embeddings(len(own))
        if kind == "lora":
            wanted = LoraConfig(r=2, task_type="CAUSAL_LM", **config)
        else:
            wanted = TrainableTokensConfig(task_type="CAUSAL_LM", **config)
        wrapped = get_peft_model(model, wanted).eval()
        generator = torch.Generator().manual_seed(1)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        wrapped.save_pretrained(tmp_path / name)
        if tokenizer:
            own.save_pretrained(tmp_path / name)
        ids = torch.cat([IDS, torch.arange(len(own) - added, len(own))[None]], dim=1)
        with torch.no_grad():
            return tmp_path / name, wrapped(ids).logits, ids

    return make


def state(base):
    model = base.model
    return (
        hash_tensors(model.state_dict().items()),
        [(name, type(m).__name__, sorted(m.__dict__), m.training) for name, m in model.named_modules()],
        [(name, id(p), p.requires_grad, p.shape) for name, p in model.named_parameters(remove_duplicate=False)],
        [m.__dict__.get(key) for m in model.modules() for key in ("num_embeddings", "out_features")],
    )


def logits(base, checkpoint, ids=IDS):
    with model_at(checkpoint, base) as model, torch.no_grad():
        return model(ids).logits


def refused(base, path, match, kind="adapter"):
    before = state(base)
    with pytest.raises(InterplayError, match=match) as error, model_at(Checkpoint(5, path, kind), base):
        pass
    assert "\n" not in str(error.value)
    assert state(base) == before


KINDS = {
    "resized": (3, Q),
    "resized, saved as modules": (3, Q | {"modules_to_save": BOTH}),
    "resized, embeddings saved as a module": (3, Q | {"modules_to_save": ["embed_tokens"]}),
    "resized, LoRA on both": (3, {"target_modules": ["q_proj", *BOTH]}),
    "resized, trained tokens": (3, Q | {"trainable_token_indices": [345, 346]}),
    "trained tokens": (0, Q | {"trainable_token_indices": [5, 9]}),
    "trained tokens of both": (0, Q | {"trainable_token_indices": {"embed_tokens": [5], "lm_head": [9]}}),
    "trained tokens alone": (0, {"kind": "tokens", "token_indices": [5, 9]}),
    "LoRA on embeddings": (0, {"target_modules": ["q_proj", "embed_tokens"]}),
    "LoRA on the head": (0, {"target_modules": ["q_proj", "lm_head"]}),
    "DoRA on the head": (0, {"target_modules": ["q_proj", "lm_head"], "use_dora": True}),
    "biases": (0, Q | {"bias": "all"}),
    "biases beside LoRA": (0, Q | {"bias": "lora_only"}),
}


@pytest.mark.matrix(
    "resized-llama", "modules-qwen2", "both-qwen2", "trained tokens-llama", "head-qwen2", "biases-qwen2"
)
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])  # tied, and not
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_computes_what_it_computed_when_saved_and_leaves_no_trace(tiny_folder, train, architecture, kind):
    added, config = KINDS[kind]
    path, expected, ids = train(architecture, added=added, **config)
    base = load_model(str(tiny_folder(architecture)))
    before, alone = state(base), logits(base, BASE)
    assert torch.equal(logits(base, Checkpoint(5, path, "adapter"), ids), expected)
    assert not torch.equal(expected[:, : IDS.shape[1], : alone.shape[2]], alone)
    assert state(base) == before
    assert torch.equal(logits(base, BASE), alone)


def test_the_base_has_the_mean_for_added_tokens_as_long_as_it_is_asked(tiny_folder, train, tmp_path):
    path, expected, ids = train("llama", added=3, **Q)
    bare = load_model(str(tiny_folder("llama")))
    base = with_added_tokens(bare, tmp_path)  # the output folder
    assert len(base.tokenizer) == base.rows == 348
    assert load_tokenizer(base.name, trained=path).get_vocab() == base.tokenizer.get_vocab()
    before = state(base)
    with model_at(BASE, base) as model:
        weight = model.get_input_embeddings().weight
        assert weight is model.get_output_embeddings().weight
        assert model.get_input_embeddings().num_embeddings == model.get_output_embeddings().out_features == 348
        assert torch.equal(weight[345:], weight[:345].mean(0).expand(3, -1))
        assert torch.isfinite(model(ids).logits).all()
    assert state(base) == before
    assert torch.equal(logits(base, BASE, ids), logits(base, BASE, ids))
    assert torch.equal(logits(base, Checkpoint(5, path, "adapter"), ids), expected)
    # Through `load_model`, as `explain --adapter` does.
    loaded = load_model(str(tiny_folder("llama")), adapter=path)
    assert len(loaded.tokenizer) == 348
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, expected)


def test_explain_reads_added_tokens(tiny_folder, train):
    import interplay

    path, _, _ = train("llama", added=1, **Q)
    base, prompt = str(tiny_folder("llama")), "I was <new0> not happy"
    found = interplay.explain(str(path), prompt, target="sadness", base=base, words=["not", "happy"])
    assert f"{path}: training added tokens, so the tokenizer beside it is used" in found.notes
    model = load_model(base, adapter=path)
    same = interplay.explain(model, prompt, target="sadness", words=["not", "happy"])
    assert found.to_pandas().equals(same.to_pandas())


def test_embeddings_that_are_offloaded_get_no_rows(tiny_folder):
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_folder("llama")))
    make_room(model, 345)
    with pytest.raises(InterplayError, match="embeddings are offloaded: load it without device_map"):
        make_room(model, 346)


def test_rows_that_were_not_saved(tiny_folder, train):
    path, _, ids = train(added=3, **Q)
    file = path / "adapter_model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "lora_" in n}, file)
    base = with_added_tokens(load_model(str(tiny_folder("qwen2"))), path)
    assert torch.isfinite(logits(base, Checkpoint(5, path, "adapter"), ids)).all()


def test_other_rows_need_a_tokenizer_that_agrees(tiny_folder, train):
    base = load_model(str(tiny_folder("qwen2")))
    path, _, _ = train(added=3, tokenizer=False, **Q)
    refused(base, path, "has vocabulary 348, the base .* 345: .*put the trained tokenizer.json into that folder")
    path, _, _ = train(added=3, name="other", **Q)
    text = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(text.replace("<|im_start|>", "<|start|>"))
    refused(base, path, "their tokenizers give other ids: give the base it was trained from")
    with pytest.raises(InterplayError, match=r"other ids to 1 tokens of the base \(first: '<\|im_start\|>'\)"):
        load_tokenizer(base.name, trained=path)


def test_a_frozen_copy_of_another_base(tiny_folder, train):
    path, _, _ = train("qwen2", target_modules=["q_proj", "lm_head"])
    other = load_model(str(tiny_folder("qwen2", 1)))
    refused(other, path, "trained on a base whose lm_head has other values than that of .*: give that base")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_prefixes_in_the_names_of_an_adapter(tiny_folder, train, prefix):
    path, expected, ids = train(**Q)
    file = path / "adapter_model.safetensors"
    front = "base_model.model." if prefix == "_orig_mod." else ""
    save_file({n.replace(front, front + prefix, 1): t for n, t in load_file(file).items()}, file)
    assert torch.equal(logits(load_model(str(tiny_folder("qwen2"))), Checkpoint(5, path, "adapter"), ids), expected)


UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|v_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|v_proj)))"
)


def test_patterns_of_modules(tiny_folder, train):
    patterns = {r"model\.layers\.[0-9]+\.self_attn\.q_proj": 3}
    path, expected, ids = train(target_modules=UNSLOTH, rank_pattern=patterns, alpha_pattern={".*v_proj": 7})
    base = load_model(str(tiny_folder("qwen2")))
    assert torch.equal(logits(base, Checkpoint(5, path, "adapter"), ids), expected)


def test_patterns_are_limited_by_time(tiny_folder, train, monkeypatch):
    monkeypatch.setattr("interplay.models.adapters._PATIENCE", 0.2)
    base = load_model(str(tiny_folder("qwen2")))
    path, _, _ = train(**Q)
    file = path / "adapter_config.json"
    config = json.loads(file.read_text())
    slow = r"(.*?){30}[xyz]\d"
    for change in ({"target_modules": slow}, {"rank_pattern": {slow: 2}}):
        file.write_text(json.dumps(config | change))
        refused(base, path, "takes more than .* s to match the names of modules: list the names")
    file.write_text(json.dumps(config | {"modules_to_save": ["(a+)+b"]}))
    refused(base, path, "modules_to_save in .* holds the pattern .*: list the names")


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"])
def test_vectors_before_the_prompt_are_named(tiny_folder, train, kind):
    path, _, _ = train(**Q)
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peft_type": kind}))
    refused(
        load_model(str(tiny_folder("qwen2"))), path, f"of type '{kind}', which puts trained vectors before the prompt"
    )


def test_whole_models_with_more_and_fewer_rows(tiny_folder, tiny_tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = load_model(str(tiny_folder("llama")))
    for rows in (384, 345 + 2):  # padded to a multiple, and one a token
        model = AutoModelForCausalLM.from_pretrained(base.name)
        model.resize_token_embeddings(rows)
        path = tmp_path / f"checkpoint-{rows}"
        model.save_pretrained(path)
        refused(base, path, f"has vocabulary {rows}, the base .* 345", "full")
        tokenizer = AutoTokenizer.from_pretrained(base.name)
        tokenizer.add_tokens(["<a>", "<b>"])
        tokenizer.save_pretrained(path)
        assert logits(base, Checkpoint(rows, path, "full")).shape[2] == rows
    assert with_added_tokens(base, tmp_path).rows == 347
    for file in (tmp_path / "checkpoint-384").glob("tokenizer*"):
        file.unlink()
    shutil.copy(tmp_path / "checkpoint-347" / "tokenizer.json", tmp_path)  # of the output folder
    assert logits(base, Checkpoint(384, tmp_path / "checkpoint-384", "full")).shape[2] == 384
