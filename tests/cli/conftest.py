"""`made`: one finished tiny run for all tests of this folder."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_job import run_here, settings, write_settings


@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny_folder):
    root = tmp_path_factory.mktemp("made")
    wanted = settings(root, tiny_folder("llama"), training={"steps": 2}, checkpoints={"steps": [0, 2]})
    run_here(wanted, root / "run")
    return SimpleNamespace(
        root=root, folder=root / "run", wanted=wanted, config=write_settings(root / "c.yaml", wanted)
    )
