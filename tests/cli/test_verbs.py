"""`run`, `track`, `report`, `recommend` as commands: what they print, and what they leave."""

import hashlib
import json
import shutil

import pytest
from tiny_job import PROMPTS, TEMPLATE, contents, labelled, write_rows

from interplay.analysis.summary import Summary
from interplay.cli.show import printable
from interplay.config.loading import load_settings
from interplay.dynamics.sets import TABLE_SETS as SETS
from interplay.explanation.text import scored_name
from interplay.presets import preset_path


def test_report_rebuilds_the_same_page(call, made, tmp_path):
    before = contents(made.folder)
    done = call("report", made.folder)
    assert (done.code, done.out, done.err) == (0, f"{made.folder / 'report.html'}\n", "")
    assert contents(made.folder) == before
    elsewhere = call("report", made.folder, "--out", tmp_path / "new" / "page.html")
    assert elsewhere.code == 0
    assert (tmp_path / "new" / "page.html").read_bytes() == before["report.html"]
    assert contents(made.folder) == before


def test_report_opens_the_written_page(call, made, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or tmp_path.joinpath("page.html").exists())
    done = call("report", made.folder, "--out", tmp_path / "page.html", "--open")
    assert (done.code, done.err) == (0, "")
    assert opened == [(tmp_path / "page.html").resolve().as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    none = call("report", made.folder, "--open")
    assert none.code == 2
    assert "no browser could be opened: open " in none.err


def test_report_restores_a_lost_page_and_its_hash(call, made, tmp_path):
    run = shutil.copytree(made.folder, tmp_path / "run")
    (run / "report.html").write_text("an older version's page")
    assert call("report", run).code == 0
    listed = json.loads((run / "manifest.json").read_text())["files"]
    assert listed["report.html"] == hashlib.sha256((run / "report.html").read_bytes()).hexdigest()
    assert contents(run) == contents(made.folder)


def test_recommend(call, made):
    verdict = json.loads((made.folder / "recommendation.json").read_text())
    said = call("recommend", made.folder)
    assert said.code == 0
    assert said.out == f"{verdict['sentence']}\nfallback: step {verdict['step']} (the last checkpoint)\n"
    assert "4 eval rows of 'prompts.jsonl', which are too few" in said.out
    as_json = call("recommend", made.folder, "--json")
    assert json.loads(as_json.out) == verdict
    assert as_json.out.count("\n") == 1
    keys = {"step", "sentence", "rule", "basis", "evidence", "rivals", "denoised", "stop_step", "tied", "detectable"}
    assert keys == verdict.keys()


def test_run_again_prints_the_same_and_quiet_is_quiet(call, made):
    first = call("run", made.config, "--out", made.folder)
    second = call("run", made.config, "--out", made.folder, "--quiet")
    assert first.code == second.code == 0
    assert first.out == second.out
    assert second.err == ""
    assert "trajectory and report ..." in first.err
    assert json.loads((made.folder / "recommendation.json").read_text())["sentence"] in first.out


def test_track_verb(call, made, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "held-out.jsonl", labelled(PROMPTS))
    arguments = ["track", "--base", tiny_folder("llama"), "--checkpoints", made.folder / "checkpoints"]
    arguments += [
        "--data",
        "held-out.jsonl",
        "--template",
        TEMPLATE,
        "--chat",
        "false",
        "--n",
        "3",
        "--num-prompts",
        "2",
        *(part for one in ("precision", "mask", "reference") for part in ("--set", f"controls.{one}=null")),
        *("--set", "controls.draws=1", "--set", "controls.both_scores=false"),
    ]
    done = call(*arguments, "--quiet", "--set", "dynamics.draws=10", "--set", "dynamics.resamples=20")
    assert done.code == 0, done.err
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("checkpoints-on-llama-0-")
    assert f"Report: runs/{folder.name}/report.html" in done.out
    # The same adapter under the same prompt scores the same, whoever trained it.
    ours, theirs = (json.loads((f / "weights.json").read_text()) for f in (folder, made.folder))
    assert ours == theirs
    some = call(*arguments, "--quiet", "--steps", "0,2", "--out", "some")
    assert some.code == 0


def test_the_demo_has_a_planted_shortcut_unless_clean(call, monkeypatch):
    asked = {}
    monkeypatch.setattr("interplay.verbs.run", lambda config, **how: asked.update({str(how["out"]): how["settings"]}))
    monkeypatch.setattr("interplay.cli.run.show", lambda made: None)
    assert call("demo", "--no-baseline").code == call("demo", "--no-baseline", "--clean").code == 0
    found = {out: load_settings(preset_path("demo"), settings) for out, settings in asked.items()}
    assert [(out, made.data.train, made.data.eval, made.data.prompts) for out, made in found.items()] == [
        ("runs/demo", "planted:train", "planted:dev", "planted:test"),
        ("runs/demo-clean", "emotions:train", "emotions:dev", "emotions:test"),
    ]
    assert ["planted" in made.name for made in found.values()] == [True, False]


def test_help_without_arguments(call):
    done = call()
    assert done.code == 0
    assert "Commands:" in done.out
    assert done.err == ""


def row(step, scale=1.0, **more):
    figures = {f"{s} {m}": scale * (i + 1) for i, s in enumerate(SETS) for m in ("count", "strength")}
    return {"step": step, **figures, **{f"{s} rho": 0.5 for s in SETS}, "change": 1.5 * scale, **more}


def test_table_fits_80_columns_at_the_size_of_the_paper():
    rows = [row(0, 0.0), row(1000, 95.4, eval_loss=1.234, accuracy=0.5), row(12000, 64.1, eval_loss=12.5, accuracy=1.0)]
    lines = Summary(rows, {"change": 123.4, **{f"{s} {m}": 123.4 for s in SETS for m in ("count", "strength")}}).lines()
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines[1:]}) == 1, "columns are aligned"
    assert lines[-1].split()[0] == "floor"
    assert lines[2].split()[1:4] == ["0.0", "0.0", "0.50"]


def test_table_without_floor_or_metrics():
    lines = Summary([row(0), row(5, eval_loss=float("nan"), accuracy=None)], None).lines()
    assert len(lines) == 4
    assert lines[-1].split()[-2:] == ["–", "–"]


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b2J", "\u202e", "\u2028", "\0", "\ud800", "\x7f", "a\u200fb"])
def test_printable_leaves_no_control(text):
    assert all(c.isprintable() for c in printable(text))


def test_printable_keeps_what_people_write():
    assert printable("ünï 漢字 🙂 — “x”") == "ünï 漢字 🙂 — “x”"


def test_scored_name_of_a_whole_word():
    assert scored_name("joy", "joy") == "'joy'"
    assert scored_name(" Jo", "Joyful") == "' Jo', a token of 'Joyful'"
