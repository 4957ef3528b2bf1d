"""Payloads for the report's tests; the generator itself is `fixture_payload`, loaded by path (importlib import mode)."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The generator module: make_payload, make_undecided, make_hostile, NASTY."""
    spec = importlib.util.spec_from_file_location("fixture_payload", Path(__file__).with_name("fixture_payload.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def demo_page(made: ModuleType) -> str:
    """The rendered demo; made once, since it is only read."""
    from interplay.report import render

    return render(made.make_payload())


@pytest.fixture(scope="session")
def hostile_page(made: ModuleType) -> str:
    """The rendered run with every string hostile."""
    from interplay.report import render

    return render(made.make_hostile())
