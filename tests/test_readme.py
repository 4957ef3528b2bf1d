"""What the README shows is run: its Python blocks, its configuration, and the options it names."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from tiny_job import PROMPTS, labelled, run_here, settings, write_rows

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run(tiny_folder, tmp_path, monkeypatch, capsys):
    """One after the other, as a reader would copy them, on a tiny model and a run of it in the demo's place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    tiny = settings(
        tmp_path / "data",
        tiny_folder("llama"),
        prompts={"count": 4},
        training={"steps": 2},
        checkpoints={"steps": [0, 1, 2]},
    )
    run_here(tiny, tmp_path / "runs" / "demo")
    first, second = blocks("python")
    assert MODEL in first
    assert "step=16" in second
    space: dict = {}
    for code in (first.replace(MODEL, str(tiny_folder("llama"))), second.replace("step=16", "step=2")):
        exec(compile(f"import interplay\n{code}", "README.md", "exec"), space)  # our own text
    said = capsys.readouterr().out
    assert str(space["found"]) in said
    assert str(space["run"].summary()) in said
    assert space["run"].recommendation.sentence in said


def test_the_callback_block_makes_a_callback(tmp_path):
    pytest.importorskip("transformers")
    (code,) = blocks("py")
    heldout = write_rows(tmp_path / "heldout.jsonl", labelled(PROMPTS))
    space = {"SFTTrainer": lambda *_, **options: options, "heldout": str(heldout)}
    exec(compile(code, "README.md", "exec"), space)
    (callback,) = space["trainer"]["callbacks"]
    assert callback.stop is False


def test_configuration_is_a_configuration():
    from interplay.config.settings import Settings

    (text,) = blocks("yaml")
    assert Settings.model_validate(yaml.safe_load(text)).schedule() == [0, 10, 20, 40, 80, 160, 200]


def test_options_exist():
    import typer.main

    from interplay.cli.app import app

    commands = typer.main.get_command(app).commands
    lines = re.findall(r"^interplay (\S+.*?)(?:  +#.*)?$", "\n".join(blocks("sh")), flags=re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        name, *words = line.split()
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_a_package_index_gets_no_picture_and_no_link_that_it_lacks():
    """`make wheel-check` asks the wheel itself; here the substitutions that its build makes."""
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    text = README
    for substitution in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    assert "![" in README
    assert "](docs/" in README
    assert not re.findall(r"\]\((?!https?:)", text)
    assert "![" not in text
    assert "in twelve trainings interactions chose" in text.lower()
    assert re.findall(r"```.*?```", text, flags=re.DOTALL) == re.findall(r"```.*?```", README, flags=re.DOTALL)


def test_it_is_short_and_begins_with_code():
    assert len(README.split()) <= 800
    assert len(README.partition("```python")[0].split()) < 300
