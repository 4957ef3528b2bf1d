"""One small chart: a measure of one set over the steps, its interval, its null, and the checkpoint to keep.

Static SVG with colours from the page's style sheet (classes, CSS variables), so it shows without JavaScript, in the dark
and on paper. Each point carries its figures as a <title>; the page's script turns these into tooltips for mouse and keys.
It decides nothing about which measures there are: that is `figures`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from interplay.report.labels import CHAR, Frame, Spot, place
from interplay.report.rows import Point, Series, decided
from interplay.report.scales import StepAxis, ValueAxis, tick_label
from interplay.report.schema import Payload
from interplay.report.text import interval, number, plain, tag

WIDTH, HEIGHT = 264.0, 180.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 17.0, 35.0

# Shapes relative to their middle: where they start, and the rest of the path.
MARKERS = {
    "circle": (-3.2, 0.0, "a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z"),
    "diamond": (0.0, -4.2, "l4.2 4.2l-4.2 4.2l-4.2-4.2z"),
    "square": (-3.0, -3.0, "h6v6h-6z"),
    "dot": (-2.0, 0.0, "a2 2 0 1 0 4 0a2 2 0 1 0-4 0z"),
}


def markers(spots: Sequence[Spot], marker: str, css: str) -> Markup:
    """One path for the marks of a line, whatever their number.

    >>> markers([(10.0, 20.0)], "square", "s-all")
    Markup('<path class="mark s-all" d="M7.0 17.0h6v6h-6z"/>')
    """
    dx, dy, shape = MARKERS[marker]
    d = "".join(f"M{x + dx:.1f} {y + dy:.1f}{shape}" for x, y in spots)
    return tag("path", {"class": f"mark {css}", "d": d}) if d else Markup("")


class Line(NamedTuple):
    """One series on a panel; `label` is written beside it (the main series is named by the panel's title)."""

    series: Series
    css: str
    marker: str = "circle"
    label: str = ""
    thin: bool = False


class Panel(NamedTuple):
    """What one small chart shows. `null_name` is the name of the null drawn for the first line ('' = none).

    `spread`: points whose lo and hi are the least and the largest of several lines; `level`: a value to hold all lines
    against, with its name.
    """

    title: str
    css: str
    lines: tuple[Line, ...]
    unit: str
    measure: str
    null_name: str = ""
    spread: tuple[Point, ...] = ()
    level: tuple[float, str] | None = None

    @property
    def main(self) -> Series:
        """The series the panel is named after."""
        return self.lines[0].series

    def extent(self) -> list[float | None]:
        """Every value that has to fit on the value axis."""
        out: list[float | None] = [] if self.level is None else [self.level[0]]
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
    if panel.spread:
        parts.append(_area(f, panel.spread, "lo", "hi", f"spread {panel.css}"))
    if panel.level:
        spot = f.py(panel.level[0])
        parts.append(tag("line", {"class": "null", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": spot, "y2": spot}))
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
    spots = [(f.px(p.step), f.py(p.value)) for p in line.series.points if p.value is not None]
    return markers(spots, "dot" if line.thin else line.marker, line.css)


def _labels(f: _Frame, panel: Panel) -> list[Markup]:
    """Names of the null, of the level and of the second lines; lines numbered in a legend carry their numeral."""
    wanted: list[tuple[str, str, list[Spot]]] = []
    ends: list[tuple[float, Line]] = []
    curves = [[(f.px(p.step), f.py(p.value)) for p in ln.series.points if p.value is not None] for ln in panel.lines]
    for line, curve in zip(panel.lines, curves, strict=True):
        if line.label.isdigit() and curve:
            ends.append((curve[-1][1], line))
        elif line.label and curve:
            wanted.append((line.label, f"label {line.css}", curve))
    if panel.null_name and panel.main.has_null:
        null = [(f.px(p.step), f.py(p.null)) for p in panel.main.points if p.null is not None]
        curves.append(null)
        wanted.append((panel.null_name, "label null-name", null))
    if panel.level:
        line = [(f.px(step), f.py(panel.level[0])) for step in f.x.steps]
        curves.append(line)
        wanted.append((panel.level[1], "label null-name", line))
    inside = Frame(LEFT + 2, WIDTH - 1, TOP, HEIGHT - BOTTOM)
    boxes = place([(text, curve) for text, _, curve in wanted], curves, inside)
    return [
        tag("text", {"x": (box.left + box.right) / 2, "y": box.top + 10, "class": f"{css} mid"}, text)
        for (text, css, _), box in zip(wanted, boxes, strict=True)
    ] + _end_marks(ends)


def _end_marks(ends: list[tuple[float, Line]]) -> list[Markup]:
    """Numerals at the right end of lines that are numbered in a legend, pushed apart where they would touch."""
    out, above = [], 0.0
    for y, line in sorted(ends, key=lambda end: end[0]):
        above = max(y + 3.5, above + 9.5)
        out.append(tag("text", {"x": WIDTH - RIGHT - 1, "y": above, "class": f"label end-mark {line.css}"}, line.label))
    return out


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
