"""`--shard i/n`: which part of a list of jobs is whose, known to each of n processes without a word between them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from interplay.errors import InterplayError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """The i-th of n parts, i from 1 to n."""

    i: int
    n: int

    def of(self, jobs: Sequence[T]) -> Sequence[T]:
        """A run of neighbours, since neighbours share a model state and opening one costs time; sizes differ by one at most.

        >>> [list(Shard(i, 3).of("abcdefgh")) for i in (1, 2, 3)]
        [['a', 'b'], ['c', 'd', 'e'], ['f', 'g', 'h']]
        """
        return jobs[(self.i - 1) * len(jobs) // self.n : self.i * len(jobs) // self.n]

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"


def parse_shard(text: str) -> Shard:
    """`--shard i/n` as a Shard.

    >>> parse_shard("2/8")
    Shard(i=2, n=8)
    >>> parse_shard("0/8")
    Traceback (most recent call last):
    interplay.errors.InterplayError: --shard '0/8': give i/n with i from 1 to n, such as 2/8 (an array that counts from 0: i + 1)
    """
    found = re.fullmatch(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InterplayError(
            f"--shard {text[:40]!r}: give i/n with i from 1 to n, such as 2/8 (an array that counts from 0: i + 1)"
        )
    return Shard(int(found[1]), int(found[2]))
