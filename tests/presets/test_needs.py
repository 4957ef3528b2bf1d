"""What a preset needs: arithmetic that can be checked by hand or against a model, and the verb that prints it."""

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from interplay.cli.run import presets
from interplay.presets import preset_names, preset_needs

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import SHAPES, Shape, adapter_parameters, linear_weights, needs, parameters, table  # noqa: E402


def test_weights_are_counted_as_a_model_counts_them():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=70,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=4,
    )
    shape = Shape(24, 40, 3, 6, 2, 4, 70)
    model = AutoModelForCausalLM.from_config(config)
    norms = sum(p.numel() for name, p in model.named_parameters() if "norm" in name)
    assert sum(p.numel() for p in model.parameters()) - norms == parameters(shape)
    linear = [m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and name != "lm_head"]
    assert sum(m.weight.numel() for m in linear) == linear_weights(shape)
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained == adapter_parameters(shape, 3)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-3B-Instruct", 3.09),
        ("Qwen/Qwen2.5-7B-Instruct", 7.62),
        ("meta-llama/Llama-2-7b-chat-hf", 6.74),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8.03),
        ("google/gemma-3-4b-it", 4.30),
    ],
)
def test_shapes_have_the_size_their_cards_say(name, billions):
    assert parameters(SHAPES[name]) / 1e9 == pytest.approx(billions, abs=0.005)


def test_operations_by_hand():
    from benchmarks.operations import scoring_operations

    shape = Shape(hidden=4, inner=8, layers=1, heads=2, kv_heads=1, head=2, vocabulary=10)
    # Two levels of one token each: 1 + 2 tokens, 2 leaves; token 1 sees itself, the other two see 2 tokens each.
    assert scoring_operations(shape, [1, 1]) == 2 * 3 * 144 + 2 * 2 * 40 + 4 * (1 + 2 * 2) * 4
    assert scoring_operations(shape, [1, 1], plain=True) == 2 * 4 * 144 + 2 * 2 * 40 + 4 * (2 * 1 + 2 * 2) * 4


@pytest.mark.parametrize("length", [60, 200])
def test_the_benchmarks_prompts_are_counted_alike(length):
    from benchmarks.operations import SMOLLM2, benchmark_sizes, plain_tokens, trie_tokens
    from benchmarks.scale import counted, levels
    from benchmarks.scoring_rows import SHAPE, prompt

    assert benchmark_sizes(length) == levels(prompt(length, 10))
    assert counted(length) == (trie_tokens(benchmark_sizes(length)), plain_tokens(benchmark_sizes(length)))
    assert SMOLLM2[:3] == (SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_hidden_layers"])


def test_needs_of_every_preset():
    found = {name: needs(name) for name in preset_names()}
    assert json.loads(table()) == preset_needs(), (
        "run python -m benchmarks.needs --write src/interplay/presets/needs.json"
    )
    for item in found.values():
        assert 0 < item.memory_without_baselines <= item.memory
    three, seven = found["qwen2.5-3b-goemotions"], found["qwen2.5-7b-goemotions"]
    assert three.memory < seven.memory < 80e9, "a pair fits on one GPU of 80 GB"
    assert seven.gated == ("meta-llama/Meta-Llama-3-8B-Instruct", "google/gemma-3-4b-it")
    assert needs("demo").baselines == ()


def run_verb(*arguments):
    app = typer.Typer()
    app.command()(presets)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_verb_lists_every_preset_and_calls_its_figures_estimates():
    said = run_verb()
    lines = said.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(preset_names())]] == list(preset_names())
    assert len({len(line) for line in lines[: 1 + len(preset_names())]}) == 1, "columns are aligned"
    assert "Estimates for one GPU; none was measured" in said
    assert "Accept the licence" in said


def test_the_verb_as_json():
    listed = json.loads(run_verb("--json"))
    assert [item["preset"] for item in listed] == list(preset_names())
    [one] = [item for item in listed if item["preset"] == "llama-3-8b-goemotions"]
    assert one["measured"] is False
    assert one["model"] == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert one["data"].startswith("hub:google-research-datasets/go_emotions")
    assert one["memory_training_gb"] > 32
    assert not [key for key in one if "hours" in key]


def test_the_pages_hold_what_is_computed():
    from benchmarks.scale import page
    from interplay.cli.run import _cells

    written = (ROOT / "docs" / "evidence" / "scale.md").read_text(encoding="utf-8")
    for line in page(None).splitlines():
        assert line in written, "run python -m benchmarks.scale --write docs/evidence/scale.md"
    assert "## Measured: SmolLM2" in written
    table = (ROOT / "docs" / "how-to" / "presets.md").read_text(encoding="utf-8")
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()}
    assert {_cells(item) for item in preset_needs()} <= rows
