"""Jobs that several processes do without a word: none is left undone, hardly one is done twice, and nobody waits."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from interplay.atomic import write_text
from interplay.errors import InterplayError
from interplay.pipeline.shards import EVERYTHING, Shard, work_off


@dataclass(frozen=True)
class Job:
    name: str


@dataclass
class Worker:
    """Does jobs by writing a file each; remembers which. takes: waits for as long as a job takes."""

    folder: Path
    shard: Shard = EVERYTHING
    takes: Callable[[], None] = lambda: None
    did: list[str] = field(default_factory=list)
    advanced: list[tuple[str, bool]] = field(default_factory=list)

    def saved(self, job: Job) -> str | None:
        file = self.folder / job.name
        return file.read_text() if file.exists() else None

    def do(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, bool]]:
        for job in jobs:
            self.did.append(job.name)
            self.takes()
            new = self.saved(job) is None
            if new:
                write_text(self.folder / job.name, f"did {job.name}")  # whole or not at all, as a run does
            yield job, new

    def work(self, jobs: list[Job]) -> dict[str, str]:
        told = self.advanced
        return work_off(
            jobs, self.shard, saved=self.saved, do=self.do, advance=lambda job, before: told.append((job.name, before))
        )


JOBS = [Job(f"job-{i:02d}") for i in range(64)]
ALL = {job.name: f"did {job.name}" for job in JOBS}


def test_alone_it_does_what_is_missing_in_order(tmp_path):
    (tmp_path / "job-03").write_text("did job-03")
    worker = Worker(tmp_path)
    assert worker.work(JOBS) == ALL
    assert worker.did == [job.name for job in JOBS if job.name != "job-03"]
    assert sorted(worker.advanced) == [(name, name == "job-03") for name in sorted(ALL)]


class Clock:
    """Time that passes only while all who use it sleep: how busy the machine is changes nothing, and one runs at a time."""

    def __init__(self, n: int):
        self.turns = threading.Condition()
        self.now = 0.0
        self.running = n
        self.wakes: dict[int, float] = {}

    def sleep(self, who: int, seconds: float) -> None:
        with self.turns:
            self.wakes[who] = self.now + seconds
            self.turns.notify_all()
            self.turns.wait_for(
                lambda: len(self.wakes) == self.running and min((at, i) for i, at in self.wakes.items())[1] == who
            )
            self.now = self.wakes.pop(who)

    def leave(self) -> None:
        with self.turns:
            self.running -= 1
            self.turns.notify_all()


def all_at_once(folder: Path, shards: list[Shard], seconds: float, delay: float = 0.0) -> list[Worker]:
    """Workers in threads, all with every result at the end. The first takes so long for a job, each other a tenth more."""
    # No two take equally long: in lockstep, two would never find a result of the other.
    clock = Clock(len(shards))
    workers = [
        Worker(folder, shard, lambda i=i: clock.sleep(i, seconds * (1 + 0.1 * i))) for i, shard in enumerate(shards)
    ]
    results: list[dict[str, str]] = []

    def one(index: int) -> None:
        try:
            clock.sleep(index, index * delay)
            results.append(workers[index].work(JOBS))
        finally:
            clock.leave()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [ALL] * len(workers)
    return workers


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_helpers_begin_apart_and_hardly_do_a_job_twice(tmp_path, n, delay):
    workers = all_at_once(tmp_path, [Shard(i, n, helps=True) for i in range(1, n + 1)], 0.02, delay)
    counts = Counter(name for worker in workers for name in worker.did)
    assert counts.keys() == ALL.keys()
    assert counts.total() <= len(JOBS) + 3 * n  # one each where all are equally fast
    assert all(sorted(name for name, _ in worker.advanced) == sorted(ALL) for worker in workers)
    for worker, where in zip(workers, range(n), strict=True):
        if not delay:
            assert worker.did[0] == JOBS[where * len(JOBS) // n].name
        assert len(worker.did) > len(JOBS) / n / 3


@pytest.mark.parametrize("delay", [0.0, 0.055])
def test_the_same_command_started_again_shares_the_work(tmp_path, delay):
    """Both begin at the same place; the first that finds the other's result goes away from it."""
    workers = all_at_once(tmp_path, [EVERYTHING] * 2, 0.01, delay)
    counts = Counter(name for worker in workers for name in worker.did)
    assert counts.keys() == ALL.keys()
    assert counts.total() <= len(JOBS) + 6
    assert min(len(worker.did) for worker in workers) > len(JOBS) / 4


def test_one_that_met_another_goes_far_from_it(tmp_path):
    """The other has done the job that this one was at, and the next."""
    worker = Worker(tmp_path)
    honest = worker.do

    def meets(jobs: Iterator[Job]) -> Iterator[tuple[Job, bool]]:
        for job, new in honest(jobs):
            yield job, new
            if job.name == "job-01":
                for name in ("job-02", "job-03"):
                    write_text(tmp_path / name, ALL[name])

    worker.do = meets
    assert worker.work(JOBS) == ALL
    assert worker.did[:2] == ["job-00", "job-01"]
    third = int(worker.did[2].removeprefix("job-"))
    assert 20 < third < 48
    assert worker.did[3] == f"job-{third + 1:02d}"
    assert len(worker.did) == len(JOBS) - 2


def test_shards_wait_for_nobody_and_leave_the_others_alone(tmp_path):
    first = Worker(tmp_path, Shard(2, 2))
    found = first.work(JOBS)
    assert first.did == [job.name for job in JOBS[32:]]
    assert set(found) == set(first.did)
    last = Worker(tmp_path, Shard(1, 2))
    assert last.work(JOBS) == ALL
    assert last.did == [job.name for job in JOBS[:32]]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 20])
def test_shards_are_all_of_it_and_none_twice(n):
    parts = [list(Shard(i, n).of(JOBS[:16])) for i in range(1, n + 1)]
    assert [job for part in parts for job in part] == JOBS[:16]
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_what_cannot_be_read_back_is_an_error(tmp_path):
    worker = Worker(tmp_path)
    worker.do = lambda jobs: ((job, True) for job in jobs)
    with pytest.raises(InterplayError, match="job-00 was just written and cannot be read back"):
        worker.work(JOBS)
