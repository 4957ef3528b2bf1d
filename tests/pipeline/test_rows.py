"""Rows on their way into a run: read before any model is opened, with their notes, and without labels that are tokens."""

import json

import pandas as pd
import pytest
from tiny_job import BARE, PROMPTS, TRAIN, labelled, run_here, settings, write_rows

from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.pipeline.inputs import read_inputs
from interplay.pipeline.progress import Progress

BROKEN = '{"text": "a", "label": "b"}\n' + '{"text": ""}\n' * 3


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        ("data.train", None, "rows.jsonl: no such file"),
        ("data.prompts", BROKEN, "rows.jsonl: 3 of 4 rows cannot be used; line 2: no 'label'"),
        ("data.eval", "not json", "rows.jsonl: none of 1 rows can be read"),
        ("task.ood", BROKEN, "rows.jsonl: 3 of 4 rows cannot be used"),
        ("task.retention", None, "is not a file"),
        ("checkpoints.folder", BROKEN, "rows.jsonl: 3 of 4 rows cannot be used"),
    ],
)
def test_data_are_read_before_a_model_is_looked_for(tmp_path, monkeypatch, key, content, said):
    def refuse(*_, **__):
        raise AssertionError("a model was looked for")

    for name in ("pipeline.load_tokenizer", "states.load_model", "stages.load_for_training"):
        monkeypatch.setattr(f"interplay.pipeline.{name}", refuse)
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    overrides = [f"{key}={path}"]
    if key == "checkpoints.folder":  # what `track` asks for
        overrides = [
            "training=null",
            "data.train=null",
            f"{key}={tmp_path}",
            f"data.eval={path}",
            f"data.prompts={path}",
        ]
    with pytest.raises(InterplayError, match=said):
        run_here(settings(tmp_path, tmp_path / "no-model"), tmp_path / "run", *overrides)


@pytest.mark.soak
def test_a_label_that_spells_a_special_token_is_none(tmp_path, tiny_folder):
    """Its rows are left out by name, and the others keep the label question."""
    wanted = settings(tmp_path, tiny_folder("llama"))
    for name, rows in (("train", TRAIN), ("prompts", PROMPTS)):
        special = [{"id": f"odd-{name}", "text": f"The odd row of {name} has other words", "label": "<|endoftext|>"}]
        write_rows(tmp_path / f"{name}.jsonl", labelled(rows) + special)
    result = run_here(wanted, tmp_path / "run")
    assert not any("among the labels were left out" in note for note in result.notes)
    measured = (tmp_path / "run" / "measured.json").read_text()
    left_out = {(o["stage"], o["id"]): o["reason"] for o in json.loads(measured)["omitted"]}
    assert {("train", "odd-train"), ("eval", "odd-prompts")} <= set(left_out)
    assert "spells the special token '<|endoftext|>'" in left_out["eval", "odd-prompts"]
    assert pd.read_parquet(tmp_path / "run" / "task.parquet")["accuracy"].notna().all()


def test_columns_that_no_prompt_holds_are_noted_everywhere(tmp_path, tiny_folder, capsys):
    from interplay.pipeline.pipeline import run
    from interplay.runfolder import Run

    wanted = settings(tmp_path, tiny_folder("llama"), **BARE)
    write_rows(tmp_path / "train.jsonl", [{**row, "tools": "[1]"} for row in labelled(TRAIN)])
    write_rows(tmp_path / "ood.jsonl", [{**row, "context": "C"} for row in labelled(PROMPTS)])
    run(load_settings(wanted, [f"task.ood={tmp_path / 'ood.jsonl'}"]), tmp_path / "run", Progress())
    result = Run(tmp_path / "run")
    said = capsys.readouterr().err
    for column in ("tools", "context"):
        line = f"column '{column}' is not used: no prompt holds anything of it"
        assert result.notes.count(line) == 1
        assert said.count(line) == 1
        assert line in json.loads((tmp_path / "run" / "measured.json").read_text())["notes"]


def test_folders_and_another_join_reach_a_run(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"))
    (tmp_path / "rows").mkdir()
    for name, rows in (("train", TRAIN), ("test", PROMPTS)):
        alpaca = [{"instruction": "Name it.", "input": text, "output": label} for text, label in rows]
        write_rows(tmp_path / "rows" / f"{name}.jsonl", alpaca)
    folder = str(tmp_path / "rows")
    wanted["data"] = {"train": folder, "eval": folder, "prompts": folder, "join": " // "}
    inputs = read_inputs(load_settings(wanted), usable=lambda sample: None)
    assert [row.text for row in inputs.train] == [f"Name it. // {text}" for text, _ in TRAIN]
    assert [row.text for row in inputs.eval] == [f"Name it. // {text}" for text, _ in PROMPTS]
    assert inputs.train[0].messages[-1].content == f"Sentence: Name it. // {TRAIN[0][0]}\nEmotion:"


def test_prompts_that_are_all_trained_on_say_what_was_read(tmp_path):
    wanted = settings(tmp_path, tmp_path / "no-model")
    write_rows(tmp_path / "prompts.jsonl", labelled(TRAIN[:2]))
    said = "prompts.jsonl: read 2 rows to choose prompts from, and none is left; prompts-2: its text is also a training text"
    with pytest.raises(InterplayError, match=said):
        read_inputs(load_settings(wanted), usable=lambda sample: None)
