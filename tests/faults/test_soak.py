"""The soak can fail: a judge that never says no would prove nothing. Its long runs are `python -m soak`."""

import shutil
from pathlib import Path

import pytest
from after import complaint
from shim import Ended

from interplay.store.units import load_unit, save_unit
from soak.faults import aims, spread
from soak.job import Broken, Job, phase, units_of
from soak.kills import CLOCK, EVENT, Kill, rows
from studies.stopping.report import put

pytestmark = pytest.mark.soak


@pytest.fixture
def judge(undisturbed, tmp_path):
    """A job whose command has nothing left to do, and a whole folder before it: only the judging is real."""
    made = Job.__new__(Job)
    made.root, made.files, made.units = tmp_path, undisturbed.files, units_of(undisturbed.folder)
    made.fork = lambda folder, **_: Ended(0, "", "")
    folder = Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))
    return made, folder


def test_a_folder_that_is_the_same_is_let_go(judge):
    job, folder = judge
    assert len(job.units) > 20
    job.finish(folder, units_of(folder), "a kill")
    assert not folder.exists()


@pytest.mark.parametrize("how", ["changed", "missing", "one too many"])
def test_a_folder_that_differs_is_kept_and_named(judge, how):
    job, folder = judge
    file = folder / "recommendation.json"
    if how == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b" ")
    elif how == "missing":
        file.unlink()
    else:
        (folder / "more.json").write_text("{}")
    with pytest.raises(Broken, match=rf"a kill: other bytes in (recommendation|more)\.json; kept: {folder}"):
        job.finish(folder, {}, "a kill")
    assert folder.exists()


@pytest.mark.parametrize("how", ["damaged", "gone", "made again"])
def test_a_unit_that_was_whole_and_is_not_the_same_file_is_lost(judge, how):
    job, folder = judge
    units = units_of(folder)
    path = folder / next(iter(units))
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:-8])
    elif how == "gone":
        path.unlink()
    else:
        unit = load_unit(path)
        assert unit is not None
        save_unit(path, unit)  # the same bytes, but work that was done twice
    with pytest.raises(Broken, match="a kill: lost or computed again: units/"):
        job.refuse_loss(folder, units, "a kill")


def test_a_command_that_cannot_go_on_is_told(judge):
    job, folder = judge
    job.fork = lambda folder, **_: Ended(2, "", "interplay: no\n")
    with pytest.raises(Broken, match=r"then failed \(interplay: no\); kept"):
        job.finish(folder, {}, "a kill")


@pytest.mark.parametrize(
    ("code", "said", "wrong"),
    [
        (2, "interplay: cannot write 'a': No space left on device; make room or choose another folder\n", None),
        (1, "interplay: cannot write 'a'; make room\n", "exit code 1"),
        (2, "interplay: cannot write 'a'; make room\ninterplay: make room\n", "2 lines"),
        (2, "", "0 lines"),
        (2, "OSError: make room\n", "not a line of ours"),
        (2, "interplay: cannot write 'a'\n", "does not say what to do"),
    ],
)
def test_a_clear_line_is_told_from_others(code, said, wrong):
    problem = complaint(Ended(code, "", said))
    assert problem is None if wrong is None else wrong in (problem or "")


def test_how_far_a_run_had_come_is_read_off_its_folder(trained, undisturbed, tmp_path):
    assert [phase(tmp_path), phase(trained), phase(undisturbed.folder)] == ["start", "training", "whole"]


def test_every_event_is_aimed_at_once_and_by_names_that_last(undisturbed):
    found = aims(undisturbed.events)
    assert len({(aim.event.call, aim.path, aim.at) for aim in found}) == len(undisturbed.events)
    temporary = [aim.path for aim in found if Path(aim.event.path).name.startswith(".") and ".tmp" in aim.event.path]
    assert temporary
    assert all("*" in path for path in temporary)
    some = spread(found, 10, kind=lambda aim: aim.event.call)
    assert {aim.event.call for aim in some} == {event.call for event in undisturbed.events}


def test_the_table_of_kills_adds_up():
    kills = [Kill(EVENT, "training")] * 3 + [Kill(CLOCK, "start"), Kill(CLOCK, "training")]
    table = rows(kills)
    assert [(row["the kill fell in"], row["kills"]) for row in table] == [("start", 1), ("training", 4), ("all", 5)]
    assert (table[-1][CLOCK], table[-1][EVENT]) == (2, 3)


def test_the_page_has_a_place_for_every_table():
    page = (Path(__file__).parents[2] / "docs" / "evidence" / "reliability.md").read_text(encoding="utf-8")
    for name in ("machine", "kills", "deaths", "errors", "fuzz"):
        page = put(page, name, f"table of {name}")
        assert f"table of {name}" in page


def test_an_unknown_part_is_refused(capsys):
    from soak.__main__ import main

    with pytest.raises(SystemExit) as stopped:
        main(["--only", "kill"])
    assert stopped.value.code == 2
    assert "no part 'kill': choose from sharing, kills, deaths, errors, fuzz" in capsys.readouterr().err
