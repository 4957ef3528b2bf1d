"""Jobs of which several processes may each do some: the loop that every stage of a run goes through.

What a job is and how it is computed is the stage's; here is only that each is done once, by whom, and that nobody waits for
a process that is dead.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from interplay.pipeline.shards import Shard
from interplay.store.claims import LOOK, Claims, Owner


class Named(Protocol):
    """A job: its name, unique in the run, and its group. Jobs of a group are cheaper together: they share a model state."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> Hashable: ...


J = TypeVar("J", bound=Named)
R = TypeVar("R")


@dataclass(frozen=True)
class Together:
    """With whom this process shares a run: its claims, and its share of the jobs (None: whatever nobody else has)."""

    claims: Claims
    shard: Shard | None = None
    waiting: Callable[[Owner], None] = lambda owner: None  # told once a stage whom this process waits for


@dataclass(frozen=True)
class Done(Generic[R]):
    """Results by name, and the names of jobs that are other shares' and not done yet."""

    results: dict[str, R]
    missing: tuple[str, ...]


def work_off(
    jobs: Sequence[J],
    together: Together,
    *,
    kept: Callable[[J], R | None],
    results: Callable[[Iterator[J]], Iterator[tuple[J, R]]],
    advance: Callable[[J, bool], None],
) -> Done[R]:
    """Do, or find done, every job, or every one of this process's share.

    Args:
        kept: the result of a job as it lies in the folder, None where it is missing or not valid.
        results: computes jobs and writes what they give, in any order; it pulls as many at a time as it can work on.
        advance: told of every job that is done, whoever did it, and whether it was before this call.
    """
    found: dict[str, R] = {}

    def look(job: J, first: bool = False) -> bool:
        if (result := kept(job)) is None:
            return False
        found[job.name] = result
        advance(job, first)
        return True

    open_jobs = [job for job in jobs if not look(job, True)]
    ours = jobs if together.shard is None else together.shard.of(jobs)
    names = {job.name for job in ours}
    todo = [job for job in open_jobs if job.name in names]
    told = False
    while todo:
        others: list[J] = []
        for job, result in results(_claimed(todo, together.claims, look, others)):
            together.claims.release(job.name)
            found[job.name] = result
            advance(job, False)
        todo = [job for job in others if not look(job)]
        if todo and len(todo) == len(
            others
        ):  # nothing changed: wait for the others, and take over from those that died
            if not told and (owner := together.claims.owner(todo[0].name)) is not None:
                together.waiting(owner)
                told = True
            time.sleep(LOOK)
    missing = [job for job in open_jobs if job.name not in names and not look(job)]
    return Done(found, tuple(job.name for job in missing))


def _claimed(todo: Sequence[J], claims: Claims, look: Callable[[J], bool], others: list[J]) -> Iterator[J]:
    """The jobs of `todo` that could be claimed, claimed; those that another process has go to `others`."""
    for job in _apart(todo, claims.taken()):
        if not claims.take(job.name):
            others.append(job)
        elif look(job):  # it was finished between the first look and the claim
            claims.release(job.name)
        else:
            yield job


def _apart(todo: Sequence[J], taken: set[str]) -> Iterator[J]:
    """Groups that nobody is at come first, so that processes work at different model states as long as there are several."""
    busy = {job.group for job in todo if job.name in taken}
    yield from (job for job in todo if job.group not in busy)
    yield from (job for job in todo if job.group in busy)
