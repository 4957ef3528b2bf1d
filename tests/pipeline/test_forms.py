"""Runs on other data and in other ways: full fine-tuning, forms without labels, few-shot prompts, options, bad rows."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny_job import BARE, PROMPTS, TEMPLATE, TRAIN, contents, labelled, run_here, settings, write_rows

from interplay.config.loading import load_settings
from interplay.data.prompts import render
from interplay.dynamics import Trajectory
from interplay.errors import InterplayError, SkipSample
from interplay.pipeline.inputs import examples, read_inputs
from interplay.store.units import load_unit

FEWER = {"training": {"steps": 2}, "checkpoints": {"steps": [0, 2]}}


def test_full_fine_tuning_leaves_whole_models(tmp_path, tiny_folder, no_forward_after):
    wanted = settings(tmp_path, tiny_folder("qwen3"), **BARE)
    wanted["training"]["method"] = "full"
    run_here(wanted, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "checkpoint-2"
    assert (folder / "model.safetensors").exists()
    assert not (folder / "adapter_config.json").exists()
    assert not list(folder.glob("*.pt"))
    weights = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert len(set(weights["checkpoints"].values())) == 2
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    assert (units["residual"] <= units["tolerance"] + 1e-9).all()
    before = contents(tmp_path / "run")
    no_forward_after()
    run_here(wanted, tmp_path / "run")
    assert contents(tmp_path / "run") == before


@pytest.fixture
def no_forward_after(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed again")

    def now():
        for name in (
            "measure.score_prepared",
            "measure.score_together",
            "tasks.score_eval",
            "tasks.greedy",
            "stages.finetune",
        ):
            monkeypatch.setattr(f"interplay.pipeline.{name}", refuse)

    return now


def in_form(form: str, rows: list[tuple[str, str]]) -> list[dict]:
    if form == "messages":
        return [
            {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": target}]}
            for text, target in rows
        ]
    return [{"prompt": text, "completion": target} for text, target in rows]


@pytest.mark.soak
@pytest.mark.parametrize("form", ["messages", "prompt-completion"])
def test_forms_without_labels(form, tmp_path, tiny_folder):
    """Through the chat template; accuracy needs labels, so it is left out, and the run says so."""
    write_rows(tmp_path / "train.jsonl", in_form(form, TRAIN))
    write_rows(tmp_path / "prompts.jsonl", in_form(form, PROMPTS))
    wanted = settings(tmp_path, tiny_folder("llama"), **FEWER)
    wanted["prompt"] = {"chat": True}
    result = run_here(wanted, tmp_path / "run")
    task = pd.read_parquet(tmp_path / "run" / "task.parquet")
    assert task["accuracy"].isna().all()
    assert np.isfinite(task["eval_loss"]).all()
    assert any("no labels" in note and "accuracy" in note for note in result.notes)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "accuracy was not measured" in page
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    assert len(units) == 15  # 3 prompts at 2 steps; reworded, in other precision and with other words at step 0


def test_few_shot_examples_come_from_training_rows_labels_in_turn(tmp_path, tiny_folder, tiny_tokenizer):
    wanted = settings(tmp_path, tiny_folder("llama"))
    wanted["prompt"]["few_shot"] = 3
    inputs = read_inputs(load_settings(wanted), usable=lambda sample: None)
    shown = inputs.template.few_shot
    assert len(shown) == 3
    assert set(shown) <= set(TRAIN)
    assert len({label for _, label in shown}) == 3
    for sample in inputs.prompts:
        prompt = render(sample.row, tiny_tokenizer, inputs.template).prompt
        assert all(f"Sentence: {text}\nEmotion: {label}" in prompt for text, label in shown)
        assert prompt.endswith(f"Sentence: {sample.row.text}\nEmotion:")
    again = read_inputs(load_settings(wanted), usable=lambda sample: None)
    assert again.template == inputs.template
    other = read_inputs(load_settings(wanted, ["seed=5"]), usable=lambda sample: None)
    assert other.template != inputs.template


@pytest.mark.soak
def test_few_shot_run_and_no_rewording(tmp_path, tiny_folder):
    """rephrased: null leaves the churn floor out, and every place says so."""
    wanted = settings(tmp_path, tiny_folder("llama"), **FEWER)
    wanted["prompt"] |= {"few_shot": 1, "rephrased": None}
    result = run_here(wanted, tmp_path / "run")
    assert result.summary().floor is None
    assert any("no churn floor" in note for note in result.notes)
    track = Trajectory.load(tmp_path / "run")
    assert track.get("count", "removed")["null"].isna().all()
    assert track.get("rho", "all")["null"].notna().all(), "the other nulls need no rewording"
    assert not list((tmp_path / "run" / "units").glob("*-rephrased"))
    assert (tmp_path / "run" / "report.html").exists()


def test_examples_take_turns_and_stop_at_what_there_is(tmp_path, tiny_folder):
    inputs = read_inputs(load_settings(settings(tmp_path, tiny_folder("llama"))), usable=lambda sample: None)
    assert examples(inputs.train, 0, 0) == ()
    assert len(examples(inputs.train, 50, 0)) == len(TRAIN)
    labels = [label for _, label in examples(inputs.train, 4, 0)]
    assert sorted(labels) == ["anger", "joy", "sadness", "surprise"]


def test_scores_among_labels(tmp_path, tiny_folder):
    """v is the log-odds within the labels' first tokens: recomputed here from the plain logits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wanted = settings(tmp_path, tiny_folder("llama"), scoring={"among_labels": True}, **BARE)
    run_here(wanted, tmp_path / "run")
    unit = load_unit(tmp_path / "run" / "units" / "step-000000" / "prompt-0000.safetensors")
    assert unit is not None
    prompt = json.loads((tmp_path / "run" / "inputs.json").read_text())["prompts"][0]
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("llama"))
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    ids = tokenizer(TEMPLATE.replace("{text}", prompt["text"]), return_tensors="pt")["input_ids"]
    first = {label: tokenizer(f" {label}")["input_ids"][0] for label in ("anger", "joy", "sadness", "surprise")}
    logits = model(ids).logits[0, -1].detach()
    gold = first[prompt["target"]]
    others = sorted(set(first.values()) - {gold})
    assert unit.scores[-1] == pytest.approx(float(logits[gold] - torch.logsumexp(logits[others], 0)), abs=1e-4)


