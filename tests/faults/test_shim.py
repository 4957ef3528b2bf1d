"""The shim sees what a run writes, and does what it is told: otherwise no test on it would mean anything."""

import subprocess
import sys
from collections import Counter

import pytest
from shim import Fault, build, bytes_written, missing, read_log

WRITES = "import os, sys; f = os.open('a', os.O_WRONLY | os.O_CREAT); os.write(f, b'12345678'); os.fsync(f); os.close(f); os.rename('a', 'b')"


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    if reason := missing():
        pytest.skip(reason)
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def python(shim, tmp_path):
    """`python(code, at=.., how=..)` runs code in a folder of its own under a fault there."""
    folder = tmp_path.resolve() / "root"
    folder.mkdir()

    def run(code: str, **fault):
        watched = Fault(folder, log=tmp_path / "log", **fault)
        return subprocess.run(
            [sys.executable, "-S", "-c", code],
            cwd=folder,
            env=watched.environment(shim),
            capture_output=True,
            text=True,
            check=False,
        )

    run.folder, run.log = folder, tmp_path / "log"
    return run


def test_every_call_is_counted_in_order(python):
    assert python(WRITES).returncode == 0
    events = read_log(python.log)
    assert [(e.number, e.call, e.path, e.other) for e in events] == [
        (1, "open", "a", ""),
        (2, "write", "a", ""),
        (3, "fsync", "a", ""),
        (4, "rename", "a", "b"),
    ]
    assert bytes_written(events) == {"b": 8}


def test_calls_elsewhere_are_none_of_its_business(python, tmp_path):
    assert python(WRITES.replace("'a'", f"'{tmp_path}/a'").replace("'b'", f"'{tmp_path}/b'"), at=1).returncode == 0
    assert not python.log.exists()


@pytest.mark.parametrize(
    ("at", "how", "left"),
    [
        (1, "before", {}),
        (1, "after", {"a": b""}),
        (2, "before", {"a": b""}),
        (2, "torn", {"a": b"1234"}),
        (2, "after", {"a": b"12345678"}),
        (4, "before", {"a": b"12345678"}),
        (4, "after", {"b": b"12345678"}),
    ],
)
def test_death_comes_where_it_was_ordered(python, at, how, left):
    assert python(WRITES, at=at, how=how).returncode == -9
    assert {path.name: path.read_bytes() for path in python.folder.iterdir()} == left


def test_only_events_that_fit_are_counted_for_the_strike(python):
    code = WRITES + ";" + WRITES.replace("'a'", "'c'")
    assert python(code, at=1, how="before", call="fsync", path="c").returncode == -9
    assert read_log(python.log)[-1].path == "c"
    assert sorted(path.name for path in python.folder.iterdir()) == ["b", "c"]


def test_an_errno_strikes_once_or_stays(python):
    twice = "import os\nfor name in 'ab':\n  try: os.mkdir(name)\n  except OSError as e: print(e.errno)"
    assert python(twice, at=1, how="ENOSPC").stdout.split() == ["28"]
    (python.folder / "b").rmdir()
    assert python(twice, at=1, how="ENOSPC+").stdout.split() == ["28", "28"]


def test_a_full_disk_lets_files_be_removed_and_a_lost_one_not_even_be_read(python):
    code = (
        "import os\nopen('x', 'w').close()\n"
        "for call in (lambda: os.mkdir('d'), lambda: os.stat('x'), lambda: open('x'), lambda: os.listdir('.'), lambda: os.unlink('x')):\n"
        "  try: call(); print('done')\n"
        "  except OSError as e: print(e.errno)"
    )
    assert python(code, at=1, how="ENOSPC+", call="mkdir").stdout.split() == ["28", "done", "done", "done", "done"]
    assert python(code, at=1, how="ESTALE+", call="mkdir").stdout.split() == ["116", "116", "116", "116", "116"]
    assert python(code, at=1, how="EROFS+", call="mkdir").stdout.split() == ["30", "done", "done", "done", "30"]


def test_an_unknown_order_is_refused(python):
    ended = python(WRITES, at=1, how="EWHAT")
    assert (ended.returncode, ended.stderr.strip()) == (97, "shim: FAULT_HOW EWHAT is not known")


def test_a_fork_counts_on_from_its_parent(python):
    code = "import os\nos.mkdir('a')\npid = os.fork()\nos.mkdir('b' if pid else 'c')\nif pid: os.wait()"
    assert python(code).returncode == 0
    events = read_log(python.log)
    assert sorted((e.number, e.path) for e in events) == [(1, "a"), (2, "b"), (2, "c")]
    assert len({e.process for e in events}) == 2


def test_every_byte_of_a_run_was_seen(undisturbed):
    """Units, checkpoints by transformers (C++ and Rust writers), parquet, JSON and the page; safetensors under its temporary name."""
    seen = bytes_written(undisturbed.events)
    sizes = {name: len(data) for name, data in undisturbed.files.items()}
    weights = {name for name in sizes if name.startswith("checkpoints/") and name.endswith(".safetensors")}
    assert len(weights) == 3
    assert {name: seen.get(name) for name in sizes.keys() - weights} == {
        name: size for name, size in sizes.items() if name not in weights
    }
    for name in weights:
        folder = name.rpartition("/")[0]
        assert [size for other, size in seen.items() if other.startswith(f"{folder}/.tmp")] == [sizes[name]]
    kinds = Counter(name.rpartition(".")[2] for name in seen)
    assert kinds.keys() >= {"safetensors", "parquet", "json", "yaml", "html"}


def test_results_are_synced_before_they_get_their_name(undisturbed):
    """Behind the training: the last thing that happens to a temporary file before its rename is an fsync (and a chmod)."""
    synced, renamed = set(), []
    for event in undisturbed.events:
        if event.call == "fsync":
            synced.add(event.path)
        elif event.call in ("open", "write", "truncate"):
            synced.discard(event.path)
        elif event.call == "rename" and not event.path.startswith(("checkpoints/training_log", ".work/")):
            renamed.append(event)
    assert len(renamed) > 30
    assert [event.other for event in renamed if event.path not in synced] == []
