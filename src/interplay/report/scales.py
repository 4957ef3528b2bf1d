"""Positions on a chart: the axis of steps, which all charts share, and value axes with round ticks."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

EVEN = 4  # largest spacing over smallest up to which checkpoints are drawn to scale [ours]
CROWDED = 0.025  # two checkpoints nearer than this fraction of the axis look like one [ours]


class StepAxis(NamedTuple):
    """Positions 0..1 of the checkpoints (or of ranks, or coalitions); `some`: the only ones with a tick."""

    steps: tuple[float, ...]
    at: tuple[float, ...]
    caption: str
    some: tuple[float, ...] | None = None

    @property
    def ticks(self) -> tuple[float, ...]:
        return self.steps if self.some is None else self.some

    def of(self, step: float) -> float:
        """Position 0..1 of one checkpoint."""
        return self.at[self.steps.index(step)]

    def labels(self, width: float) -> list[float]:
        """The ticks whose labels fit side by side on `width` units, the first and the last before the others."""
        placed: list[tuple[float, float, float]] = []
        for step in dict.fromkeys([*self.ticks[:1], *self.ticks[-1:], *self.ticks]):
            half = len(self.text(step)) * 3.6 + 3.5
            x = self.of(step) * width
            if all(x + half <= lo or x - half >= hi for lo, hi, _ in placed):
                placed.append((x - half, x + half, step))
        return sorted(s for _, _, s in placed)

    def text(self, step: float) -> str:
        return f"{step:.0f}" if step == int(step) else f"{step:.4g}"


def step_axis(steps: Sequence[float], unit: str = "optimiser step", many: str = "checkpoints") -> StepAxis:
    """Even checkpoints are drawn to scale, others on a log scale that starts at zero (linear up to the first step).

    >>> [round(x, 2) for x in step_axis([0, 5, 10, 20, 40, 80]).at]
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> [round(x, 2) for x in step_axis([0, 1000, 1800, 2500, 4000]).at]
    [0.0, 0.25, 0.45, 0.62, 1.0]
    """
    if len(steps) == 1:
        return StepAxis(tuple(steps), (0.5,), unit)
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    raw, caption = list(steps), unit
    if max(gaps) > EVEN * min(gaps):
        first = next(s for s in steps if s > 0)
        raw, caption = [s / first if s <= first else 1 + math.log2(s / first) for s in steps], f"{unit}, log scale"
    at = [(x - raw[0]) / (raw[-1] - raw[0]) for x in raw]
    if min(b - a for a, b in itertools.pairwise(at)) < min(CROWDED, 0.5 / len(steps)):
        at, caption = [i / (len(steps) - 1) for i in range(len(steps))], f"{many}, evenly spaced"
    return StepAxis(tuple(steps), tuple(at), caption)


class ValueAxis(NamedTuple):
    """A range of values and the round ticks inside it; `log`: a logarithmic one."""

    lo: float
    hi: float
    ticks: tuple[float, ...]
    log: bool = False

    def of(self, value: float) -> float:
        """Position 0..1 of a value; those outside are clipped to the edge."""
        if self.log:
            at = math.log(max(value, self.lo) / self.lo) / math.log(self.hi / self.lo)
        else:
            at = (value - self.lo) / (self.hi - self.lo)
        return min(1.0, max(0.0, at))


def log_axis(values: Iterable[float | None]) -> ValueAxis:
    """A logarithmic axis if the values are positive and span a factor of ten, or else `value_axis`.

    >>> log_axis([0.39, 12.7])
    ValueAxis(lo=0.2, hi=20.0, ticks=(0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0), log=True)
    >>> log_axis([1.0, 4.0]).log
    False
    """
    known = [v for v in values if v is not None]
    if not known or min(known) <= 0 or max(known) < 10 * min(known):
        return value_axis(known)
    lo, hi = max(min(known), max(known) * 1e-5), max(known)
    decades = range(math.floor(math.log10(lo)), math.ceil(math.log10(hi)) + 1)
    rounds = [float(f"{m}e{d}") for d in decades for m in ((1, 2, 5) if len(decades) < 5 else (1,))]
    first = max((r for r in rounds if r <= lo), default=rounds[0])
    last = min((r for r in rounds if r >= hi), default=rounds[-1])
    return ValueAxis(first, last, tuple(r for r in rounds if first <= r <= last), True)


def value_axis(values: Iterable[float | None], zero: bool = True, about: int = 4) -> ValueAxis:
    """Round limits around all the values (and zero unless told otherwise).

    >>> value_axis([0.0, 87.2, None])
    ValueAxis(lo=0.0, hi=100.0, ticks=(0.0, 25.0, 50.0, 75.0, 100.0), log=False)
    >>> value_axis([-0.3, 1.1]).ticks
    (-0.5, 0.0, 0.5, 1.0, 1.5)
    >>> value_axis([])
    ValueAxis(lo=0.0, hi=1.0, ticks=(0.0, 0.5, 1.0), log=False)
    """
    known = [v for v in values if v is not None]
    if not known:
        return ValueAxis(0.0, 1.0, (0.0, 0.5, 1.0))
    lo, hi = min(known), max(known)
    if zero:
        lo, hi = min(0.0, lo), max(0.0, hi)
    if hi - lo < 1e-12 * max(1.0, abs(hi), abs(lo)):
        lo, hi = (lo - 0.5, hi + 0.5) if not zero or lo else (0.0, 1.0)
    unit = 10 ** math.floor(math.log10((hi - lo) / about))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit * about >= (hi - lo) * 0.999)
    first, last = math.floor(lo / step + 1e-9), math.ceil(hi / step - 1e-9)
    ticks = tuple(float(f"{i * step:.12g}") for i in range(first, last + 1))
    return ValueAxis(ticks[0], ticks[-1], ticks)


def tick_label(value: float) -> str:
    """A tick as short as it can be.

    >>> tick_label(0.25), tick_label(-5.0), tick_label(2500.0), tick_label(40000.0)
    ('0.25', '\u22125', '2,500', '40k')
    """
    size = abs(value)
    text = f"{size / 1000:g}k" if size >= 1e4 else f"{size:,.6g}"
    return ("\u2212" if value < 0 else "") + text
