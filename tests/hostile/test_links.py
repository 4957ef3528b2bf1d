"""A run folder with links in it: what leads out is refused, nothing outside is read, written, truncated or removed."""

import os
import socket
from pathlib import Path

import pytest
from hostile import FILE_NAMES, ids
from synthetic_runs import synthetic_run

from interplay.atomic import replacing, write_text
from interplay.errors import InterplayError
from interplay.store.folder import refuse_links


@pytest.fixture
def places(tmp_path):
    """A run folder, and a folder outside of it with one file."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    (run / "units" / "step-000000").mkdir(parents=True)
    (run / "units" / "step-000000" / "prompt-0000.safetensors").write_bytes(b"unit")
    (run / "settings.yaml").write_text("name: x\n", encoding="utf-8")
    outside.mkdir()
    (outside / "diary.txt").write_text("private", encoding="utf-8")
    return run, outside


LEADING_OUT = (
    "../outside",
    "../outside/diary.txt",
    "/etc/passwd",
    "..",
    "/",
    "units/../../outside",
    "../gone",
    "../run2",
)


@pytest.mark.parametrize("target", LEADING_OUT)
@pytest.mark.parametrize("name", ["checkpoints", "units/step-000001"])
def test_a_link_out_of_the_folder_is_refused(places, name, target):
    run, _ = places
    depth = "../" * name.count("/")
    (run / name).symlink_to(target if target.startswith("/") else depth + target)
    with pytest.raises(InterplayError, match="is a link that leads out of it") as refused:
        refuse_links(run)
    assert repr(name) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_chain_that_ends_outside_is_refused(places):
    run, outside = places
    (run / "a").symlink_to("b")
    (run / "b").symlink_to(outside)
    with pytest.raises(InterplayError, match="leads out"):
        refuse_links(run)


def test_a_neighbour_whose_name_begins_alike_is_outside(places):
    run, _ = places
    Path(f"{run}-2").mkdir()
    (run / "a").symlink_to(f"{run}-2")
    with pytest.raises(InterplayError, match="leads out"):
        refuse_links(run)


def test_links_inside_and_the_folder_itself_may_be(places, tmp_path):
    run, _ = places
    (run / "latest").symlink_to("units/step-000000")
    (run / "loop").symlink_to("loop")
    (tmp_path / "name").symlink_to(run)
    refuse_links(run)
    refuse_links(tmp_path / "name")
    refuse_links(tmp_path / "nowhere")


def test_a_pipe_and_a_socket_are_refused(places, monkeypatch):
    """Reading a pipe would wait for ever."""
    run, _ = places
    os.mkfifo(run / "inputs.json")
    with pytest.raises(InterplayError, match="not a file or folder"):
        refuse_links(run)
    (run / "inputs.json").unlink()
    monkeypatch.chdir(run)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        with pytest.raises(InterplayError, match="not a file or folder"):
            refuse_links(run)


@pytest.mark.parametrize("payload", FILE_NAMES, ids=ids)
def test_the_refusal_is_one_plain_line_whatever_the_link_is_called(payload, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / payload.text).symlink_to("/etc")
    with pytest.raises(InterplayError) as refused:
        refuse_links(run)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 700


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


# ---- the verbs that read a run, and the callback that keeps one ------------------------------------------------------


@pytest.mark.parametrize("verb", [["report"], ["card"], ["recommend"], ["export", "--out", "out", "--format", "none"]])
@pytest.mark.parametrize("name", ["units.parquet", "recommendation.json", "units"])
def test_a_run_with_a_link_out_is_not_read_either(verb, name, call, tmp_path, monkeypatch):
    """An export would copy the file behind the link; a page would show it."""
    run = synthetic_run(tmp_path / "run", prompts=2)
    (run / "units").mkdir()
    (run / name).rename(tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    done = call(verb[0], run, *verb[1:])
    assert (done.code, done.out) == (2, "")
    assert (
        done.err
        == f"interplay: {name!r} in the run folder is a link that leads out of it: put the files themselves there\n"
    )
    assert not (tmp_path / "out").exists()


def test_the_callback_removes_nothing_behind_a_link(tmp_path):
    from interplay.callback.measuring import take_folder

    outside = tmp_path / "outside"
    (outside / "step-000002").mkdir(parents=True)
    (outside / "step-000002" / "prompt-0000.safetensors").write_bytes(b"theirs")
    folder = tmp_path / "callback"
    folder.mkdir()
    (folder / "callback.json").write_text("{}", encoding="utf-8")
    (folder / "units").symlink_to(outside)
    with pytest.raises(InterplayError, match="leads out of it"):
        take_folder(folder, 0, "request")
    assert (outside / "step-000002" / "prompt-0000.safetensors").read_bytes() == b"theirs"


def test_work_in_a_folder_with_a_link_is_refused_before_anything_is_opened(tmp_path, call):
    """A lock or a temporary name that is a link to a file of the user: opened for writing, that file would be empty."""
    run = tmp_path / "run"
    run.mkdir()
    victim = tmp_path / "victim.txt"
    victim.write_text("precious", encoding="utf-8")
    (run / "settings.yaml").symlink_to(victim)
    (run / ".lock").symlink_to(victim)
    (run / ".work").symlink_to(tmp_path)
    settings = tmp_path / "c.yaml"
    settings.write_text("{model: {name: ./m}, data: {train: t, prompts: p}, training: {steps: 1}}", encoding="utf-8")
    done = call("run", settings, "--out", run, "--quiet")
    assert done.code == 2
    assert "leads out of it" in done.err
    assert victim.read_text(encoding="utf-8") == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml", "run", "victim.txt"]
