"""The tiny runs of `tiny_job` that the tests of this folder share: one made by the command."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_job import command, contents, settings, write_settings


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_folder):
    """A whole run made by `interplay run`: `folder`, `wanted` settings, `config`, the `process`, its `files` as bytes."""
    root = tmp_path_factory.mktemp("finished")
    wanted = settings(root, tiny_folder("llama"), tiny_folder("qwen2"))
    config = write_settings(root / "config.yaml", wanted)
    process = command("run", config, "--out", "run", cwd=root, PYTHONHASHSEED="1")
    assert process.returncode == 0, process.stderr
    return SimpleNamespace(
        root=root, folder=root / "run", wanted=wanted, config=config, process=process, files=contents(root / "run")
    )


@pytest.fixture
def a_copy(finished, tmp_path):
    """The finished run copied, to be damaged."""
    import shutil

    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


@pytest.fixture
def no_forward(monkeypatch):
    """Any scoring, evaluation or training from here on fails the test."""

    def refuse(*_, **__):
        raise AssertionError("the model was run although everything was there")

    for name in (
        "measure.score_prepared",
        "measure.score_together",
        "tasks.score_eval",
        "tasks.score_windows",
        "tasks.greedy",
        "stages.finetune",
    ):
        monkeypatch.setattr(f"interplay.pipeline.{name}", refuse)
