"""What the README shows is run: its Python blocks, its configuration, and the options it names."""

import re
from pathlib import Path

import pytest
import yaml

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_block_runs(tiny_folder, capsys):
    (code,) = blocks("python")
    assert MODEL in code
    space: dict = {}
    exec(compile(code.replace(MODEL, str(tiny_folder("llama"))), "README.md", "exec"), space)  # our own text
    assert space["effects"].and_effects == pytest.approx([0, 1, 2, 2], abs=1e-3)  # 5 - 1 - 2: the words together
    assert space["scores"].values.shape == (1, 8)
    assert space["found"].to_pandas()[["type", "mask"]].values.tolist() == [["and", 3]]
    assert space["found"].r2 == pytest.approx(1.0)


def test_configuration_is_a_configuration():
    from interplay.config.settings import Settings

    (text,) = blocks("yaml")
    settings = Settings.model_validate(yaml.safe_load(text))
    assert settings.schedule() == [0, 10, 20, 40, 80, 160, 200]


def test_options_exist():
    import typer.main

    from interplay.cli.app import app

    commands = typer.main.get_command(app).commands
    for line in re.findall(r"^interplay (\S+.*?)(?:  +#.*)?$", "\n".join(blocks("sh")), flags=re.MULTILINE):
        name, *words = line.split()
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
