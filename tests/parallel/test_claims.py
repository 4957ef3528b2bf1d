"""Claims: each thing is one process's at a time, and a dead one's is taken over; told by files alone."""

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from interplay.store import claims as module
from interplay.store.claims import Claims


def elsewhere(folder: Path, *, beat: float = 0.02, lease: float = 0.3) -> Claims:
    """A process of another machine, as far as others can tell: only its counter says that it lives."""
    made = Claims(folder, beat=beat, lease=lease)
    made.me = replace(made.me, place="another machine", host="there")
    return made


def test_a_name_is_one_process_s_until_it_is_released(tmp_path):
    with Claims(tmp_path / "work") as a, Claims(tmp_path / "work") as b:
        assert a.take("x")
        assert a.take("x")  # it has it
        assert not b.take("x")
        assert b.take("y")
        assert (a.taken(), b.taken()) == ({"y"}, {"x"})
        assert b.owner("x") == a.me
        a.release("x")
        assert b.take("x")


def test_of_many_threads_one_gets_a_name(tmp_path):
    got = []
    with Claims(tmp_path / "work"):
        ready = threading.Barrier(8)

        def one() -> None:
            with Claims(tmp_path / "work") as mine:
                ready.wait()
                for i in range(20):
                    if mine.take(f"job-{i}"):
                        got.append(i)
                ready.wait()

        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got) == list(range(20))


def _hold(folder: str, ready) -> None:
    with Claims(Path(folder)) as mine:
        mine.take("x")
        ready.set()
        time.sleep(60)


def _killed_with_a_claim(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(folder), ready))
    process.start()
    assert ready.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_killed_process_s_claim_is_taken_over_at_once_and_its_files_are_cleared(tmp_path):
    folder = tmp_path / "work"
    with Claims(folder, lease=1e9) as mine:
        _killed_with_a_claim(folder)
        assert mine.taken() == {"x"}
        assert mine.others() == []
        assert mine.take("x")
        assert mine.owner("x") == mine.me
    assert not folder.exists()


def test_whoever_leaves_clears_no_claim_from_under_a_living_one(tmp_path):
    """Of four: the first died at work, the second took over, the third only waited and leaves, the fourth comes."""
    folder = tmp_path / "work"
    _killed_with_a_claim(folder)
    with Claims(folder) as second:
        with Claims(folder):
            assert second.take("x")
        with Claims(folder) as fourth:
            assert not fourth.take("x")
            assert fourth.owner("x") == second.me


def test_two_that_claimed_different_generations_see_each_other(tmp_path):
    folder = tmp_path / "work"
    with Claims(folder) as a, Claims(folder) as b:
        os.link(
            folder / "workers" / f"{a.me.id}.json", folder / "claims" / "x.1"
        )  # a follows a dead x.0, cleared since
        a._held["x"] = folder / "claims" / "x.1"
        assert not b.take("x")
        assert b.taken() == {"x"}
        assert sorted(p.name for p in (folder / "claims").iterdir()) == ["x.1"]
        a.release("x")
        assert b.take("x")


def test_a_process_learns_that_its_work_was_taken_over(tmp_path):
    folder = tmp_path / "work"
    with Claims(folder, lease=0.05) as mine:
        hung = elsewhere(folder, beat=1e6)
        with hung:
            assert hung.take("x")
            assert hung.lost("x") is None
            assert not mine.take("x")
            time.sleep(0.1)
            assert mine.take("x")
            assert hung.lost("x") == mine.me
            assert mine.lost("x") is None or hung.me == mine.lost("x")


def test_time_in_which_nobody_looked_is_no_silence(tmp_path, monkeypatch):
    """When a network folder hangs, it hangs for the one that works as for the one that waits."""
    folder = tmp_path / "work"
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Claims(folder, beat=5, lease=60) as mine, elsewhere(folder, beat=1e6) as there:
        assert there.take("x")
        assert not mine.take("x")
        now[0] += 1000
        assert not mine.take("x")
        for _ in range(11):  # 5 s of the 60 are counted
            now[0] += 5
            assert not mine.take("x")
        now[0] += 5.1
        assert mine.take("x")


def test_those_that_come_while_the_last_one_leaves_get_in(tmp_path):
    failed = []

    def come_and_go() -> None:
        for _ in range(60):
            try:
                with Claims(tmp_path / "work") as mine, mine.alone("folder"):
                    pass
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_of_two_that_find_a_dead_claim_one_gets_it(tmp_path):
    folder = tmp_path / "work"
    _killed_with_a_claim(folder)
    with Claims(folder) as a, Claims(folder) as b:
        assert [a.take("x"), b.take("x")] == [True, False]
        a.release("x")
        assert [b.take("x"), a.take("x")] == [True, False]