def test_among_labels_needs_labels(tmp_path, tiny_folder):
    write_rows(tmp_path / "train.jsonl", in_form("prompt-completion", TRAIN))
    write_rows(tmp_path / "prompts.jsonl", in_form("prompt-completion", PROMPTS))
    wanted = settings(tmp_path, tiny_folder("llama"), scoring={"among_labels": True}, **FEWER)
    with pytest.raises(InterplayError, match="among labels need two labels that can be answers"):
        run_here(wanted, tmp_path / "run")


def test_prompt_that_was_trained_on_is_left_out_and_named(tmp_path, tiny_folder):
    again = f"  {TRAIN[0][0].upper()} !"
    write_rows(tmp_path / "prompts.jsonl", [{"id": "seen", "text": again, "label": "joy"}, *labelled(PROMPTS)])
    write_rows(tmp_path / "train.jsonl", labelled(TRAIN))
    inputs = read_inputs(load_settings(settings(tmp_path, tiny_folder("llama"))), usable=lambda sample: None)
    assert "seen" not in {sample.id for sample in inputs.prompts}
    assert [(o.stage, o.id) for o in inputs.omitted] == [("prompts", "seen")]
    assert "training text" in inputs.omitted[0].reason
    assert any("1 of 5 eval rows have a training text, but for case and punctuation" in note for note in inputs.notes)


