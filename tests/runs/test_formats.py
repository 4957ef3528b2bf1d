"""Run folders of other times: older ones are gone on with and brought up to date, newer ones are refused."""

import json
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from tiny_job import contents, run_here

from interplay.errors import InterplayError
from interplay.runs.comparison import read_run
from interplay.runs.folder import RunFolder
from interplay.runs.formats import FORMAT, read_format
from interplay.runs.loading import load_settings
from interplay.runs.payload import build_payload

ARCHIVES = sorted(Path(__file__).with_name("formats").glob("format-*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def older(request, tmp_path, monkeypatch):
    """The folder of an older run with its model and data, as the current folder."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def test_there_is_one_of_every_format_before_this():
    assert [path.name for path in ARCHIVES] == [f"format-{i}.tar.xz" for i in range(1, FORMAT)]


def test_an_older_run_is_gone_on_with_and_brought_up_to_date(older, no_forward):
    """Nothing is computed again: every unit answers the question that is asked today."""
    before = contents(older)
    old = pd.read_parquet(older / "trajectory.parquet")
    wanted = json.loads(Path("config.yaml").read_text())
    run_here(wanted, Path("run"))
    after = contents(older)
    assert read_format(older) == FORMAT
    kept = [name for name in before if name.startswith(("units/", "task/", "checkpoints/", "calibration"))]
    assert len(kept) > 20
    assert [name for name in kept if after[name] != before[name]] == []
    new = pd.read_parquet(older / "trajectory.parquet")
    keys = ["reading", "step", "set", "measure", "order"]
    both = old.merge(new, on=keys, suffixes=("_old", "_new"), validate="one_to_one")
    assert len(both) == len(old)
    assert both["value_new"].to_numpy() == pytest.approx(both["value_old"].to_numpy(), rel=1e-9, abs=1e-12, nan_ok=True)
    run_here(wanted, Path("run"))
    assert contents(older) == after


def test_an_older_run_is_read_as_it_is(older):
    before = contents(older)
    assert build_payload(RunFolder(older))["steps"] == [0, 2, 4]
    assert contents(older) == before


def test_data_changed_under_an_older_run_are_refused(older, no_forward):
    rows = Path("train.jsonl").read_text().splitlines()
    Path("train.jsonl").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(InterplayError, match=r"data changed since the run in 'run' began \(train: 8 rows -> 7\)"):
        run_here(json.loads(Path("config.yaml").read_text()), Path("run"))
    assert read_format(older) < FORMAT


@pytest.fixture
def newer(finished, tmp_path):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (folder / "format.json").write_text(json.dumps({"format": FORMAT + 1}))
    return folder


def test_a_newer_format_is_refused_by_everything_that_opens_a_run(finished, newer):
    before = contents(newer)
    wanted = load_settings(finished.wanted)
    for opens in (
        lambda: run_here(finished.wanted, newer),
        lambda: RunFolder(newer).settings(),
        lambda: build_payload(RunFolder(newer)),
        lambda: read_run(newer),
        lambda: RunFolder(newer).opened(wanted).__enter__(),
    ):
        with pytest.raises(
            InterplayError, match=r"written by a newer Interplay \(format 3, this one reads up to 2\): pip"
        ):
            opens()
    assert contents(newer) == before


@pytest.mark.parametrize("said", ["", "{", "[]", "{}", '{"format": true}', '{"format": 0}', '{"format": "2"}', "3"])
def test_a_format_that_cannot_be_read_is_refused(newer, said):
    (newer / "format.json").write_text(said)
    with pytest.raises(InterplayError, match=r"format\.json' .*(no format number|restore it)"):
        RunFolder(newer).settings()
