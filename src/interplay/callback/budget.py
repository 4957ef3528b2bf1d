"""How much to read within a fraction of the training time: seconds in, prompts, words and interval out.

`choose_plan` runs once, so that all readings are comparable; later `Meter` can only leave some of them out.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from interplay.data.words import WORDS_PER_PROMPT

MAX_PROMPTS = 16  # unless the user asks for more [ours]
MIN_PROMPTS, MIN_WORDS = 4, 4  # below these, readings are spaced out instead [ours]


@dataclass(frozen=True)
class Plan:
    """What is read, and how often."""

    prompts: int  # per reading
    n: int  # words per prompt
    every: int  # optimiser steps between readings


@dataclass(frozen=True)
class Costs:
    """Seconds of an optimiser step and of readings: of the answer to a prompt, of its interactions (`prompt`, and `coalition` for
    each of 2^n), and whatever the prompts (rules that are followed; hashes)."""

    step: float
    answer: float = 0.0
    prompt: float = 0.0
    coalition: float = 0.0
    fixed: float = 0.0  # of each reading
    fixed_full: float = 0.0

    def light(self, prompts: int) -> float:
        """Seconds of reading the answers."""
        return self.fixed + prompts * self.answer

    def full(self, prompts: int, n: int) -> float:
        """Seconds of the interactions, beside the answers."""
        return self.fixed_full + prompts * (self.prompt + self.coalition * 2.0**n)


def choose_plan(
    costs: Costs,
    *,
    steps: int,
    every: int,
    max_overhead: float,
    full: int | None,
    n: int | None = None,
    prompts: int | None = None,
    available: int = MAX_PROMPTS,
    fixed_every: bool = False,
    spent: float = 0.0,
) -> Plan:
    """The largest plan whose readings take at most `max_overhead` of the seconds of `steps` steps, `full` of them full (None: all).

    `spent`: seconds of them that preparations took already. The interval `every` is doubled while even the cheapest plan does not fit
    and its answers take more than half of what is allowed, unless `fixed_every`. `n` and `prompts` None: choose, of the prompts
    `available`. Of two plans with the same cost the one with more prompts wins. If nothing fits: the cheapest.

    >>> seconds = Costs(step=1.0, answer=0.05, coalition=0.005)            # 400 s of training, so 20 s
    >>> choose_plan(seconds, steps=400, every=20, max_overhead=0.05, full=4)     # 21 x 0.4 s + 4 x 8 x 0.32 s
    Plan(prompts=8, n=6, every=20)
    >>> choose_plan(seconds, steps=400, every=20, max_overhead=0.05, full=4, spent=4.0)
    Plan(prompts=4, n=7, every=20)
    >>> choose_plan(seconds, steps=400, every=20, max_overhead=0.05, full=None, n=8)
    Plan(prompts=4, n=8, every=320)
    """
    counts = [max(1, min(MAX_PROMPTS if prompts is None else prompts, available))]
    while prompts is None and counts[-1] // 2 >= MIN_PROMPTS:
        counts.append(counts[-1] // 2)
    words = range(MIN_WORDS, WORDS_PER_PROMPT + 1) if n is None else (n,)
    pairs = sorted(((p, w) for p in counts for w in words), key=lambda x: (-costs.full(*x), -x[0]))
    allowed = max_overhead * steps * costs.step * (1 + 1e-9)
    interval = every
    while True:
        times = 1 + math.ceil(steps / interval)  # at the start, at every multiple of the interval, and at the last step
        for p, w in pairs:
            if times * costs.light(p) + min(times, full or times) * costs.full(p, w) <= allowed - spent:
                return Plan(p, w, interval)
        p, w = pairs[-1]
        enough = full is not None and times * costs.light(p) <= allowed / 2
        if enough or fixed_every or interval >= steps:
            return Plan(p, w, interval)
        interval *= 2


class Meter:
    """Seconds spent on readings, held against the seconds that the whole training is expected to take."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._before = 0.0  # seconds of preparations and the first reading
        self._since = 0.0  # of later ones
        self._open: float | None = None  # when a block began that is not yet counted
        self.next = {"light": 0.0, "full": 0.0}  # expected seconds of the next one
        self.light = 0.0  # spent on answers

    def begin(self) -> None:
        """The first training step begins now."""
        self._began = self._clock()

    @property
    def seconds(self) -> float:
        """All seconds spent, including preparations and the first reading."""
        return self._before + self._since + (0.0 if self._open is None else self._clock() - self._open)

    @contextmanager
    def spending(self, what: str = "") -> Generator[None]:
        """Count the time of the block; `light` and `full`: the next such reading will take as long."""
        start = self._open = self._clock()
        try:
            yield
        finally:
            spent, self._open = self._clock() - start, None
            if self._began is None:  # the first one is slow, so the plan says better what the next will take
                self._before += spent
            else:
                self._since += spent
                self.next |= {what: spent} if what else {}
            self.light += spent * (what == "light")

    def overhead(self, progress: float) -> float:
        """Seconds spent over those of the whole training without them, `progress` of which is done; 0 before it begins."""
        return self._share(self.seconds, progress)

    def _share(self, seconds: float, progress: float) -> float:
        if self._began is None or progress <= 0:
            return 0.0
        trained = self._clock() - self._began - self._since
        return seconds * progress / trained if trained > 0 else math.inf

    def allows(self, limit: float | None, progress: float, seconds: float, *, light: bool = False) -> bool:
        """Whether so many more seconds keep the overhead, or that of the answers alone, under the limit."""
        spent = self.light if light else self.seconds
        return limit is None or self._share(spent + seconds, progress) <= limit
