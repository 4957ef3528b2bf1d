"""The rooms of the package: data flow one way, and every module says what it is."""

import ast
from pathlib import Path

import pytest

import interplay

SOURCE = Path(interplay.__file__).parent
OUTER = ("transformers", "typer", "rich", "peft", "trl", "datasets")
INNER = (
    "interplay.runs",
    "interplay.scoring",
    "interplay.data",
    "interplay.training",
    "interplay.cli",
    "interplay.report",
)


@pytest.mark.parametrize("room", ["effects", "dynamics", "verdict"])
def test_the_core_sees_arrays_only(room):
    for path in (SOURCE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}: imports are written out in full"
                names = [node.module or ""]
            for name in names:
                banned = name.partition(".")[0] in OUTER or any(f"{name}.".startswith(f"{i}.") for i in INNER)
                assert not banned, f"{room}/{path.name} imports {name}"


def test_every_module_says_what_it_is():
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path} opens without a docstring"
