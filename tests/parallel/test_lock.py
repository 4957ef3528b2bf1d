"""The lock: one process has it at a time, and a dead one's is taken over; told by names of files alone."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from interplay import process
from interplay.errors import InterplayError
from interplay.store import lock as module
from interplay.store.lock import FREE, Lock


@pytest.fixture
def folder(tmp_path):
    """Where the lock of a run lies; the run folder is there."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / ".work" / "lock"


def elsewhere(folder: Path, *, beat: float = 0.02, lease: float = 0.3) -> Lock:
    """A process of another machine, as far as others can tell: only its counter says that it lives."""
    made = Lock(folder, beat=beat, lease=lease)
    made.process = "4711-12-0123abcd"
    return made


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_one_has_it_until_it_is_given_back(folder):
    a, b = Lock(folder), Lock(folder)
    assert a.take()
    assert not b.take()
    assert not a.is_lost()
    assert b.owner().startswith(f"process {os.getpid()} on ")
    a.release()
    assert (a.owner(), names(folder)) == ("", [FREE])
    assert b.take()
    b.release()


def test_a_name_is_never_used_twice(folder):
    lock, seen = Lock(folder), set()
    for _ in range(5):
        with lock.held():
            seen.update(names(folder))
    assert len(seen) == 5


def test_it_is_given_back_after_an_error(folder):
    with pytest.raises(RuntimeError), Lock(folder).held():
        raise RuntimeError
    with Lock(folder).held():
        pass


def _contend(folder: str, log: str, rounds: int, removes: bool) -> None:
    lock = Lock(Path(folder))
    module.LOOK = 0.002
    for _ in range(rounds):
        with lock.held():
            handle = os.open(f"{log}.inside", os.O_CREAT | os.O_EXCL)  # fails where another process is inside
            os.close(handle)
            with open(log, "ab") as said:
                said.write(b".")
            os.unlink(f"{log}.inside")
        if removes:
            lock.remove()


