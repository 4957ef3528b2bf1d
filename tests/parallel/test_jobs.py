"""Jobs shared out: each done once, by whoever, and nothing waits for the dead."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from interplay.atomic import write_text
from interplay.pipeline.shards import Shard
from interplay.pipeline.sharing import Together, work_off
from interplay.store.claims import Claims


@dataclass(frozen=True)
class Job:
    name: str
    group: int


@dataclass
class Worker:
    """Does jobs by writing a file each, slowly; remembers which."""

    folder: Path
    together: Together
    pause: float = 0.0
    did: list[str] = field(default_factory=list)
    advanced: list[str] = field(default_factory=list)

    def kept(self, job: Job) -> str | None:
        file = self.folder / job.name
        return file.read_text() if file.exists() else None

    def results(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, str]]:
        for job in jobs:
            time.sleep(self.pause)
            self.did.append(job.name)
            write_text(self.folder / job.name, f"did {job.name}")  # whole or not at all, as a run does: others look on
            yield job, f"did {job.name}"

    def work(self, jobs: list[Job]):
        return work_off(
            jobs,
            self.together,
            kept=self.kept,
            results=self.results,
            advance=lambda job, kept: self.advanced.append(job.name),
        )


JOBS = [Job(f"job-{i}", i // 4) for i in range(16)]
ALL = {job.name: f"did {job.name}" for job in JOBS}


def test_alone_it_does_what_is_not_kept(tmp_path):
    (tmp_path / "job-3").write_text("did job-3")
    with Claims(tmp_path / "work") as claims:
        worker = Worker(tmp_path, Together(claims))
        done = worker.work(JOBS)
    assert (done.results, done.missing) == (ALL, ())
    assert worker.did == [job.name for job in JOBS if job.name != "job-3"]
    assert sorted(worker.advanced) == sorted(ALL)


def test_several_do_each_job_once_and_all_have_all_results(tmp_path):
    workers, done = [], []

    def one() -> None:
        with Claims(tmp_path / "work") as claims:
            worker = Worker(tmp_path, Together(claims), pause=0.005)
            workers.append(worker)
            done.append(worker.work(JOBS))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for worker in workers for name in worker.did) == sorted(ALL)
    assert all(len(worker.did) > 0 for worker in workers)
    assert [d.results for d in done] == [ALL] * 4
    assert all(sorted(worker.advanced) == sorted(ALL) for worker in workers)


def test_a_group_another_is_at_comes_last(tmp_path):
    with Claims(tmp_path / "work") as other, Claims(tmp_path / "work") as claims:
        other.take("job-1")
        worker = Worker(tmp_path, Together(claims, waiting=lambda owner: other.release("job-1")))
        worker.work(JOBS)
    assert worker.did[:12] == [job.name for job in JOBS if job.group != 0]
    assert worker.did[12:] == ["job-0", "job-2", "job-3", "job-1"]


def test_a_dead_process_s_job_is_done_by_those_that_live(tmp_path):
    dead = Claims(tmp_path / "work")
    dead.me = type(dead.me)("dead", 1, dead.me.place, "long ago", "here")
    dead.__enter__()
    dead.take("job-5")
    with Claims(tmp_path / "work") as claims:
        worker = Worker(tmp_path, Together(claims))
        assert worker.work(JOBS).results == ALL


def test_shares_wait_for_nobody_and_say_what_is_missing(tmp_path):
    with Claims(tmp_path / "work") as other:
        other.take("job-0")  # of another share, by a process that lives
        with Claims(tmp_path / "work") as claims:
            first = Worker(tmp_path, Together(claims, Shard(2, 2)))
            done = first.work(JOBS)
        assert first.did == [f"job-{i}" for i in range(8, 16)]
        assert set(done.results) == set(first.did)
        assert done.missing == tuple(f"job-{i}" for i in range(8))
    with Claims(tmp_path / "work") as claims:
        last = Worker(tmp_path, Together(claims, Shard(1, 2)))
        done = last.work(JOBS)
    assert (done.results, done.missing) == (ALL, ())
    assert last.did == [f"job-{i}" for i in range(8)]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 20])
def test_shares_are_all_of_it_and_none_twice(n):
    parts = [list(Shard(i, n).of(JOBS)) for i in range(1, n + 1)]
    assert [job for part in parts for job in part] == JOBS
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_job_that_fails_is_given_back(tmp_path):
    def fails(jobs):
        next(jobs)
        raise RuntimeError("no")
        yield

    with Claims(tmp_path / "work") as other:
        with pytest.raises(RuntimeError), Claims(tmp_path / "work") as claims:
            work_off(JOBS, Together(claims), kept=lambda job: None, results=fails, advance=lambda job, kept: None)
        assert other.take("job-0")
