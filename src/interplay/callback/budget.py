"""How much may be measured for a share of the training time: seconds in, prompts, words and interval out.

Nothing here knows a model, torch or a trainer. `choose` is asked once, before the first measurement, so that all measurements are
comparable; from then on `Meter` can only space them further apart.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from interplay.data.words import WORDS_PER_PROMPT

MOST_PROMPTS = 16  # where nothing else is asked for [ours]
LEAST_PROMPTS, LEAST_WORDS = 4, 4  # what a budget may come down to before measurements are spaced out instead [ours]


@dataclass(frozen=True)
class Plan:
    """Prompts a measurement, words a prompt, optimiser steps between measurements."""

    prompts: int
    n: int
    every: int


@dataclass(frozen=True)
class Costs:
    """Measured seconds: of an optimiser step, of one prompt at `words` words, and of a measurement whatever its prompts (hashes)."""

    step: float
    prompt: float
    words: int
    fixed: float = 0.0

    def measurement(self, prompts: int, n: int) -> float:
        """Seconds of one measurement: a prompt's coalitions double with each word [ours: the trie shares, so this is a guess].

        >>> Costs(step=1.0, prompt=0.5, words=8, fixed=0.25).measurement(prompts=4, n=7)
        1.25
        """
        return self.fixed + prompts * self.prompt * 2.0 ** (n - self.words)


def measurements_after_first(steps: int, every: int) -> int:
    """How many measurements follow the one at the start: at every multiple of `every`, and at the last step.

    >>> measurements_after_first(100, 50), measurements_after_first(101, 50), measurements_after_first(10, 50)
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
    prompts: int | None = None,
    available: int = MOST_PROMPTS,
    fixed_every: bool = False,
) -> Plan:
    """The dearest plan whose measurements after the first take at most `max_overhead` of the seconds of `steps` steps.

    Args:
        steps: optimiser steps of the training, all in all.
        every: the interval asked for. It is kept where a cheaper measurement (fewer words, fewer prompts) fits, else doubled.
        n, prompts: what the user fixed; None leaves them to this.
        available: prompts there are.
        fixed_every: the interval must not grow (the trainer asks for the metric at its own steps).

    Of two plans that cost the same the one with more prompts is taken. Where nothing fits, the cheapest: one measurement at the
    end, or at the interval where that is fixed.

    >>> seconds = Costs(step=1.0, prompt=0.5, words=8)                  # 100 s of training: 5 s, ten measurements of 0.5 s
    >>> choose(seconds, steps=100, every=10, max_overhead=0.05)        # 16 prompts x 0.5 s / 2^4
    Plan(prompts=16, n=4, every=10)
    >>> choose(seconds, steps=100, every=10, max_overhead=0.05, n=8)   # 4 prompts x 0.5 s: twice in 5 s
    Plan(prompts=4, n=8, every=80)
    """
    most = max(1, min(MOST_PROMPTS if prompts is None else prompts, available))
    counts = [most]
    while prompts is None and counts[-1] // 2 >= LEAST_PROMPTS:
        counts.append(counts[-1] // 2)
    words = range(LEAST_WORDS, WORDS_PER_PROMPT + 1) if n is None else (n,)
    pairs = sorted(((p, w) for p in counts for w in words), key=lambda x: (-costs.measurement(*x), -x[0]))
    allowed = max_overhead * steps * costs.step
    interval = every
    while True:
        for p, w in pairs:
            if measurements_after_first(steps, interval) * costs.measurement(p, w) <= allowed * (1 + 1e-9):
                return Plan(p, w, interval)
        if fixed_every or interval >= steps:
            return Plan(*pairs[-1], every=interval)
        interval *= 2


class Meter:
    """What measurements have cost since training began, and whether the next one may be made.

    `share` is promised to stay under the limit: seconds of all measurements after the first, over the seconds of training
    without them.

    >>> now = iter([0.0, 10.0, 10.5, 20.5])                 # training begins; a measurement from 10 to 10.5; asked at 20.5
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
        """The first training step begins now; what was spent so far is the first measurement's and the preparations'."""
        self._began = self._clock()

    @property
    def seconds(self) -> float:
        """All seconds spent, the first measurement and the preparations included."""
        return self._before + self._since

    @contextmanager
    def spending(self, *, measurement: bool = False) -> Generator[None]:
        """Count the block's time as ours; `measurement`: the next measurement will take as long."""
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            if measurement:
                self._last = spent
            if self._began is None:
                self._before += spent
            else:
                self._since += spent

    def expect(self, seconds: float) -> None:
        """What the next measurement will probably take, where no measurement says so yet."""
        self._last = seconds

    def share(self) -> float:
        """Seconds of measurements after the first over seconds of training without them; 0 before training."""
        return self._over(self._since)

    def allows(self, max_overhead: float | None, seconds: float | None = None) -> bool:
        """Whether so many more seconds, by default another measurement like the last one, keep the share under the limit."""
        more = self._last if seconds is None else seconds
        return max_overhead is None or self._began is None or self._over(self._since + more) <= max_overhead

    def _over(self, spent: float) -> float:
        if self._began is None:
            return 0.0
        trained = self._clock() - self._began - self._since
        return spent / trained if trained > 0 else math.inf
