"""A whole run on hostile data: rows, labels, ids, names of files and folders, the run's name. Nothing of it leaves the run folder."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
from hostile import SHORT, controls
from test_page import LOOK, ODD_ELEMENTS, Watched
from tiny_job import contents, labelled, run_here, settings, write_rows

# Every eighth payload: each is a prompt to be scored, and the kinds stand in groups.
ROWS = SHORT[::8]
ODD_NAME = "<img src=x onerror=window.__hit=1> \u202e\x1b[31m =1+1 '\"`$(id)"
TOKEN = "hf_" + "aBcDeFgHiJ" * 3
NAME = "</script><script>window.__hit=1</script>{{7*7}} \x1b]0;owned\x07\u2028\u202e =1+1"


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_folder):
    """One run, made as the command makes it, in a folder that holds nothing else."""
    from interplay.config.loading import load_settings
    from interplay.pipeline.pipeline import run
    from interplay.pipeline.progress import Progress

    root = tmp_path_factory.mktemp("pipeline")
    inside = root / ODD_NAME
    inside.mkdir()
    model = shutil.copytree(tiny_folder("llama"), inside / "model \x1b[2J'\"<b>")
    prompts = [
        {"id": p.text[:200], "text": f"{p.text} service ruined dinner {i}\x9b2J", "label": f"{p.text[:60]}{i % 3}"}
        for i, p in enumerate(ROWS)
    ]
    write_rows(inside / "prompts.jsonl", prompts)
    train = [("plain words stand here", "joy"), *((row["text"] + " again", row["label"]) for row in prompts[:12])]
    write_rows(inside / "train.jsonl", labelled(train))
    wanted = settings(
        inside, model, training={"steps": 1}, checkpoints={"steps": [0, 1]}, prompts={"count": len(ROWS), "n": 2},
        controls={"precision": None, "mask": None, "draws": 1},
    ) | {"name": NAME}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
            patch.setenv(name, TOKEN)
        result = run(load_settings(wanted), inside / "run", Progress(quiet=True))
    return SimpleNamespace(root=root, inside=inside, folder=inside / "run", rows=prompts, wanted=wanted, result=result)


def test_names_on_disk_are_ours(made):
    assert [path.name for path in made.root.iterdir()] == [ODD_NAME]
    assert sorted(path.name for path in made.inside.iterdir()) == sorted(
        ["model \x1b[2J'\"<b>", "prompts.jsonl", "run", "train.jsonl"]
    )
    names = contents(made.folder)
    assert len(names) > 3 * len(ROWS)
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9_./-]+", name)] == []
    units = {name.rpartition("/")[2] for name in names if name.startswith("units/")}
    assert units == {f"prompt-{i:04d}.safetensors" for i in range(len(units))}


def test_ids_and_labels_are_kept_as_they_are(made):
    inputs = json.loads((made.folder / "inputs.json").read_text(encoding="utf-8"))
    kept = {prompt["id"] for prompt in inputs["prompts"]}
    assert kept <= {row["id"] for row in made.rows} | {f"prompts-{i + 1}" for i in range(len(made.rows))}
    assert len(kept) > len(ROWS) // 2
    by_id = {row["id"]: row for row in made.rows}
    for prompt in inputs["prompts"]:
        if prompt["id"] in by_id:
            assert prompt["text"] == by_id[prompt["id"]]["text"]
            assert prompt["label"].strip() == by_id[prompt["id"]]["label"].strip()
        for word in prompt["words"]:
            assert prompt["text"][word["start"] : word["end"]] == word["text"]


def test_every_json_file_is_strict(made):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    for name, data in contents(made.folder, leave_out=()).items():
        if name.endswith(".json") and not name.startswith("checkpoints/"):
            json.loads(data.decode("utf-8"), parse_constant=refuse)


def test_its_files_hold_no_terminal_escape_that_a_reader_of_text_would_run(made):
    """Settings, and JSON by its own rules, escape control characters; the page replaces them."""
    for name, data in contents(made.folder, leave_out=()).items():
        if name.endswith((".yaml", ".html", ".md")) or (name.endswith(".json") and "checkpoints/" not in name):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", data.decode("utf-8")), name


def test_no_byte_of_it_holds_a_token_of_the_environment(made):
    assert [name for name, data in contents(made.folder, leave_out=()).items() if TOKEN.encode() in data] == []


def test_what_it_says_at_its_end(made, capsys):
    from interplay.cli.show import show_run
    from interplay.runfolder import Run

    show_run(Run(made.folder))
    assert not controls(capsys.readouterr().out)


@pytest.mark.browser
def test_its_page(made, chromium, tmp_path):
    watched = Watched(chromium)
    shutil.copy(made.folder / "report.html", tmp_path / "report.html")
    seen = watched.look(tmp_path / "report.html")
    assert (seen["hit"], seen["odd"], seen["handlers"], seen["links"], seen["scripts"]) == ("undefined", [], [], [], 2)
    assert watched.page.evaluate(LOOK, ODD_ELEMENTS)["policies"] == ["Content-Security-Policy"]
    watched.context.close()


def test_the_same_command_finds_it_whole(made):
    before = contents(made.folder)
    run_here(made.wanted, made.folder)
    assert contents(made.folder) == before


def test_the_verbs_read_it(made, call, tmp_path):
    exported = call("export", made.folder, "--out", tmp_path / "out", "--format", "none")
    card = call("card", made.folder)
    answer = call("recommend", made.folder)
    as_json = call("recommend", made.folder, "--json")
    for done in (exported, card, answer, as_json):
        assert done.code == 0, done.err
        assert not controls(done.out.replace("\u2060", "") + done.err)
    assert json.loads(as_json.out)["step"] in (None, 0, 1)


def test_explain_on_hostile_words(made, call):
    prompt = "not \x1b[31mhappy <script>window.__hit=1</script> \u202ewith =1+1 it"
    for options in ([], ["--json"]):
        done = call(
            "explain", f"{made.folder}@1", "--prompt", prompt, "--target", "joy\x1b[2J", "--n", 3, *options, "--quiet"
        )
        assert done.code == 0, done.err
        assert not controls(done.out + done.err)
    assert "happy" in done.out
