"""Run folders of another format are refused in one line, older and newer ones alike."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_job import contents, run_here

from interplay.analysis.payload import build_payload
from interplay.comparison.runs import read_run
from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.store.folder import FORMAT, RunFolder


@pytest.fixture
def other(finished, tmp_path):
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


@pytest.mark.parametrize("number", [None, FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused_by_everything_that_opens_a_run(finished, other, number):
    if number is None:
        (other / "format.json").unlink()  # as the first folders were
    else:
        (other / "format.json").write_text(json.dumps({"format": number}))
    before = contents(other)
    wanted = load_settings(finished.wanted)
    for opens in (
        lambda: run_here(finished.wanted, other),
        lambda: RunFolder(other).settings(),
        lambda: build_payload(RunFolder(other)),
        lambda: read_run(other),
        lambda: RunFolder(other).opened(wanted).__enter__(),
    ):
        with pytest.raises(
            InterplayError, match=rf"has format {number or 1}, and this .* {FORMAT}: choose another --out"
        ):
            opens()
    assert contents(other) == before


@pytest.mark.parametrize("said", ["", "{", "[]", "{}", "3"])
def test_a_format_that_cannot_be_read_is_refused(other, said):
    (other / "format.json").write_text(said)
    with pytest.raises(InterplayError, match=r"cannot read .*format\.json': restore it"):
        RunFolder(other).settings()


@pytest.mark.parametrize("names", [["format.json"], ["format.json", "settings.yaml"]])
def test_a_run_killed_while_it_began_goes_on(finished, tmp_path, names):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in names:
        shutil.copy(finished.folder / name, folder)
    with RunFolder(folder).opened(load_settings(finished.wanted)):
        assert RunFolder(folder).settings() == load_settings(finished.wanted)
