"""`interplay compare` and `interplay export` as commands: what they print, what they write, what they refuse."""

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic_runs import synthetic_run

from interplay.cli.outputs import compare, export, read_groups
from interplay.errors import InterplayError

app = typer.Typer()
app.command()(compare)
app.command()(export)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    synthetic_run(root / "a", seed=0, noise=1, controls=True)
    synthetic_run(root / "b", seed=1, noise=2)
    synthetic_run(root / "c", method="full", seed=0, noise=3, grow=2.0, basis="last", name="full \x1b[31m<script>")
    return root


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def done(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result


def refused(says, *arguments):
    """One line, no traceback, nothing on stdout."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(result.exception, InterplayError), result.output
    message = str(result.exception)
    assert says in message
    assert "\n" not in message


def test_compare_writes_a_page_and_says_what_it_found(study, here):
    result = done("compare", study / "a", study / "b", study / "c")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["run", "group", "keep", "eval", "loss", "accuracy", "cancelled/sd"]
    assert [line.split()[0] for line in lines[1:4]] == ["a", "b", "c"]
    assert [line.split("*")[0] == line for line in lines[1:4]] == [True, True, False]  # a and b by their accuracy
    assert lines[4] == "* named for want of evidence"
    assert lines[-2].startswith("c minus made up") or lines[-2].startswith("c minus method lora")
    assert "strength" in lines[-2]
    assert lines[-1] == "Comparison: comparison.html"
    page = (here / "comparison.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "\x1b" not in result.stdout + page


def test_compare_as_json_writes_no_page(study, here):
    payload = json.loads(done("compare", study / "a", study / "b", "--json").stdout)
    assert [group["runs"] for group in payload["groups"]] == [["a", "b"]]
    assert payload["settings"] == [{"setting": "training.seed", "a": "0", "b": "1"}]
    assert list(here.iterdir()) == []
    done("compare", study / "a", study / "b", "--json", "--out", "page.html", "--axis", "epochs")
    assert (here / "page.html").exists()


def test_compare_with_groups(study, here):
    result = done("compare", "--group", f"one={study / 'a'},{study / 'c'}", "--group", f"two={study / 'b'}", "--json")
    groups = json.loads(result.stdout)["groups"]
    assert [(g["name"], g["runs"]) for g in groups] == [("one", ["a", "c"]), ("two", ["b"])]


def test_what_compare_refuses(study, here):
    a, b = study / "a", study / "b"
    refused("no run given", "compare")
    refused("1 run given", "compare", a)
    refused("given twice", "compare", a, b, a)
    refused("no run folder", "compare", a, "nowhere")
    refused("expected one of steps, epochs", "compare", a, b, "--axis", "hours")
    refused("expected one of common, paper", "compare", a, b, "--definition", "palm")
    refused("write it as NAME=RUN,RUN", "compare", a, b, "--group", "LoRA")
    refused("given twice", "compare", a, b, "--group", f"x={a}", "--group", f"x={b}")
    refused("is a folder", "compare", a, b, "--out", here)
    (here / "file").write_text("")
    refused("cannot write", "compare", a, b, "--out", "file/page.html")
    half = synthetic_run(here / "half", seed=9)
    (half / "manifest.json").unlink()
    refused("unfinished run", "compare", a, half)
    (here / "half" / "manifest.json").write_text("{}")
    (here / "half" / "task.parquet").write_bytes(b"torn")
    refused("cannot read", "compare", a, half)
    (here / "half" / "task.parquet").unlink()
    refused("has no task.parquet", "compare", a, half)


def test_groups_are_read():
    assert read_groups(["a = b = c , d"]) == {"a": [Path("b = c"), Path("d")]}


def test_export_of_tables(study, here):
    result = done("export", study / "b", "--out", "o", "--format", "none", "--tables", "csv")
    assert (result.stdout, result.stderr) == ("0 figures and 15 tables in o\n", "")
    assert not (here / "o" / "figures").exists()
    assert {path.suffix for path in (here / "o" / "tables").iterdir()} == {".csv"}


def test_export_of_figures(study, here, monkeypatch):
    pytest.importorskip("matplotlib")
    from interplay.exports import export

    every = export.figures_of
    monkeypatch.setattr(export, "figures_of", lambda *given: list(every(*given))[-2:])  # all are drawn in tests/figures
    result = done("export", study / "a", "--out", "o", "--format", "svg", "--tables", "none")
    assert result.stdout == "2 figures and 0 tables in o\n"
    assert {path.suffix for path in (here / "o" / "figures").iterdir()} == {".svg"}
    assert not (here / "o" / "tables").exists()


def test_what_export_refuses(study, here, monkeypatch):
    a = study / "a"
    refused("--format has 'gif', expected svg, pdf, png or none", "export", a, "--out", "o", "--format", "gif")
    refused("--tables has 'xlsx'", "export", a, "--out", "o", "--tables", "xlsx")
    refused("nothing to export", "export", a, "--out", "o", "--format", "none", "--tables", "none")
    refused("no run folder", "export", "nowhere", "--out", "o", "--format", "none")
    refused("lies in the run folder", "export", a, "--out", a / "o", "--format", "none")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused("pip install 'interplay[figures]'", "export", a, "--out", "o")
    assert list(here.iterdir()) == []
