"""Which jobs of a run a process does, and in which order, so that many processes share them without messages.

A job's result is written whole, under a hash, and is the same from every process. So no job is reserved: a process looks on
disk before it begins one, and the order keeps processes apart. A job that two do at the same time costs that job only.
"""

import itertools
import random
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from interplay.errors import InterplayError


class Named(Protocol):
    """A job, with a unique name. Jobs that are cheaper together, on one model state, are neighbours."""

    @property
    def name(self) -> str: ...


T = TypeVar("T")
J = TypeVar("J", bound=Named)
R = TypeVar("R")


@dataclass(frozen=True)
class Shard:
    """The i-th of n parts of a list of jobs, i from 1 to n. helps: whether the process then goes on with the other parts."""

    i: int
    n: int
    helps: bool = False

    def of(self, jobs: Sequence[T]) -> Sequence[T]:
        """A run of neighbours; sizes differ by one at most."""
        return jobs[(self.i - 1) * len(jobs) // self.n : self.i * len(jobs) // self.n]

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"


EVERYTHING = Shard(1, 1, helps=True)


def parse_shard(text: str, *, helps: bool = False) -> Shard:
    """`--shard i/n` as a Shard.

    >>> str(parse_shard("2/8"))
    '2/8'
    >>> parse_shard("0/8")
    Traceback (most recent call last):
    interplay.errors.InterplayError: --shard '0/8': give i/n with i from 1 to n, such as 2/8 (an array that counts from 0: i + 1)
    """
    found = re.fullmatch(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InterplayError(
            f"--shard {text[:40]!r}: give i/n with i from 1 to n, such as 2/8 (an array that counts from 0: i + 1)"
        )
    return Shard(int(found[1]), int(found[2]), helps)


def work_off(
    jobs: Sequence[J],
    shard: Shard,
    *,
    saved: Callable[[J], R | None],
    do: Callable[[Iterator[J]], Iterator[tuple[J, bool]]],
    advance: Callable[[J, bool], None],
) -> dict[str, R]:
    """Do, or find done, the jobs of a shard. Results by name; those of other shards are left out while they are not done.

    Jobs are done in their order, from where the shard begins. A process that meets what another one did meanwhile goes on in
    the middle of the longest row of jobs that are left, so that the two meet again only at its end.

    Args:
        saved: a job's result in the folder, None where it is missing or not valid.
        do: does jobs in any order and writes their results; yields each job, and False where another process wrote it first.
        advance: told of every job that is done, and whether it was before this call.
    """
    found: dict[str, R] = {}

    def look(job: J, before: bool = False) -> bool:
        if (result := saved(job)) is None:
            return False
        found[job.name] = result
        advance(job, before)
        return True

    todo = [job for job in jobs if not look(job, True)]
    mine = todo if shard.helps else [job for job in shard.of(jobs) if job.name not in found]
    left = list(range(len(mine)))  # indices of jobs that nobody has done yet, as far as this process knows
    at = (shard.i - 1) * len(mine) // shard.n if shard.helps else 0
    met = False

    def next_jobs() -> Iterator[J]:
        nonlocal at, met
        while left:
            if met:
                left[:] = [i for i in left if not look(mine[i])]
                at, met = _far_from_others(left), False
                continue
            index = left.pop(bisect_left(left, at) % len(left))
            at = index + 1
            if look(mine[index]):
                met = True
            else:
                yield mine[index]

    for job, written in do(next_jobs()):
        met = met or not written
        if not look(job):
            raise InterplayError(
                f"{job.name} was just written and cannot be read back: check the disk, then run the same command again"
            )
    for job in todo:
        if job.name not in found:
            look(job)
    return found


def _far_from_others(left: Sequence[int]) -> int:
    """A random place near the middle of the longest row of neighbours, since two may ask at one moment."""
    rows = [[i for _, i in row] for _, row in itertools.groupby(enumerate(left), lambda pair: pair[1] - pair[0])]
    longest = max(rows, key=len, default=[0])
    return longest[int(len(longest) * random.Random().uniform(1 / 3, 2 / 3))]  # not the seeded one that a training uses