def test_bad_rows_among_good_ones_are_counted_and_named(tmp_path, tiny_folder, capsys):
    rows = labelled(TRAIN)
    rows[2:2] = [
        {"id": "no-label", "text": "Nothing follows"},
        {"id": "special", "text": "a <|im_end|> b", "label": "joy"},
    ]
    write_rows(tmp_path / "train.jsonl", rows)
    prompts = [{"id": "of", "text": "of the", "label": "joy"}, *labelled(PROMPTS)]
    prompts.append({"id": "masked", "text": "Some unusual words stand <unk> here", "label": "joy"})
    write_rows(tmp_path / "prompts.jsonl", prompts)
    wanted = settings(tmp_path, tiny_folder("llama"), prompts={"count": 6, "n": 3}, **BARE)
    run_here(wanted, tmp_path / "run")
    named = {row["id"] for row in json.loads((tmp_path / "run" / "report.json").read_text())["skipped"]}
    assert {"train: no-label", "train: special", "prompts: of", "prompts: masked"} <= named
    assert len(json.loads((tmp_path / "run" / "report.json").read_text())["skipped"]) >= 4
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(name in page for name in ("no-label", "special"))


def test_word_that_is_the_mask_token_is_no_prompt(tmp_path, tiny_folder, tiny_tokenizer):
    """Masking a word that already is the mask token would change nothing: that prompt is skipped, not the run stopped."""
    wanted = settings(tmp_path, tiny_folder("llama"), scoring={"mask": " food"}, prompts={"count": 4, "n": 6}, **BARE)
    prompts = [*PROMPTS[:3], ("Somebody cooked wonderful food yesterday evening", "joy")]
    write_rows(tmp_path / "prompts.jsonl", labelled(prompts))
    run_here(wanted, tmp_path / "run")
    assert len(json.loads((tmp_path / "run" / "report.json").read_text())["skipped"]) >= 1
    skipped = json.loads((tmp_path / "run" / "report.json").read_text())["skipped"]
    assert any("mask token" in row["reason"] for row in skipped)
    assert len(json.loads((tmp_path / "run" / "inputs.json").read_text())["prompts"]) == 3


def test_csv_and_columns(tmp_path, tiny_folder):
    for name, rows in (("train", TRAIN), ("prompts", PROMPTS)):
        lines = ["comment,mood", *(f'"{text}",{label}' for text, label in rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    wanted = settings(tmp_path, tiny_folder("llama"))
    wanted["data"] = {
        "train": str(tmp_path / "train.csv"),
        "prompts": str(tmp_path / "prompts.csv"),
        "columns": {"text": "comment", "label": "mood"},
    }
    inputs = read_inputs(load_settings(wanted), usable=lambda sample: None)
    assert len(inputs.train) == len(TRAIN)
    assert inputs.labels == ("anger", "joy", "sadness", "surprise")
    assert inputs.eval == ()


def test_fewer_rows_are_a_seeded_choice_in_file_order(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"))
    wanted["data"] |= {"train_rows": 3, "eval_rows": 2}
    one, two = (read_inputs(load_settings(wanted), usable=lambda s: None) for _ in range(2))
    assert one == two
    assert len(one.train) == 3
    assert len(one.eval) == 2
    order = [text for text, _ in TRAIN]
    assert [row.text for row in one.train] == sorted((row.text for row in one.train), key=order.index)
    other = read_inputs(load_settings(wanted, ["seed=3"]), usable=lambda s: None)
    assert other.train != one.train
    assert other.fingerprint() != one.fingerprint()


def test_baseline_that_serves_no_prompt_is_an_error(tmp_path, tiny_folder, monkeypatch):
    from interplay.pipeline import extraction

    honest = extraction.prepare

    def none_for_the_baseline(sample, tokenizer, template, **how):
        if template.few_shot:  # which only the baseline LLM has here
            raise SkipSample("no token of its own")
        return honest(sample, tokenizer, template, **how)

    monkeypatch.setattr(extraction, "prepare", none_for_the_baseline)
    wanted = settings(tmp_path, tiny_folder("llama"), tiny_folder("qwen2"), **BARE)
    with pytest.raises(InterplayError, match=r"can serve none of the prompts \(first: no token of its own"):
        run_here(wanted, tmp_path / "run")


def test_misspelt_baseline_costs_no_training(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), tmp_path / "nowhere", **FEWER)
    with pytest.raises(InterplayError, match="no model at"):
        run_here(wanted, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
