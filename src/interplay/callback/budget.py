"""How much to measure within a fraction of the training time: seconds in, prompts, words and interval out.

`choose_plan` runs once, so that all measurements are comparable; later `Meter` can only space them further apart.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from interplay.data.words import WORDS_PER_PROMPT

MAX_PROMPTS = 16  # unless the user asks for more [ours]
MIN_PROMPTS, MIN_WORDS = 4, 4  # below these, measurements are spaced out instead [ours]


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often."""

    prompts: int  # per measurement
    n: int  # words per prompt
    every: int  # optimiser steps between measurements


@dataclass(frozen=True)
class Costs:
    """Seconds of an optimiser step, of one prompt at `words` words, and of a measurement whatever its prompts (hashes)."""

    step: float
    prompt: float
    words: int
    fixed: float = 0.0

    def measurement(self, prompts: int, n: int) -> float:
        """Estimated seconds of one measurement: a prompt's coalitions double with each word [ours]."""
        return self.fixed + prompts * self.prompt * 2.0 ** (n - self.words)


def choose_plan(
    costs: Costs,
    *,
    steps: int,
    every: int,
    max_overhead: float,
    n: int | None = None,
    prompts: int | None = None,
    available: int = MAX_PROMPTS,
    fixed_every: bool = False,
) -> Plan:
    """The largest plan whose measurements after the first take at most `max_overhead` of the seconds of `steps` steps.

    The interval `every` is doubled while even the cheapest measurement does not fit, unless `fixed_every`. `n` and `prompts` None:
    choose, of the prompts `available`. Of two plans with the same cost the one with more prompts wins. If nothing fits: the cheapest.

    >>> seconds = Costs(step=1.0, prompt=0.5, words=8)                      # 100 s of training: 5 s, ten measurements of 0.5 s
    >>> choose_plan(seconds, steps=100, every=10, max_overhead=0.05)        # 16 prompts x 0.5 s / 2^4
    Plan(prompts=16, n=4, every=10)
    >>> choose_plan(seconds, steps=100, every=10, max_overhead=0.05, n=8)   # 4 prompts x 0.5 s: twice in 5 s
    Plan(prompts=4, n=8, every=80)
    """
    counts = [max(1, min(MAX_PROMPTS if prompts is None else prompts, available))]
    while prompts is None and counts[-1] // 2 >= MIN_PROMPTS:
        counts.append(counts[-1] // 2)
    words = range(MIN_WORDS, WORDS_PER_PROMPT + 1) if n is None else (n,)
    pairs = sorted(((p, w) for p in counts for w in words), key=lambda x: (-costs.measurement(*x), -x[0]))
    allowed = max_overhead * steps * costs.step
    interval = every
    while True:
        times = math.ceil(steps / interval)  # at every multiple of the interval, and at the last step
        for p, w in pairs:
            if times * costs.measurement(p, w) <= allowed * (1 + 1e-9):
                return Plan(p, w, interval)
        if fixed_every or interval >= steps:
            return Plan(*pairs[-1], every=interval)
        interval *= 2


class Meter:
    """Seconds spent on measurements, and whether the next one fits under the limit."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._before = 0.0  # seconds of preparations and the first measurement
        self._since = 0.0  # of later ones
        self.next = 0.0  # expected seconds of the next measurement

    def begin(self) -> None:
        """The first training step begins now."""
        self._began = self._clock()

    @property
    def seconds(self) -> float:
        """All seconds spent, including preparations and the first measurement."""
        return self._before + self._since

    @contextmanager
    def spending(self, *, measurement: bool = False) -> Generator[None]:
        """Count the time of the block; `measurement`: the next measurement will take as long."""
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            if measurement:
                self.next = spent
            if self._began is None:
                self._before += spent
            else:
                self._since += spent

    def overhead(self, more: float = 0.0) -> float:
        """Seconds of measurements after the first (and `more`) over seconds of training without them; 0 before training."""
        if self._began is None:
            return 0.0
        trained = self._clock() - self._began - self._since
        return (self._since + more) / trained if trained > 0 else math.inf

    def allows(self, max_overhead: float | None, seconds: float | None = None) -> bool:
        """Whether so many more seconds, by default those of the next measurement, keep the overhead under the limit."""
        return max_overhead is None or self.overhead(self.next if seconds is None else seconds) <= max_overhead
