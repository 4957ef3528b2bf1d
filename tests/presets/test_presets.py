"""Every pair of the paper, run whole on a tiny model of its architecture with its kind of tokenizer and its data's schema."""

import json
from pathlib import Path

import pandas as pd
import pytest

from interplay.config.loading import load_settings
from interplay.config.settings import Settings
from interplay.presets import preset_names, preset_path
from interplay.verbs import copies

PAIRS = {
    "qwen2.5-3b-goemotions": ("qwen", "goemotions"),
    "qwen2.5-7b-goemotions": ("qwen", "goemotions"),
    "llama-2-7b-goemotions": ("llama-2", "goemotions"),
    "llama-3-8b-goemotions": ("llama-3", "goemotions"),
    "qwen2.5-3b-unilaw": ("qwen", "unilaw"),
    "qwen2.5-7b-unilaw": ("qwen", "unilaw"),
    "gemma-3-4b-dolly": ("gemma", "dolly"),
}
STYLE = {"Qwen": "qwen", "meta-llama/Meta-Llama-3": "llama-3", "meta-llama/Llama-2": "llama-2", "google": "gemma"}
# What size alone demands; all else is the preset's own.
SMALL = (
    "model.device=cpu",
    "data.eval_rows=2",
    "prompts.count=2",
    "prompts.n=3",
    "training.steps=2",
    "training.batch_size=2",
    "training.accumulation=1",
    "training.bf16=false",
    "checkpoints.steps=[0, 1, 2]",
    "task.generate_rows=1",
    "task.generate_tokens=3",
    "dynamics.draws=4",
    "dynamics.resamples=10",
    "seed=1",  # which leaves a prompt of the few Chinese ones whose words are tokens of their own
)


def style_of(name: str) -> str:
    return next(style for start, style in STYLE.items() if name.startswith(start))


def small(preset: str, in_style, data_of) -> Settings:
    """The preset on tiny copies of everything it names, through the options of `interplay run`."""
    style, data = PAIRS[preset]
    whole = load_settings(preset_path(preset)).model_dump(mode="json")
    others = [b | {"name": str(in_style(style_of(b["name"])))} for b in whole["baseline"]]
    local = copies(str(in_style(style)), str(data_of(data)))
    return load_settings(preset_path(preset), [*local, *SMALL, f"baseline={json.dumps(others, ensure_ascii=False)}"])


@pytest.mark.matrix("qwen2.5-7b-unilaw")
@pytest.mark.parametrize("preset", PAIRS)
def test_a_pair_runs_whole(preset, in_style, data_of, tmp_path):
    from interplay.pipeline.pipeline import run
    from interplay.pipeline.progress import Progress

    if "unilaw" in preset:
        pytest.importorskip("jieba")
    settings = small(preset, in_style, data_of)
    run(settings, tmp_path / "run", Progress(quiet=True))
    folder = tmp_path / "run"
    assert {"manifest.json", "report.html", "trajectory.parquet"} <= {p.name for p in folder.iterdir()}
    summary = pd.read_parquet(folder / "trajectory.parquet")
    assert set(summary["step"]) == {0, 1, 2}
    strength = summary.query("set == 'all' and measure == 'strength' and order == 0 and definition == 'paper'")
    assert (strength["value"] > 0).all()
    described = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    words = [[word["text"] for word in prompt["words"]] for prompt in described["prompts"]]
    assert words, "a single file of a few rows has one prompt at least"
    assert all(len(found) == 3 for found in words)
    if "unilaw" in preset:
        from interplay.data.stopwords import LEGAL

        assert all("\u4e00" <= word[0] <= "\u9fff" for found in words for word in found)
        assert not LEGAL & {word for found in words for word in found}
    gamma = pd.read_parquet(folder / "baselines.parquet")
    assert gamma["baseline"].nunique() == 2
    for checkpoint in (folder / "checkpoints").glob("checkpoint-*"):
        adapter = json.loads((checkpoint / "adapter_config.json").read_text(encoding="utf-8"))
        assert adapter["r"] == 8
        assert {"q_proj", "o_proj", "gate_proj", "down_proj"} <= {
            t.rpartition(".")[2] for t in adapter["target_modules"]
        }


