"""A run folder with links in it: results are listed without them, and writing replaces a link, never what it points to."""

import os

import pytest

from interplay.atomic import replacing, write_text
from interplay.runs.files import result_files


@pytest.fixture
def places(tmp_path):
    """A run folder, and a folder outside of it with one file."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    (run / "units" / "step-000000").mkdir(parents=True)
    (run / "units" / "step-000000" / "probe-0000.safetensors").write_bytes(b"unit")
    (run / "settings.yaml").write_text("name: x\n", encoding="utf-8")
    outside.mkdir()
    (outside / "diary.txt").write_text("private", encoding="utf-8")
    return run, outside


def test_files_are_listed_without_their_links(places):
    run, outside = places
    (run / "to-folder").symlink_to(outside)
    (run / "to-file").symlink_to(outside / "diary.txt")
    (run / "inside").symlink_to("settings.yaml")
    os.mkfifo(run / "pipe")
    names = [path.relative_to(run).as_posix() for path in result_files(run)]
    assert names == ["settings.yaml", "units/step-000000/probe-0000.safetensors"]


def test_writing_replaces_a_link_and_never_what_it_points_to(places):
    run, outside = places
    target = outside / "diary.txt"
    (run / "report.html").symlink_to(target)
    write_text(run / "report.html", "page")
    assert not (run / "report.html").is_symlink()
    assert (run / "report.html").read_text(encoding="utf-8") == "page"
    assert target.read_text(encoding="utf-8") == "private"


def test_a_write_that_fails_leaves_the_link_and_its_target(places):
    run, outside = places
    (run / "report.html").symlink_to(outside / "diary.txt")

    def write_half():
        with replacing(run / "report.html") as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (run / "report.html").is_symlink()
    assert (outside / "diary.txt").read_text(encoding="utf-8") == "private"
    assert sorted(path.name for path in run.iterdir()) == ["report.html", "settings.yaml", "units"]
