"""The examples run: three scripts and a notebook, on a tiny model in a temporary folder."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_job import PROMPTS, SRC, TRAIN, write_rows

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with training rows and held-out rows, both prompt and completion."""
    monkeypatch.chdir(tmp_path)
    for name, rows in (("train", TRAIN), ("heldout", [*PROMPTS, *TRAIN])):
        write_rows(
            tmp_path / f"{name}.jsonl",
            [{"prompt": f"{text} and then we went home\nEmotion:", "completion": f" {label}"} for text, label in rows],
        )
    return tmp_path


def start(script: str, *arguments: object, monkeypatch) -> dict:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    return runpy.run_path(str(EXAMPLES / script), run_name="__main__")


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_a_script_is_short_and_says_how_to_start_it(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert f"python examples/{script.name} " in text


def test_trl_and_track(place, tiny_folder, monkeypatch, capsys):
    """Track the checkpoints that the example with TRL leaves."""
    pytest.importorskip("trl")
    space = start("trl_sft.py", tiny_folder("llama"), "train.jsonl", "heldout.jsonl", monkeypatch=monkeypatch)
    assert (space["run"].steps[0], space["run"].steps[-1]) == (0, 30)  # a busy machine measures fewer between
    assert (place / "out" / "interplay" / "report.html").exists()
    assert str(space["run"].summary()) in capsys.readouterr().out
    shutil.copytree("out/checkpoint-30", "two/checkpoint-30")
    space = start("track.py", tiny_folder("llama"), "two", "heldout.jsonl", monkeypatch=monkeypatch)
    assert space["run"].steps == (0, 30)
    assert "Page: " in capsys.readouterr().out


def test_trainer(place, tiny_folder, monkeypatch, capsys):
    start("trainer.py", tiny_folder("qwen2"), "train.jsonl", "heldout.jsonl", monkeypatch=monkeypatch)
    assert "emerged" in capsys.readouterr().out


def test_notebook(place, tiny_folder, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("INTERPLAY_MODEL", str(tiny_folder("llama")))
    monkeypatch.setenv("PYTHONPATH", str(SRC))
    notebook = nbformat.read(EXAMPLES / "explain.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    done = nbclient.NotebookClient(notebook, timeout=120).execute()
    shown = [output for cell in done.cells for output in cell.get("outputs", ())]
    assert any("text/html" in output.get("data", {}) for output in shown)
