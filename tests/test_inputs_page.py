"""The table of what is read names the tests that hold it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_test_that_the_table_names_is_there():
    page = (ROOT / "docs" / "reference" / "inputs.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(test_\w+)(?!\w*\.py)\b", page))
    there = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
    }
    assert len(named) > 50
    assert named - {path.stem for path in (ROOT / "tests").rglob("*.py")} <= there
