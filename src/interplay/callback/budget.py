"""How much may be measured for a share of the training time: seconds in, probes, words and interval out.

Nothing here knows a model, torch or a trainer. `choose` is asked once, before the first reading, so that all readings are
comparable; from then on `Meter` can only space them further apart.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from interplay.data.words import WORDS_PER_PROMPT

MOST_PROBES = 16  # where nothing else is asked for [ours]
LEAST_PROBES, LEAST_WORDS = 4, 4  # what a budget may come down to before readings are spaced out instead [ours]


@dataclass(frozen=True)
class Plan:
    """Probes a reading, words a probe, optimiser steps between readings."""

    probes: int
    n: int
    every: int


@dataclass(frozen=True)
class Costs:
    """Measured seconds: of an optimiser step, of one probe at `words` words, and of a reading whatever its probes (hashes)."""

    step: float
    probe: float
    words: int
    fixed: float = 0.0

    def reading(self, probes: int, n: int) -> float:
        """Seconds of one reading: a probe's coalitions double with each word [ours: the trie shares, so this is a guess].

        >>> Costs(step=1.0, probe=0.5, words=8, fixed=0.25).reading(probes=4, n=7)
        1.25
        """
        return self.fixed + probes * self.probe * 2.0 ** (n - self.words)


def readings_after_first(steps: int, every: int) -> int:
    """How many readings follow the one at the start: at every multiple of `every`, and at the last step.

    >>> readings_after_first(100, 50), readings_after_first(101, 50), readings_after_first(10, 50)
    (2, 3, 1)
    """
    return math.ceil(steps / every)


def choose(
    costs: Costs,
    *,
    steps: int,
    every: int,
    max_overhead: float,
    n: int | None = None,
    probes: int | None = None,
    available: int = MOST_PROBES,
    fixed_every: bool = False,
) -> Plan:
    """The dearest plan whose readings after the first take at most `max_overhead` of the seconds of `steps` steps.

    Args:
        steps: optimiser steps of the training, all in all.
        every: the interval asked for. It is kept where a cheaper reading (fewer words, fewer probes) fits, else doubled.
        n, probes: what the user fixed; None leaves them to this.
        available: probes there are.
        fixed_every: the interval must not grow (the trainer asks for the metric at its own steps).

    Of two plans that cost the same the one with more probes is taken. Where nothing fits, the cheapest: one reading at the
    end, or at the interval where that is fixed.

    >>> seconds = Costs(step=1.0, probe=0.5, words=8)                  # 100 s of training: 5 s, ten readings of 0.5 s
    >>> choose(seconds, steps=100, every=10, max_overhead=0.05)        # 16 probes x 0.5 s / 2^4
    Plan(probes=16, n=4, every=10)
    >>> choose(seconds, steps=100, every=10, max_overhead=0.05, n=8)   # 4 probes x 0.5 s: twice in 5 s
    Plan(probes=4, n=8, every=80)
    """
    most = max(1, min(MOST_PROBES if probes is None else probes, available))
    counts = [most]
    while probes is None and counts[-1] // 2 >= LEAST_PROBES:
        counts.append(counts[-1] // 2)
    words = range(LEAST_WORDS, WORDS_PER_PROMPT + 1) if n is None else (n,)
    pairs = sorted(((p, w) for p in counts for w in words), key=lambda x: (-costs.reading(*x), -x[0]))
    allowed = max_overhead * steps * costs.step
    interval = every
    while True:
        for p, w in pairs:
            if readings_after_first(steps, interval) * costs.reading(p, w) <= allowed * (1 + 1e-9):
                return Plan(p, w, interval)
        if fixed_every or interval >= steps:
            return Plan(*pairs[-1], every=interval)
        interval *= 2


class Meter:
    """What readings have cost since training began, and whether the next one may be made.

    `share` is promised to stay under the limit: seconds of all readings after the first, over the seconds of training
    without them.

    >>> now = iter([0.0, 10.0, 10.5, 20.5])                 # training begins; a reading from 10 to 10.5; asked at 20.5
    >>> meter = Meter(clock=lambda: next(now))
    >>> meter.begin()
    >>> with meter.spending():
    ...     pass
    >>> round(meter.share(), 3)                             # 0.5 s of 20 s
    0.025
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._before = 0.0
        self._since = 0.0
        self._last = 0.0

    def begin(self) -> None:
        """The first training step begins now; what was spent so far is the first reading's and the preparations'."""
        self._began = self._clock()

    @property
    def seconds(self) -> float:
        """All seconds spent, the first reading and the preparations included."""
        return self._before + self._since

    @contextmanager
    def spending(self, *, reading: bool = False) -> Generator[None]:
        """Count the block's time as ours; `reading`: the next reading will take as long."""
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            if reading:
                self._last = spent
            if self._began is None:
                self._before += spent
            else:
                self._since += spent

    def expect(self, seconds: float) -> None:
        """What the next reading will probably take, where no reading says so yet."""
        self._last = seconds

    def share(self) -> float:
        """Seconds of readings after the first over seconds of training without them; 0 before training."""
        return self._over(self._since)

    def allows(self, max_overhead: float | None, seconds: float | None = None) -> bool:
        """Whether so many more seconds, by default another reading like the last one, keep the share under the limit."""
        more = self._last if seconds is None else seconds
        return max_overhead is None or self._began is None or self._over(self._since + more) <= max_overhead

    def _over(self, spent: float) -> float:
        if self._began is None:
            return 0.0
        trained = self._clock() - self._began - self._since
        return spent / trained if trained > 0 else math.inf