@pytest.mark.parametrize("removes", [False, True])
def test_of_many_processes_one_is_inside_at_a_time(folder, tmp_path, removes):
    """Also while each of them removes the folder whenever it can."""
    context = multiprocessing.get_context("fork")
    log = str(tmp_path / "log")
    processes = [context.Process(target=_contend, args=(str(folder), log, 40, removes)) for _ in range(6)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(60)
    assert [one.exitcode for one in processes] == [0] * 6
    assert Path(log).read_bytes() == b"." * 240
    assert not removes or not folder.parent.exists() or names(folder) == [FREE]


def _inside_until_killed(folder: str, log: str) -> None:
    """Says in one write that it is inside and, when it is let out, that it is outside again."""
    lock = Lock(Path(folder))
    module.LOOK = 0.002
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        with lock.held():
            os.write(handle, f"in {os.getpid()}\n".encode())
            time.sleep(0.004)
            os.write(handle, f"out {os.getpid()}\n".encode())


def test_owners_that_are_killed_are_followed_and_never_doubled(folder, tmp_path):
    """Processes contend and are killed at any moment, most while they have the lock, and new ones come."""
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"

    def start():
        one = context.Process(target=_inside_until_killed, args=(str(folder), str(log)))
        one.start()
        return one

    def kill(one) -> None:
        with open(log, "a") as said:
            said.write(f"kill {one.pid}\n")
        one.kill()
        one.join()

    living = [start() for _ in range(4)]
    for _ in range(25):
        time.sleep(0.05)
        inside = [int(line.split()[1]) for line in log.read_text().splitlines()[-1:] if line.startswith("in")]
        victim = next((one for one in living if one.pid in inside), living[0])
        kill(victim)
        living = [one for one in living if one is not victim] + [start()]
    for one in living:
        kill(one)
    with Lock(folder, lease=1e9).held():  # the last one was killed too
        pass
    owner, turns, killed = None, 0, set()
    for line in log.read_text().splitlines():
        what, _, pid = line.partition(" ")
        if what == "kill":
            killed.add(pid)
        elif what == "in":
            assert owner is None or owner in killed, "one came in before another was out"
            owner, turns = pid, turns + 1
        else:
            assert owner == pid, "one came in before another was out"
            owner = None
    assert turns > 100


def _hold(folder: str, ready) -> None:
    with Lock(Path(folder)).held():
        ready.set()
        time.sleep(60)


@pytest.fixture
def holder(folder):
    """A process that has the lock."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    one = context.Process(target=_hold, args=(str(folder), ready))
    one.start()
    assert ready.wait(20)
    yield one
    one.kill()
    one.join()


def test_a_killed_process_s_lock_is_taken_over_at_once(folder, holder):
    lock = Lock(folder, lease=1e9)
    assert not lock.take()
    holder.kill()
    holder.join()
    assert lock.take()
    lock.release()
    lock.remove()
    assert list(folder.parent.parent.iterdir()) == []


def test_a_zombie_has_no_lock(folder, holder):
    os.kill(holder.pid, signal.SIGKILL)
    while psutil.Process(holder.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    lock = Lock(folder, lease=1e9)
    assert lock.take()
    lock.release()


def test_a_paused_process_of_this_machine_is_not_robbed(folder, holder):
    os.kill(holder.pid, signal.SIGSTOP)
    lock = Lock(folder, lease=0.0)
    assert not lock.take()
    time.sleep(0.1)
    assert not lock.take()


def test_another_process_with_a_dead_one_s_number_does_not_keep_its_lock(folder):
    dead = Lock(folder)
    pid, _, place = process.this_process().split("-")
    dead.process = f"{pid}-12345-{place}"  # this test's own process id, begun at another time
    assert dead.take()
    assert Lock(folder, lease=1e9).take()


def test_a_process_elsewhere_is_dead_when_its_counter_stands_still(folder):
    there, lock = elsewhere(folder), Lock(folder, lease=0.3)
    assert there.take()
    until = time.monotonic() + 0.8
    while time.monotonic() < until:  # more than twice the lease, while its counter rises
        assert not lock.take()
        time.sleep(0.02)
    there._stop.set()
    there._thread.join()
    assert not lock.take()  # silence begins now
    until = time.monotonic() + 0.5
    while time.monotonic() < until and not lock.take():
        time.sleep(0.02)
    assert there.is_lost()
    assert not lock.is_lost()
    there.release()  # which is not its own any more
    assert not lock.is_lost()
    lock.release()


def test_time_in_which_nobody_looked_is_no_silence(folder, monkeypatch):
    """When a network folder hangs, it hangs for the one that works as for the one that waits."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    there, lock = elsewhere(folder, beat=1e6), Lock(folder, beat=5, lease=60)
    assert there.take()
    assert not lock.take()
    now[0] += 1000
    assert not lock.take()
    for _ in range(11):  # 5 s of the 60 are counted
        now[0] += 5
        assert not lock.take()
    now[0] += 5.1
    assert lock.take()


def test_one_that_comes_late_to_a_dead_owner_s_lock_does_not_rob_the_new_owner(folder, monkeypatch):
    """It saw the dead one, was paused, and goes on when another has long taken over."""
    dead = elsewhere(folder, beat=1e6)
    assert dead.take()
    late, quick = Lock(folder, lease=0.0), Lock(folder)
    rename = os.rename

    def paused(source, target):
        monkeypatch.setattr(os, "rename", rename)
        os.rename(source, folder / f"{'0' * 32}.{quick.process}")  # quick takes over in this moment
        quick._mine = f"{'0' * 32}.{quick.process}"
        return rename(source, target)

    assert not late.take()
    time.sleep(0.01)
    monkeypatch.setattr(os, "rename", paused)
    assert not late.take()
    assert not quick.is_lost()
    assert dead.is_lost()


def test_two_locks_in_a_folder_that_was_copied_together_become_one(folder):
    a, b = Lock(folder), Lock(folder)
    assert a.take()
    shutil.copy(folder / a._mine, folder / FREE)
    assert not b.take()  # it could have the second and sees the first
    assert not a.is_lost()
    a.release()
    assert names(folder) == [FREE]
    assert b.take()
    b.release()


def test_what_is_no_name_of_ours_is_waited_for_no_longer_than_a_lease(folder):
    lock = Lock(folder, lease=0.1)
    lock.take()
    lock.release()
    (folder / FREE).rename(folder / "something else")
    assert not lock.take()
    time.sleep(0.2)
    assert lock.take()
    lock.release()


@pytest.mark.parametrize("left", ["an empty folder", "no folder", "a half made one"])
def test_a_lock_that_is_missing_is_made_anew(folder, left):
    lock = Lock(folder)
    lock.take()
    lock.release()
    (folder / FREE).unlink()
    if left != "an empty folder":
        folder.rmdir()
    if left == "a half made one":
        (folder.parent / f"{'0' * 32}.1-12345-{process._machine()}.tmp").mkdir()
    with lock.held():
        pass
    lock.remove()
    assert not folder.parent.exists()


def test_the_run_folder_is_never_made_anew(folder, tmp_path):
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InterplayError, match="is gone: give the command another --out, or put it back"):
        Lock(folder).take()
    Lock(folder).remove()
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_vanishes_is_a_lock_lost(folder, tmp_path):
    lock = Lock(folder, beat=0.01)
    with lock.held():
        shutil.rmtree(tmp_path / "run")
        assert lock.is_lost()
        time.sleep(0.05)  # beats make nothing
    assert not (tmp_path / "run").exists()


