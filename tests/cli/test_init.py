"""`interplay init`: a commented settings file that `interplay run` takes, from rows in any form."""

import csv
import json
import re

import pytest
import yaml
from tiny_job import BARE, TRAIN, labelled, run_here, write_rows

import interplay
from interplay.config.loading import load_settings
from interplay.errors import InterplayError


def chats(rows):
    return [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
        for text, label in rows
    ]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_csv_with_other_column_names(call, here):
    with open(here / "moods.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("comment", "mood"), *TRAIN, ("one without a mood", "")])
    asked = ("init", "moods.csv", "--model", "models/base", "--set", "data.columns={text: comment, label: mood}")
    done = call(*asked)
    assert (done.code, done.err) == (0, "")
    rows, form, left_out, following = done.out.splitlines()
    assert re.fullmatch(r"Rows: \d train, \d eval, \d prompts", rows)
    assert sum(map(int, re.findall(r"\d", rows))) == len(TRAIN)
    assert form == "Form: text-label (text: comment, label: mood), 4 labels: anger, joy, sadness, surprise"
    assert left_out == "Left out: 1; line 10: 'mood' is empty"
    assert following == "Next: interplay run interplay.yaml"
    written = (here / "interplay.yaml").read_text(encoding="utf-8")
    assert f"# {rows}\n# {form}\n# {left_out}\n" in written
    made = load_settings(here / "interplay.yaml")
    assert (made.name, made.model.name, made.data.file) == ("moods", "models/base", "moods.csv")
    assert made.data.columns == {"text": "comment", "label": "mood"}
    # A second call leaves the file as it is.
    again = call(*asked)
    assert (again.code, again.err) == (
        2,
        "interplay: 'interplay.yaml' is there already: --force overwrites it, --out writes another file\n",
    )
    assert call("init", "moods.csv", "--force", *asked[4:]).code == 0
    assert load_settings(here / "interplay.yaml").model.name.endswith("SmolLM2-135M-Instruct")


ALPACA = [{"instruction": text, "input": "", "output": label} for text, label in TRAIN]
FORMS = {
    "messages": (chats(TRAIN), {"messages": "messages"}, None),
    "alpaca": (ALPACA, {"instruction": "instruction", "output": "output", "input": "input"}, None),
    "prompt-completion": (
        [{"question": text, "answer": f"because {text}"} for text, _ in TRAIN],
        {"prompt": "question", "completion": "answer"},
        None,
    ),
    "text-label": (labelled(TRAIN), {"text": "text", "label": "label"}, ("anger", "joy", "sadness", "surprise")),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_recognised(form, here):
    rows, columns, labels = FORMS[form]
    write_rows(here / "rows.jsonl", rows)
    found = interplay.init("rows.jsonl", "base")
    assert (found.form, found.columns, found.labels, found.notes) == (form, columns, labels, ())
    assert load_settings(found.path).data.file == "rows.jsonl"


def test_a_folder_of_splits(here):
    for name, rows in (("train", TRAIN), ("test", TRAIN[:3])):
        write_rows(here / f"{name}.jsonl", labelled(rows))
    found = interplay.init(str(here), out="new/interplay.yaml")
    assert found.rows == {"train": 8, "eval": 3, "prompts": 3}
    assert load_settings(found.path).data.file is None


BAD = {
    "no labels": ('{"text": "It rains"}\n', "found the columns 'text'; form 'auto' expects "),
    "no rows": ("", "the file is empty"),
    "no json": ("It rains\n", "none of 1 rows can be read"),
    "two rows": ('{"text": "a", "label": "b"}\n' * 2, "needs rows of three different texts"),
}


@pytest.mark.parametrize("case", BAD)
def test_rows_that_cannot_be_used_write_nothing(case, call, here):
    text, said = BAD[case]
    (here / "rows.jsonl").write_text(text)
    done = call("init", "rows.jsonl")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["rows.jsonl"]


def test_no_such_file_and_an_unknown_setting(here):
    with pytest.raises(InterplayError, match="no such file"):
        interplay.init("nothing.csv")
    with pytest.raises(
        InterplayError, match=r"unknown settings key 'trainning\.steps'|unknown settings key 'trainning'"
    ):
        interplay.init(settings={"trainning.steps": 3})


def test_what_is_commented_out_is_the_default(here):
    written = interplay.init(settings=["training={method: full, rank: 4}"]).path.read_text(encoding="utf-8")
    assert written.startswith("# interplay run interplay.yaml\n")
    assert max(map(len, written.splitlines())) < 128
    given = yaml.safe_load(written)
    everything = yaml.safe_load(re.sub(r"^( *)#(\w+:)", r"\1\2", written, flags=re.MULTILINE))
    assert given["training"] == {"method": "full", "rank": 4, "steps": 200}
    assert len(everything["training"]) == 15
    assert load_settings(everything) == load_settings(given)
    assert "  #learning_rate: 0.0001  # [paper]\n" in written


def test_awkward_names_stay_on_their_line(here):
    odd = here / 'a "b": #c\n.jsonl'
    odd.write_text("".join(json.dumps(row) + "\n" for row in labelled(TRAIN)))
    found = interplay.init(odd.name, "mod: #el\n")
    made = load_settings(found.path)
    assert (made.data.file, made.model.name) == (odd.name, "mod: #el\n")


def test_few_rows_get_few_steps_and_the_file_runs(tiny_folder, here):
    write_rows(here / "rows.jsonl", labelled([*TRAIN, *((f"{text} again", label) for text, label in TRAIN)]))
    found = interplay.init("rows.jsonl", str(tiny_folder("llama")))
    given = yaml.safe_load(found.path.read_text(encoding="utf-8"))
    assert given["training"]["steps"] == 20
    pytest.importorskip("trl")
    for name, section in BARE.items():
        given[name] = {**given.get(name, {}), **section}
    given |= {"prompts": {"count": 2, "n": 3}, "audit": {"mode": False}}
    assert run_here(given, here / "run").steps == (0, 2)
