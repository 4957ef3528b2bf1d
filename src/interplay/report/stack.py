"""Strips: several measures above each other on one axis of steps, so that what turns at the same step is seen at once.

Each strip has its own value axis and up to a few lines, named at their right end. One column of the drawing carries the
figures of its step in all strips. Drawing only; which measures there are is decided by `task`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from interplay.report.panels import Line, markers
from interplay.report.rows import Point, Series
from interplay.report.scales import StepAxis, ValueAxis, tick_label
from interplay.report.text import interval, number, plain, tag

WIDTH, LEFT, RIGHT, TOP = 1080.0, 222.0, 108.0, 22.0
TALL, GAP, BREAK, BOTTOM = 62.0, 20.0, 30.0, 34.0  # one strip, between strips, before a new group, the axis


class Strip(NamedTuple):
    """One measure: its lines (the first one's null is drawn when it has one), its axis, its words, its group's title."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    axis: ValueAxis
    group: str = ""
    null_name: str = ""


def draw_stack(strips: Sequence[Strip], x: StepAxis, flags: dict[str, int], said: str) -> Markup:
    """All strips as one <svg>, the steps in `flags` marked by lines through all of them."""
    parts: list[Markup] = []
    top, group = TOP, ""
    for i, strip in enumerate(strips):
        if strip.group != group:
            top += BREAK - GAP if i else 0.0
            group = strip.group
            parts.append(tag("text", {"x": 0.0, "y": top + 2, "class": "group"}, group))
            top += 16.0
        parts.append(_strip(strip, x, top))
        top += TALL + GAP
    bottom = top - GAP
    marks = [_flag(x, step, name, bottom) for name, step in flags.items()]
    box = {
        "class": "chart stack-chart",
        "viewBox": f"0 0 {WIDTH:g} {bottom + BOTTOM:g}",
        "role": "img",
        "aria-label": plain(said),
    }
    return tag("svg", box, _axis(x, bottom), *marks, *parts, *_points(strips, x, bottom))


def _px(x: StepAxis, step: int) -> float:
    return LEFT + 8 + x.of(step) * (WIDTH - LEFT - RIGHT - 16)


def _axis(x: StepAxis, bottom: float) -> Markup:
    parts = [tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": bottom + 6, "y2": bottom + 6, "class": "axis"})]
    for step in x.steps:
        at = {"x1": _px(x, step), "x2": _px(x, step), "y1": bottom + 6, "y2": bottom + 10, "class": "axis"}
        parts.append(tag("line", at))
    for step in x.labels(WIDTH - LEFT - RIGHT - 16, [x.steps[0], x.steps[-1]]):
        parts.append(tag("text", {"x": _px(x, step), "y": bottom + 23, "class": "tick mid"}, f"{step}"))
    parts.append(tag("text", {"x": WIDTH - RIGHT + 12, "y": bottom + 23, "class": "name"}, x.caption.split(",")[0]))
    return Markup("").join(parts)


def _flag(x: StepAxis, step: int, name: str, bottom: float) -> Markup:
    css = "ref" if name == "ref" else "keep"
    at = _px(x, step)
    line = tag("line", {"x1": at, "x2": at, "y1": 14.0, "y2": bottom + 6, "class": css})
    return line + tag("text", {"x": at, "y": 10.0, "class": f"{css}-name mid"}, name)


def _strip(strip: Strip, x: StepAxis, top: float) -> Markup:
    def py(value: float) -> float:
        return top + TALL * (1 - strip.axis.at(value))

    parts = [
        tag("text", {"x": 0.0, "y": top + 14, "class": "strip-name"}, strip.title),
        tag("text", {"x": 0.0, "y": top + 29, "class": "name"}, strip.unit),
    ]
    ticks = strip.axis.ticks
    for tick in dict.fromkeys((ticks[0], ticks[-1])):
        line = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": py(tick), "y2": py(tick), "class": "grid"}
        text = tag("text", {"x": LEFT - 7, "y": py(tick) + 3.8, "class": "tick end"}, tick_label(tick))
        parts += [tag("line", line), text]
    first = strip.lines[0].series
    if strip.null_name:
        parts += [_area(first, "null_lo", "null_hi", css, x, py) for css in ("null-band", "hatch")]
        parts.append(_curve([(p.step, p.null) for p in first.points], "null", x, py))
    for line in reversed(strip.lines):
        parts.append(_area(line.series, "lo", "hi", f"band {line.css}", x, py))
        parts.append(_curve([(p.step, p.value) for p in line.series.points], f"curve {line.css}", x, py))
        spots = [(_px(x, p.step), py(p.value)) for p in line.series.points if p.value is not None]
        parts.append(markers(spots, line.marker, line.css))
    parts += _ends(strip, py, top)
    return Markup("").join(parts)


def _ends(strip: Strip, py: Callable[[float], float], top: float) -> list[Markup]:
    """Names at the right end of the lines, pushed apart where they would touch."""
    wanted: list[tuple[float, str, str]] = []
    for line in strip.lines:
        last = next((p for p in reversed(line.series.points) if p.value is not None), None)
        if line.label and last is not None and last.value is not None:
            wanted.append((py(last.value), line.label, f"label {line.css}"))
    null = next((p for p in reversed(strip.lines[0].series.points) if p.null is not None), None)
    if strip.null_name and null is not None and null.null is not None:
        wanted.append((py(null.null), strip.null_name, "label null-name"))
    wanted.sort()
    places: list[float] = []
    for y, _, _ in wanted:
        places.append(max(y, places[-1] + 12) if places else y)
    over = max(0.0, places[-1] - (top + TALL)) if places else 0.0
    return [
        tag("text", {"x": WIDTH - RIGHT + 12, "y": y - over + 3.8, "class": css}, text)
        for y, (_, text, css) in zip(places, wanted, strict=True)
    ]


def _area(series: Series, lo: str, hi: str, css: str, x: StepAxis, py: Callable[[float], float]) -> Markup:
    runs: list[list[Point]] = [[]]
    for p in series.points:
        if getattr(p, lo) is not None and getattr(p, hi) is not None:
            runs[-1].append(p)
        elif runs[-1]:
            runs.append([])
    parts = []
    for run in runs:
        if len(run) > 1:
            spots = [(_px(x, p.step), py(getattr(p, hi))) for p in run]
            spots += [(_px(x, p.step), py(getattr(p, lo))) for p in reversed(run)]
            parts.append(tag("path", {"class": css, "d": "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in spots) + "z"}))
    return Markup("").join(parts)


def _curve(points: Sequence[tuple[int, float | None]], css: str, x: StepAxis, py: Callable[[float], float]) -> Markup:
    spots = [(_px(x, step), py(value)) for step, value in points if value is not None]
    if len(spots) < 2:
        return Markup("")
    return tag("path", {"class": css, "d": "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)})


def _points(strips: Sequence[Strip], x: StepAxis, bottom: float) -> list[Markup]:
    """One invisible column a step with the figures of all strips."""
    at = [_px(x, step) for step in x.steps]
    parts = []
    for i, step in enumerate(x.steps):
        left = (at[i - 1] + at[i]) / 2 if i else at[i] - 14
        right = (at[i] + at[i + 1]) / 2 if i + 1 < len(at) else at[i] + 14
        lines = [f"step {step}"]
        for strip in strips:
            for line in strip.lines:
                p = line.series.at(step)
                if p is not None and p.value is not None:
                    ci = interval(p.lo, p.hi)
                    name = strip.title + (f", {line.label}" if line.label else "")
                    lines.append(f"{name}: {number(p.value)}" + (f" ({ci})" if ci else ""))
        if len(lines) == 1:
            continue
        guide = tag("line", {"class": "guide", "x1": at[i], "x2": at[i], "y1": TOP, "y2": bottom})
        hit = tag("rect", {"class": "hit", "x": left, "y": TOP, "width": right - left, "height": bottom - TOP})
        parts.append(tag("g", {"class": "pt"}, tag("title", None, "\n".join(lines)), guide, hit))
    return parts
