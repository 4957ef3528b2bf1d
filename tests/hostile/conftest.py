"""A browser that reports everything it is asked for, a run whose every string is hostile, and the command in this process."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parents[1]
for folder in (TESTS, TESTS / "hostile"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def chromium(browser):
    return browser


@pytest.fixture(scope="session")
def fixture_payload() -> ModuleType:
    """The generator of report payloads that the report's own tests use."""
    spec = importlib.util.spec_from_file_location("fixture_payload", TESTS / "report" / "fixture_payload.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> Path:
    """A finished run in which every word, label, id, target, note, title and name is a payload; read only."""
    from poison import hostile_run

    return hostile_run(tmp_path_factory.mktemp("hostile") / "run")
