"""One small chart: a measure of one set over the steps, its interval, its null, and the checkpoint to keep.

Static SVG with colours from the page's style sheet (classes, CSS variables), so it shows without JavaScript, in the dark
and on paper. Each point carries its figures as a <title>; the page's script turns these into tooltips for mouse and keys.
It decides nothing about which measures there are: that is `figures`.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from interplay.report.rows import Point, Series, decided
from interplay.report.scales import StepAxis, ValueAxis, tick_label
from interplay.report.schema import Payload
from interplay.report.text import interval, number, plain, tag

WIDTH, HEIGHT = 264.0, 180.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 17.0, 35.0
CHAR = 6.6  # generous width of a character at the charts' 11 px

MARKERS = {
    "circle": "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z",
    "diamond": "M0-4.2L4.2 0L0 4.2L-4.2 0z",
    "square": "M-3-3h6v6h-6z",
    "dot": "M-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0z",
}


class Line(NamedTuple):
    """One series on a panel; `label` is written beside it (the main series is named by the panel's title)."""

    series: Series
    css: str
    marker: str = "circle"
    label: str = ""
    thin: bool = False


class Panel(NamedTuple):
    """What one small chart shows. `null_name` is the name of the null drawn for the first line ('' = none)."""

    title: str
    css: str
    lines: tuple[Line, ...]
    unit: str
    measure: str
    null_name: str = ""

    @property
    def main(self) -> Series:
        """The series the panel is named after."""
        return self.lines[0].series

    def extent(self) -> list[float | None]:
        """Every value that has to fit on the value axis."""
        out: list[float | None] = []
        for i, line in enumerate(self.lines):
            for p in line.series.points:
                out += [p.value] if line.thin else [p.value, p.lo, p.hi]
                if i == 0 and self.null_name:
                    out += [p.null, p.null_lo, p.null_hi]
        return out


class _Frame(NamedTuple):
    x: StepAxis
    y: ValueAxis

    def px(self, step: int) -> float:
        return LEFT + 6 + self.x.of(step) * (WIDTH - LEFT - RIGHT - 12)

    def py(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.y.at(value) * (HEIGHT - TOP - BOTTOM)


def draw(panel: Panel, x: StepAxis, y: ValueAxis, flags: dict[str, int]) -> Markup:
    """The panel as one <svg>, with the steps in `flags` marked by a line and a name."""
    f = _Frame(x, y)
    parts = [_grid(f), *(_flag(f, step, name) for name, step in flags.items())]
    if panel.null_name and panel.main.has_null:
        parts.append(_null(f, panel))
    for line in reversed(panel.lines):
        if not line.thin:
            parts.append(_band(f, line))
        parts.append(_curve(f, line))
    parts += [_marks(f, line) for line in reversed(panel.lines)]
    parts += _labels(f, panel)
    parts.append(_points(f, panel))
    known = [p for p in panel.main.points if p.value is not None]
    said = f"{panel.measure}, {panel.title}"
    if known:
        said += (
            f": {number(known[0].value)} at step {known[0].step}, {number(known[-1].value)} at step {known[-1].step}"
        )
    box = {"class": "chart", "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img", "aria-label": plain(said)}
    return tag("svg", box, *parts)


def _grid(f: _Frame) -> Markup:
    parts = []
    for tick in f.y.ticks:
        py = f.py(tick)
        axis = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": py, "y2": py, "class": "zero" if tick == 0 else "grid"}
        parts.append(tag("line", axis))
        parts.append(tag("text", {"x": LEFT - 6, "y": py + 3.8, "class": "tick end"}, tick_label(tick)))
    bottom = HEIGHT - BOTTOM
    for step in f.x.steps:
        px = f.px(step)
        parts.append(tag("line", {"x1": px, "x2": px, "y1": bottom, "y2": bottom + 3.5, "class": "axis"}))
    for step in f.x.labels(WIDTH - LEFT - RIGHT - 12, [f.x.steps[0], f.x.steps[-1]]):
        parts.append(tag("text", {"x": f.px(step), "y": bottom + 15, "class": "tick mid"}, f"{step}"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", {"x": middle, "y": HEIGHT - 4, "class": "name mid"}, f.x.caption))
    return Markup("").join(parts)


def flags_of(payload: Payload) -> dict[str, int]:
    """The steps every chart marks: the one to keep (or the one named for want of evidence), and a later reference."""
    verdict, reference = payload["verdict"], payload["reference"]
    flags = {}
    if verdict["step"] is not None:
        flags["keep" if decided(payload) else "named"] = verdict["step"]
    if reference not in (payload["steps"][0], verdict["step"]):
        flags["ref"] = reference
    return flags


def _flag(f: _Frame, step: int, name: str) -> Markup:
    px = f.px(step)
    css = "ref" if name == "ref" else "keep"
    line = tag("line", {"x1": px, "x2": px, "y1": TOP - 3, "y2": HEIGHT - BOTTOM, "class": css})
    half = len(name) * CHAR / 2
    at = min(max(px, LEFT + half), WIDTH - half)
    return line + tag("text", {"x": at, "y": TOP - 6, "class": f"{css}-name mid"}, name)


def _runs(points: Sequence[Point], ok: Sequence[str]) -> list[list[Point]]:
    """Stretches of consecutive points on which all the named fields are known."""
    out: list[list[Point]] = [[]]
    for p in points:
        if all(getattr(p, name) is not None for name in ok):
            out[-1].append(p)
        elif out[-1]:
            out.append([])
    return [run for run in out if run]


def _area(f: _Frame, points: Sequence[Point], lo: str, hi: str, css: str) -> Markup:
    parts = []
    for run in _runs(points, (lo, hi)):
        up = [(f.px(p.step), f.py(getattr(p, hi))) for p in run]
        down = [(f.px(p.step), f.py(getattr(p, lo))) for p in reversed(run)]
        if len(run) == 1:  # one checkpoint: a bar as wide as its marker
            (a, top), (_, bottom) = up[0], down[0]
            up, down = [(a - 4, top), (a + 4, top)], [(a + 4, bottom), (a - 4, bottom)]
        parts.append(tag("path", {"class": css, "d": _polyline([*up, *down]) + "z"}))
    return Markup("").join(parts)


def _polyline(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _band(f: _Frame, line: Line) -> Markup:
    return _area(f, line.series.points, "lo", "hi", f"band {line.css}")


def _curve(f: _Frame, line: Line) -> Markup:
    runs = [run for run in _runs(line.series.points, ("value",)) if len(run) > 1]
    paths = (_polyline([(f.px(p.step), f.py(p.value or 0.0)) for p in run]) for run in runs)
    css = f"curve {line.css}" + (" thin" if line.thin else "")
    return Markup("").join(tag("path", {"class": css, "d": d}) for d in paths)


def _null(f: _Frame, panel: Panel) -> Markup:
    points = panel.main.points
    parts = [_area(f, points, "null_lo", "null_hi", "null-band"), _area(f, points, "null_lo", "null_hi", "hatch")]
    for run in _runs(points, ("null",)):
        spots = [(f.px(p.step), f.py(p.null or 0.0)) for p in run]
        if len(spots) == 1:
            spots = [(spots[0][0] - 8, spots[0][1]), (spots[0][0] + 8, spots[0][1])]
        parts.append(tag("path", {"class": "null", "d": _polyline(spots)}))
    return Markup("").join(parts)


def _marks(f: _Frame, line: Line) -> Markup:
    shape = MARKERS["dot" if line.thin else line.marker]
    parts = []
    for p in line.series.points:
        if p.value is not None:
            at = f"translate({f.px(p.step):.1f} {f.py(p.value):.1f})"
            parts.append(tag("path", {"class": f"mark {line.css}", "d": shape, "transform": at}))
    return Markup("").join(parts)


def _labels(f: _Frame, panel: Panel) -> list[Markup]:
    """Names of the null and of the second lines, each where there is most room around it."""
    wanted: list[tuple[str, str, list[tuple[float, float]]]] = []
    curves = [[(f.px(p.step), f.py(p.value)) for p in ln.series.points if p.value is not None] for ln in panel.lines]
    for line, curve in zip(panel.lines, curves, strict=True):
        if line.label and curve:
            wanted.append((line.label, f"label {line.css}", curve))
    if panel.null_name and panel.main.has_null:
        null = [(f.px(p.step), f.py(p.null)) for p in panel.main.points if p.null is not None]
        curves.append(null)
        wanted.append((panel.null_name, "label null-name", null))
    taken: list[tuple[float, float, float, float]] = []
    out = []
    for text, css, curve in wanted:
        best = None
        half = len(text) * CHAR / 2
        middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in itertools.pairwise(curve)]
        for x, y in [*curve, *middles]:
            for dx in (0.0, half, -half):
                for dy in (-6.0, 13.0, -12.0, 19.0):
                    box = _box(text, x + dx, y + dy)
                    cost = abs(dy) / 8 + abs(dx) / 60 + 2 * _crossings(box, curves)
                    cost += sum(40.0 for b in taken if _overlap(box, b)) + 6.0 * _near(x, y, curve, curves)
                    if best is None or cost < best[0]:
                        best = (cost, box)
        if best:
            lo, top, hi, _ = best[1]
            taken.append(best[1])
            out.append(tag("text", {"x": (lo + hi) / 2, "y": top + 10, "class": f"{css} mid"}, text))
    return out


def _box(text: str, x: float, y: float) -> tuple[float, float, float, float]:
    half = len(text) * CHAR / 2
    x = min(max(x, LEFT + 2 + half), WIDTH - half - 1)
    y = min(max(y, TOP + 9), HEIGHT - BOTTOM - 3)
    return (x - half, y - 10, x + half, y + 3)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _near(x: float, y: float, own: list[tuple[float, float]], curves: list[list[tuple[float, float]]]) -> int:
    """How many other curves pass so close to a spot that a label there could be read as theirs."""
    found = 0
    for curve in curves:
        for (x1, y1), (x2, y2) in itertools.pairwise(curve):
            if curve is not own and x1 <= x <= x2 and x1 < x2 and abs(y1 + (y2 - y1) * (x - x1) / (x2 - x1) - y) < 16:
                found += 1
                break
    return found


def _crossings(box: tuple[float, float, float, float], curves: list[list[tuple[float, float]]]) -> float:
    """How much of the drawn curves runs under a label: samples of every segment that fall inside its box."""
    left, top, right, bottom = box[0] - 2, box[1] - 1, box[2] + 2, box[3] + 1
    inside = 0
    for curve in curves:
        for (x1, y1), (x2, y2) in zip(curve, curve[1:] or curve, strict=False):
            if x2 < left or x1 > right or max(y1, y2) < top or min(y1, y2) > bottom:
                continue
            for k in range(13):
                x, y = x1 + (x2 - x1) * k / 12, y1 + (y2 - y1) * k / 12
                inside += left < x < right and top < y < bottom
    return float(inside)


def _points(f: _Frame, panel: Panel) -> Markup:
    """Invisible columns that carry the figures of a step; hovered, focused, read aloud."""
    shown = [step for step in f.x.steps if any((p := ln.series.at(step)) and p.value is not None for ln in panel.lines)]
    parts = []
    for step in shown:
        px = f.px(step)
        around = [f.px(s) for s in f.x.steps]
        left = max((a for a in around if a < px), default=2 * LEFT - px)
        right = min((a for a in around if a > px), default=2 * WIDTH - px)
        a, b = max((left + px) / 2, LEFT - 4), min((right + px) / 2, WIDTH)
        hit = tag("rect", {"class": "hit", "x": a, "y": TOP, "width": b - a, "height": HEIGHT - TOP - BOTTOM})
        guide = tag("line", {"class": "guide", "x1": px, "x2": px, "y1": TOP, "y2": HEIGHT - BOTTOM})
        parts.append(tag("g", {"class": "pt"}, tag("title", None, tooltip(panel, step)), hit, guide))
    return Markup("").join(parts)


def tooltip(panel: Panel, step: int) -> str:
    """The figures of one step: value, interval, null, second lines, number of prompts."""
    lines = [f"step {step} · {panel.title}"]
    p = panel.main.at(step)
    for line in panel.lines:
        q = line.series.at(step)
        if q is None or q.value is None:
            continue
        name = panel.measure if line is panel.lines[0] and not line.label else line.label
        ci = interval(q.lo, q.hi)
        lines.append(f"{name} {number(q.value)} {panel.unit}".rstrip() + (f" (95 %: {ci})" if ci else ""))
    if p and panel.null_name and p.null is not None:
        ci = interval(p.null_lo, p.null_hi)
        lines.append(f"{panel.null_name} {number(p.null)}" + (f" ({ci})" if ci else ""))
    if p and p.samples is not None:
        lines.append(f"{p.samples} prompt{'' if p.samples == 1 else 's'}")
    return "\n".join(lines)