def test_a_process_elsewhere_is_dead_when_its_counter_stands_still(tmp_path):
    folder = tmp_path / "work"
    with Claims(folder, lease=0.3) as mine:
        there = elsewhere(folder).__enter__()
        assert there.take("x")
        until = time.monotonic() + 0.8
        while time.monotonic() < until:  # more than twice the lease, while its counter rises
            assert not mine.take("x")
            time.sleep(0.02)
        there._stop.set()
        there._thread.join()
        assert not mine.take("x")  # silence begins now
        time.sleep(0.5)
        assert mine.take("x")
        assert mine.others() == []


def test_a_process_of_this_machine_is_not_dead_for_being_slow(tmp_path):
    with Claims(tmp_path / "work", beat=1e6, lease=0.0) as slow, Claims(tmp_path / "work", lease=0.0) as mine:
        slow.take("x")
        assert not mine.take("x")
        time.sleep(0.05)
        assert not mine.take("x")


def test_another_process_with_a_dead_one_s_number_does_not_keep_its_claims(tmp_path):
    dead = Claims(tmp_path / "work")
    dead.me = replace(dead.me, started="12345")  # this test's own process id, begun at another time
    dead.__enter__()
    dead.take("x")
    with Claims(tmp_path / "work", lease=1e9) as mine:
        assert mine.take("x")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 3}', b"\xff\x00"])
def test_a_claim_that_says_nothing_is_waited_for_no_longer_than_a_lease(tmp_path, content):
    folder = tmp_path / "work"
    with Claims(folder, lease=0.1) as mine:
        (folder / "claims" / "x.0").write_bytes(content)
        assert not mine.take("x")
        time.sleep(0.2)
        assert mine.take("x")


def test_without_hard_links_claims_are_copies(tmp_path, monkeypatch):
    def no_links(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with Claims(tmp_path / "work") as a, Claims(tmp_path / "work") as b:
        assert [a.take("x"), b.take("x"), a.take("x")] == [True, False, True]
        assert b.owner("x") == a.me
        a.release("x")
        assert b.take("x")


def test_the_last_to_leave_clears_the_folder_and_one_that_comes_in_then_goes_on(tmp_path):
    folder = tmp_path / "work"
    with Claims(folder) as a:
        with Claims(folder) as b:
            b.take("x")
        assert folder.exists()
        assert a.take("x")
        for file in [*folder.glob("*/*")]:
            file.unlink()
        for sub in folder.iterdir():
            sub.rmdir()
        folder.rmdir()
        assert a.take("y")
    assert not folder.exists()


def test_a_lost_claim_is_not_another_s_to_release(tmp_path):
    folder = tmp_path / "work"
    with Claims(folder) as a, Claims(folder) as b:
        a.take("x")
        (folder / "claims" / "x.0").unlink()
        assert b.take("x")
        a.release("x")
        assert not a.take("x")


def test_alone_waits_and_says_for_whom(tmp_path):
    told, order = [], []
    with Claims(tmp_path / "work") as a, Claims(tmp_path / "work") as b:

        def second() -> None:
            with b.alone("training", told.append):
                order.append("b")

        with a.alone("training"):
            thread = threading.Thread(target=second)
            thread.start()
            while not told:
                time.sleep(0.01)
            order.append("a")
        thread.join()
    assert order == ["a", "b"]
    assert told == [a.me]


def test_alone_is_given_back_after_an_error(tmp_path):
    with Claims(tmp_path / "work") as a, Claims(tmp_path / "work") as b:
        with pytest.raises(RuntimeError), a.alone("training"):
            raise RuntimeError
        assert b.take("training")


def test_the_counter_rises_in_the_file_that_claims_are_links_to(tmp_path):
    folder = tmp_path / "work"
    with Claims(folder, beat=0.01) as mine:
        mine.take("x")
        until = time.monotonic() + 20
        while json.loads((folder / "claims" / "x.0").read_bytes())["beats"] < 12:
            assert time.monotonic() < until
            time.sleep(0.01)
        said = json.loads((folder / "claims" / "x.0").read_bytes())
    assert {key: said[key] for key in asdict(mine.me)} == asdict(mine.me)
    assert module.BEAT * 4 < module.LEASE
