"""The tiny runs of `tiny_job` that the tests of this folder share: one made by the command."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_job import contents, settings, write_settings


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_folder):
    """A whole run made by `interplay run` in this process: `folder`, `wanted` settings, `config`, `out` and `err`, its `files` as bytes."""
    from interplay.cli import main

    root = tmp_path_factory.mktemp("finished")
    wanted = settings(root, tiny_folder("llama"), tiny_folder("qwen2"))
    config = write_settings(root / "config.yaml", wanted)
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(root)
        patch.setattr(sys, "argv", ["interplay", "run", str(config), "--out", "run"])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert stopped.value.code == 0, err.getvalue()
    return SimpleNamespace(
        root=root,
        folder=root / "run",
        wanted=wanted,
        config=config,
        out=out.getvalue(),
        err=err.getvalue(),
        files=contents(root / "run"),
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