def test_a_lock_that_the_disk_would_not_let_go_is_found_again(folder, monkeypatch):
    lock, rename = Lock(folder), os.rename

    def fails(*_):
        raise OSError(5, "Input/output error")

    assert lock.take()
    monkeypatch.setattr(os, "rename", fails)
    lock.release()
    monkeypatch.setattr(os, "rename", rename)
    assert not Lock(folder).take()
    assert lock.take()
    lock.release()
    assert names(folder) == [FREE]


def test_it_is_removed_by_the_one_that_leaves_and_not_from_under_an_owner(folder):
    a, b = Lock(folder), Lock(folder)
    assert a.take()
    b.remove()
    assert not a.is_lost()
    a.release()
    b.remove()
    assert not folder.parent.exists()
    assert a.take()
    a.release()


def test_waiting_is_told_once_and_for_whom(folder, monkeypatch):
    monkeypatch.setattr(module, "TELL", 0.05)
    told, order = [], []
    a, b = Lock(folder), Lock(folder)

    def second() -> None:
        with b.held(told.append):
            order.append("b")

    with a.held():
        thread = threading.Thread(target=second)
        thread.start()
        while not told:
            time.sleep(0.01)
        time.sleep(0.5)
        order.append("a")
    thread.join()
    assert order == ["a", "b"]
    assert told == [f"process {os.getpid()} on {module.platform.node()}"]


def test_the_counter_rises_and_the_file_keeps_its_length(folder):
    lock = Lock(folder, beat=0.01)
    with lock.held():
        size, until = (folder / lock._mine).stat().st_size, time.monotonic() + 20
        while int((folder / lock._mine).read_bytes()[:12]) < 12:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert (folder / lock._mine).stat().st_size == size
    assert module.BEAT * 4 < module.LEASE


def test_a_process_is_told_from_one_that_ended_and_from_one_elsewhere():
    code = "from interplay.process import this_process; print(this_process())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert [process.is_dead(one) for one in (ended, process.this_process())] == [True, False]
    assert [process.is_dead(one) for one in ("1-2-0123abcd", "", "1-2", "x-y-z", "1-2-3-4")] == [None] * 5
