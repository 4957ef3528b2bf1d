"""Rows longer than a model's positions: left out by name where positions are learnt, noted where they rotate."""

import json

import pytest
import torch
from tiny_job import PROMPTS, TRAIN, labelled, run_here, settings, write_rows
from transformers import AutoModelForCausalLM, GPT2Config, JambaConfig, LlamaConfig

import interplay
from interplay.errors import InterplayError
from interplay.models.length import context_length

LONG = ("The terrible service ruined our whole dinner " * 20).strip()
FEWER = {
    "controls": {"precision": None, "mask": None, "draws": 1, "both_scores": False, "reference": None, "few_shot": 4}
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory, tiny_tokenizer):
    """A GPT-2 of 64 learnt positions."""
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    size = {"vocab_size": len(tiny_tokenizer), "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
    config = GPT2Config(**size, **ids, initializer_range=0.3)
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def with_long_rows(folder, **sections):
    wanted = settings(folder, **sections)
    write_rows(folder / "train.jsonl", labelled([*TRAIN, (f"Yesterday {LONG}", "joy")]))
    write_rows(folder / "prompts.jsonl", labelled([*PROMPTS[:3], (LONG, "anger")]))
    return wanted


def test_a_run_leaves_out_what_is_longer_than_the_learnt_positions(gpt2, tiny_folder, tmp_path):
    wanted = with_long_rows(tmp_path, model=gpt2, baseline=tiny_folder("llama"), **FEWER)
    wanted["prompts"]["count"] = 4
    wanted["task"] = {"generate_rows": 4, "generate_tokens": 45}
    run_here(wanted, tmp_path / "run")
    found = interplay.Run(tmp_path / "run")
    assert len(found.prompts) == 3
    omitted = json.loads((tmp_path / "run" / "measured.json").read_text())["omitted"]
    told = {(one["stage"], one["id"]): one["reason"] for one in omitted}
    assert {"prompts", "eval", "train", "few-shot", "answers"} == {stage for stage, _ in told}
    assert all("64 learnt positions" in reason for (stage, _), reason in told.items() if stage != "train"), told
    assert found.task["eval_loss"].notna().all()


def test_a_rotary_model_is_asked_and_the_note_says_what_is_doubtful(tiny_folder, tmp_path):
    wanted = with_long_rows(tmp_path, model=tiny_folder("llama"))
    wanted |= {"prompts": {"count": 4, "n": 2}, "training": {**wanted["training"], "max_length": 300}}
    wanted["controls"] = FEWER["controls"] | {"few_shot": 0}
    write_rows(tmp_path / "prompts.jsonl", labelled([*PROMPTS[:3], (LONG, "anger")]))
    run_here(wanted, tmp_path / "run")
    notes = " ".join(interplay.Run(tmp_path / "run").notes)
    assert "1 of 4 prompts: more tokens (up to " in notes
    assert "than the 512 positions this model was made for, so doubt these scores." in notes
    assert "1 of 4 prompts: 300 tokens or more, where training.max_length cuts a row, so its answer was not" in notes
    assert "1 of 4 eval rows: more tokens" in notes


def test_explain_and_score_refuse_in_one_line(gpt2, sample, template):
    with pytest.raises(InterplayError, match=r"^it has \d+ tokens, this model has 64 learnt positions"):
        interplay.explain(str(gpt2), LONG, "anger", n=2)
    model = interplay.load_model(str(gpt2))
    long = interplay.make_sample(LONG, "anger", n=2, template=template)
    with pytest.raises(InterplayError, match="64 learnt positions"):
        interplay.score(model.model, model.tokenizer, [sample, long], template=template)


def test_explain_notes_a_rotary_prompt_beyond_its_positions(tiny_folder):
    found = interplay.explain(str(tiny_folder("llama")), LONG, "anger", n=2)
    assert any("than the 512 positions" in note for note in found.notes)


def test_context_length_of_an_architecture():
    assert context_length(LlamaConfig(max_position_embeddings=256)).tokens == 256
    scaled = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "rope_theta": 1e4}
    assert context_length(LlamaConfig(max_position_embeddings=256, rope_parameters=scaled)).tokens == 1024
    assert context_length(GPT2Config(n_positions=64)).learnt
    assert context_length(JambaConfig()).tokens is None