@pytest.mark.parametrize("style", ["qwen", "llama-2", "llama-3", "gemma"])
def test_every_style_goes_through_the_trie(style, in_style):
    """Gemma-3-4B too, whose text model stands inside one that also reads images."""
    import numpy as np
    import torch

    from interplay.data.prompts import encode, render
    from interplay.data.samples import make_sample
    from interplay.data.template import PromptTemplate
    from interplay.models.loading import load_model
    from interplay.scoring.logodds import Question
    from interplay.scoring.masking import masked_ids
    from interplay.scoring.trie import score_trie, supports_trie

    loaded = load_model(str(in_style(style)))
    assert supports_trie(loaded.model)
    template = PromptTemplate(template="Name the emotion.\nComment: {text}")
    sample = make_sample("Thank you kindly, that clever answer saved us", "joy", n=3, template=template)
    encoded = encode(render(sample.row, loaded.tokenizer, template), loaded.tokenizer)
    spans = []
    for word in sample.words:
        start, end = encoded.text_start + word.start, encoded.text_start + word.end
        spans.append(tuple(i for i, (a, b) in enumerate(encoded.offsets) if a < end and b > start))
    target = encoded.target_ids[0]
    fills = ((0,),) * 3
    ours = score_trie(loaded.model, encoded.input_ids, spans, fills, Question((target,)))
    with torch.no_grad():
        rows = torch.from_numpy(masked_ids(encoded.input_ids, tuple(spans), fills))
        logits = loaded.model(input_ids=rows).logits[:, -1].double()
    own = logits[:, target].clone()
    logits[:, target] = float("-inf")
    plain = (own - logits.logsumexp(-1)).numpy()
    assert np.std(plain) > 0.01
    np.testing.assert_allclose(ours, plain, atol=2e-4)


def test_the_seven_pairs_are_there_and_keep_to_the_paper():
    assert set(preset_names()) == {"demo", "goemotions", *PAIRS}
    for preset in PAIRS:
        settings = load_settings(preset_path(preset))
        training = settings.training
        assert training is not None
        assert (training.method, training.rank, training.targets) == ("lora", 8, "all-linear")
        assert (training.learning_rate, training.scheduler) == (1e-4, "cosine")
        steps = settings.schedule() or []
        assert steps[:5] == [0, 10, 20, 40, 80], "dense early"
        paper = [1000, 2000, 2500, 3000] if preset.startswith("llama-3") else [1000, 1800, 2500, 4000]
        assert steps[-4:] == paper
        assert settings.prompts.n == 10
        assert settings.scoring.mask == "paper"
        assert settings.scoring.among_labels is False, "eq 1"
        assert settings.model.dtype == "float32"
        own = style_of(settings.model.name).partition("-")[0]
        families = [style_of(b.name).partition("-")[0] for b in settings.baseline]
        assert len(set(families)) == 2
        assert own not in families, "a baseline LLM of another family"
        for b in settings.baseline:
            assert b.template == settings.prompt.template, "the same question is put to it"


def test_our_own_two_are_scored_among_their_labels():
    assert {load_settings(preset_path(name)).scoring.among_labels for name in ("demo", "goemotions")} == {"auto"}


@pytest.mark.parametrize("preset", PAIRS)
def test_every_constant_says_whose_it_is(preset):
    text = preset_path(preset).read_text(encoding="utf-8")
    for key in ("rank", "learning_rate", "scheduler", "targets", "n", "count", "steps", "batch_size", "alpha"):
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
        assert any(mark in line for mark in ("[paper]", "[lineage]", "[ours]")), line
    assert max(map(len, text.splitlines())) <= 124


def test_baselines_by_option():
    path = preset_path("llama-3-8b-goemotions")
    assert load_settings(path, ["baseline=null"]).baseline == ()
    [one] = load_settings(path, ["baseline={name: some/llm}"]).baseline
    assert one.name == "some/llm"


def test_copies_of_model_and_data(tmp_path: Path, data_of):
    rows = tmp_path / "rows 🙂.jsonl"
    rows.write_text("{}\n", encoding="utf-8")
    settings = load_settings(preset_path("qwen2.5-3b-goemotions"), copies("my/model", str(rows)))
    assert settings.model.name == "my/model"
    assert (settings.data.file, settings.data.train, settings.data.prompts) == (str(rows), None, None)
    folder = data_of("goemotions")
    settings = load_settings(preset_path("gemma-3-4b-dolly"), copies(None, str(folder)))
    assert settings.model.name == "google/gemma-3-4b-it"
    assert settings.data.file is None
    assert settings.data.eval == str(folder)
    assert copies(None, None) == []


def run_command(monkeypatch, capsys, *arguments):
    from interplay.cli import main

    monkeypatch.setattr("sys.argv", ["interplay", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr().err


def test_run_with_copies_that_are_not_there(monkeypatch, capsys, tmp_path, data_of):
    run = ("run", "preset:qwen2.5-3b-goemotions", "--out", tmp_path / "run")
    code, said = run_command(monkeypatch, capsys, *run, "--data", tmp_path / "none")
    assert (code, said.count("\n")) == (2, 1)
    assert "no such file; give a file ending in" in said
    (tmp_path / "empty").mkdir()
    code, said = run_command(monkeypatch, capsys, *run, "--data", tmp_path / "empty")
    assert (code, said.count("\n")) == (2, 1)
    assert "found no data file, none for train" in said
    both = ("--model", tmp_path / "model", "--data", data_of("goemotions"), "--set", "prompts.count=2")
    code, said = run_command(monkeypatch, capsys, *run, *both, "--quiet")
    assert code == 2
    assert "no model at" in said
    assert str(tmp_path / "model") in said
