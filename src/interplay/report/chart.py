"""Every chart over one axis: panels and strips, as SVG made from the same few pieces.

Colours come from the style sheet, so it shows without JavaScript, in dark mode and on paper. Each place carries its figures as
a <title>; the page's script turns these into tooltips for mouse and keys.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from interplay.report.rows import Point, Series
from interplay.report.scales import StepAxis, ValueAxis, tick_label
from interplay.report.text import interval, number, plain, tag

CHAR = 6.6  # generous width of a character at the charts' 11 px

Spot = tuple[float, float]
# Shapes relative to their middle: where they start, and the rest of the path.
MARKERS = {
    "circle": (-3.2, 0.0, "a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z"),
    "diamond": (0.0, -4.2, "l4.2 4.2l-4.2 4.2l-4.2-4.2z"),
    "square": (-3.0, -3.0, "h6v6h-6z"),
    "dot": (-2.0, 0.0, "a2 2 0 1 0 4 0a2 2 0 1 0-4 0z"),
    "small": (-2.8, 0.0, "a2.8 2.8 0 1 0 5.6 0a2.8 2.8 0 1 0-5.6 0z"),
    "dots": (0.0, 0.0, "h0"),  # strokes without length: their round caps are the dots
}


class Frame(NamedTuple):
    """The area of a chart, in units of its view box, y downwards, with both axes; `inset`: room before the first place."""

    x: StepAxis
    y: ValueAxis
    left: float
    right: float
    top: float
    bottom: float
    inset: float = 6.0

    def px(self, x: float) -> float:
        return self.left + self.inset + self.x.of(x) * (self.right - self.left - 2 * self.inset)

    def py(self, value: float) -> float:
        return self.bottom - self.y.of(value) * (self.bottom - self.top)

    def spots(self, points: Iterable[Point], field: str = "value") -> list[Spot]:
        """Where one figure of each point lies, as far as it is known."""
        return [(self.px(p.step), self.py(v)) for p in points if (v := getattr(p, field)) is not None]


class Line(NamedTuple):
    """One series of a chart; a label of one or two characters is written at its end, a longer one near it.

    marker   its marks, one of `MARKERS`; "" for none
    null     class of the line of its null; "" for none
    ring     the step around whose mark there is a ring
    """

    series: Series
    css: str
    marker: str = "circle"
    label: str = ""
    thin: bool = False
    null: str = ""
    ring: float | None = None


class Panel(NamedTuple):
    """What one small chart shows.

    null_name      name of the null of the first line, drawn as a hatched band; "" for none
    level          a value to compare all lines with, and its name
    tips, said     tooltips of the places, and the chart in a sentence, instead of `tooltip` of the lines
    width, height  of the view box; margin: room right of the plot
    """

    title: str
    css: str
    lines: tuple[Line, ...]
    unit: str
    measure: str
    null_name: str = ""
    level: tuple[float, str] | None = None
    tips: Sequence[tuple[float, str]] = ()
    said: str = ""
    width: float = 264.0
    height: float = 180.0
    margin: float = 12.0

    @property
    def main(self) -> Series:
        return self.lines[0].series

    def extent(self) -> list[float | None]:
        """Every value that has to fit on the value axis."""
        out: list[float | None] = [] if self.level is None else [self.level[0]]
        for i, line in enumerate(self.lines):
            for p in line.series.points:
                out += [p.value] if line.thin else [p.value, p.lo, p.hi]
                out += [p.null] if line.null else []
                out += [p.null, p.null_lo, p.null_hi] if i == 0 and self.null_name else []
        return out


# Pieces


def path(css: str, spots: Sequence[Spot], end: str = "") -> Markup:
    """A line through all the spots, as one path.

    >>> path("curve", [(1.0, 2.0), (3.0, 4.0)])
    Markup('<path class="curve" d="M1.0 2.0L3.0 4.0"/>')
    """
    return tag("path", {"class": css, "d": "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots) + end})


def markers(spots: Iterable[Spot], marker: str, css: str) -> Markup:
    """One path for the marks of a line, whatever their number.

    >>> markers([(10.0, 20.0)], "square", "s-all")
    Markup('<path class="mark s-all" d="M7.0 17.0h6v6h-6z"/>')
    """
    dx, dy, shape = MARKERS[marker]
    d = "".join(f"M{x + dx:.1f} {y + dy:.1f}{shape}" for x, y in spots)
    return tag("path", {"class": f"{'dots' if marker == 'dots' else 'mark'} {css}", "d": d}) if d else Markup("")


def stretches(points: Iterable[Point], *fields: str) -> list[list[Point]]:
    """Consecutive points at which all the named fields are known."""
    known = itertools.groupby(points, key=lambda p: all(getattr(p, field) is not None for field in fields))
    return [list(run) for ok, run in known if ok]


def area(f: Frame, points: Iterable[Point], lo: str, hi: str, css: str, half: float = 4.0) -> Markup:
    """Between two figures of each point ('' = zero); a single checkpoint is a bar of twice `half`."""
    parts = []
    for run in stretches(points, *filter(None, (lo, hi))):
        up = [(f.px(p.step), f.py(getattr(p, hi))) for p in run]
        down = [(f.px(p.step), f.py(getattr(p, lo) if lo else 0.0)) for p in reversed(run)]
        if len(run) == 1:
            ((x, top),), ((_, bottom),) = up, down
            up, down = [(x - half, top), (x + half, top)], [(x + half, bottom), (x - half, bottom)]
        parts.append(path(css, [*up, *down], "z"))
    return Markup("").join(parts)


def curve(f: Frame, points: Iterable[Point], field: str, css: str, half: float = 0.0) -> Markup:
    """A line through one figure of each point; a single checkpoint is a stroke of twice `half`, or nothing."""
    parts = []
    for spots in (f.spots(run, field) for run in stretches(points, field)):
        if len(spots) == 1:
            ((x, y),) = spots
            spots = [(x - half, y), (x + half, y)] if half else []
        if spots:
            parts.append(path(css, spots))
    return Markup("").join(parts)


def null(f: Frame, points: Sequence[Point], half: float = 8.0) -> Markup:
    """The null: its interval hatched, its mean dashed."""
    bands = [area(f, points, "null_lo", "null_hi", css, half / 2) for css in ("null-band", "hatch")]
    return Markup("").join([*bands, curve(f, points, "null", "null", half)])


def value_ticks(f: Frame, ticks: Sequence[float], small: bool = False) -> Markup:
    """Lines across the chart with their values before them."""
    css, gap, down = ("tick small end", 4.0, 3.2) if small else ("tick end", 6.0, 3.8)
    parts = []
    for tick in dict.fromkeys(ticks):
        y = f.py(tick)
        parts.append(across(f, y, "grid" if tick else "zero"))
        parts.append(tag("text", {"x": f.left - gap, "y": y + down, "class": css}, tick_label(tick)))
    return Markup("").join(parts)


def across(f: Frame, y: float, css: str) -> Markup:
    return tag("line", {"x1": f.left, "x2": f.right, "y1": y, "y2": y, "class": css})


def upright(x: float, top: float, bottom: float, css: str) -> Markup:
    return tag("line", {"x1": x, "x2": x, "y1": top, "y2": bottom, "class": css})


def step_ticks(f: Frame, bottom: float) -> Markup:
    """A tick at every place of the axis, and as many labels as fit."""
    parts = [upright(f.px(x), bottom, bottom + 3.5, "axis") for x in f.x.ticks]
    for x in f.x.labels(f.right - f.left - 2 * f.inset):
        parts.append(tag("text", {"x": f.px(x), "y": bottom + 15, "class": "tick mid"}, f.x.text(x)))
    return Markup("").join(parts)


def flag(f: Frame, step: int, name: str, top: float, bottom: float, most: float) -> Markup:
    """A line and a name at a step: the one to keep, or the reference."""
    css, half = "ref" if name == "ref" else "keep", len(name) * CHAR / 2
    at = min(max(f.px(step), f.left + half), most - half)
    text = tag("text", {"x": at, "y": top - 3, "class": f"{css}-name mid"}, name)
    return upright(f.px(step), top, bottom, css) + text


def end_labels(ends: Iterable[tuple[float, float, str, str]], gap: float, most: float) -> Markup:
    """Texts (y, x, class, text) at the ends of lines, moved until they are `gap` apart and none lies below `most`."""
    ordered, parts, at = sorted(ends), [], float("-inf")
    for i, (y, x, css, text) in enumerate(ordered, 1):
        at = min(max(y, at + gap), most - gap * (len(ordered) - i))
        parts.append(tag("text", {"x": x, "y": at, "class": css}, text))
    return Markup("").join(parts)


def layers(f: Frame, lines: Sequence[Line]) -> list[Markup]:
    """Bands, nulls, curves and marks of some lines, the first line on top."""
    lines = lines[::-1]
    parts = [area(f, line.series.points, "lo", "hi", f"band {line.css}") for line in lines if not line.thin]
    parts += [curve(f, line.series.points, "null", line.null, 8.0) for line in lines if line.null]
    for line in lines:
        if line.marker != "dots":
            parts.append(curve(f, line.series.points, "value", f"curve {line.css}" + (" thin" if line.thin else "")))
    for line in lines:
        points = line.series.points
        if line.marker:
            parts.append(markers(f.spots(points), "dot" if line.thin else line.marker, line.css))
        for cx, cy in f.spots(p for p in points if p.step == line.ring):
            parts.append(tag("circle", {"cx": cx, "cy": cy, "r": 5.2, "class": f"ring {line.css}"}))
    return parts


def hits(f: Frame, tips: Sequence[tuple[float, str]], edge: float) -> Markup:
    """Invisible columns that carry the tooltips of the places; none for empty texts."""
    at, parts = [f.px(x) for x, _ in tips], []
    for i, (px, (_, text)) in enumerate(zip(at, tips, strict=True)):
        a = (at[i - 1] + px) / 2 if i else f.left
        b = (px + at[i + 1]) / 2 if i + 1 < len(at) else edge
        if text:
            hit = tag("rect", {"class": "hit", "x": a, "y": f.top, "width": b - a, "height": f.bottom - f.top})
            parts.append(point(text, hit, upright(px, f.top, f.bottom, "guide")))
    return Markup("").join(parts)


def point(text: str, *inside: Markup) -> Markup:
    """One place of a chart with its tooltip."""
    return tag("g", {"class": "pt"}, tag("title", None, text), *inside)


def figure(name: str, p: Point, unit: str = "", interval_name: str = "") -> str:
    """A value in a tooltip, with its interval."""
    ci = interval(p.lo, p.hi)
    return f"{name} {number(p.value)} {unit}".rstrip() + (f" ({interval_name}{ci})" if ci else "")


def prompts(count: int) -> str:
    return f"{count} prompt{'' if count == 1 else 's'}"


def svg(width: float, height: float, said: str, parts: Iterable[Any], css: str = "chart") -> Markup:
    """The chart as one element; `said` is for screen readers."""
    box = {"class": css, "viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": plain(said)}
    return tag("svg", box, *parts)


# A panel: one small chart


def draw(panel: Panel, x: StepAxis, y: ValueAxis, flags: Mapping[str, int] | None = None) -> Markup:
    """The panel as one <svg>, with the steps in `flags` marked by a line and a name."""
    inset = 6.0 if x.some is None else 0.0
    f = Frame(x, y, 40.0, panel.width - panel.margin, 17.0, panel.height - 35, inset)
    caption = tag("text", {"x": (f.left + f.right) / 2, "y": f.bottom + 31, "class": "name mid"}, x.caption)
    parts = [value_ticks(f, y.ticks), step_ticks(f, f.bottom), caption]
    parts += [flag(f, step, name, f.top - 3, f.bottom, panel.width) for name, step in (flags or {}).items()]
    if panel.null_name and panel.main.has_null:
        parts.append(null(f, panel.main.points))
    if panel.level:
        parts.append(across(f, f.py(panel.level[0]), "null"))
    parts += layers(f, panel.lines)
    parts += _names(f, panel)
    tips = panel.tips or [(step, tooltip(panel, step)) for step in x.steps]
    parts.append(hits(f, tips, panel.width))
    known = [f"{number(p.value)} at step {p.step}" for p in panel.main.points if p.value is not None]
    ends = f": {known[0]}, {known[-1]}" if known else ""
    said = panel.said or f"{panel.measure}, {panel.title}{ends}"
    return svg(panel.width, panel.height, said, parts)


def cell(
    panel: Panel, x: StepAxis, y: ValueAxis, flags: Mapping[str, int] | None = None, **more: Any
) -> dict[str, Any]:
    """The panel drawn, with its heading; `more`: what is said under it (`say`), a note, a table, or another unit."""
    of = {"title": panel.title, "css": panel.css, "unit": panel.unit, "say": "", "note": "", "table": None}
    return {**of, "svg": draw(panel, x, y, flags), **more}


def _names(f: Frame, panel: Panel) -> list[Markup]:
    """Names of the lines, of the null and of the level; lines of a legend have its mark at their end."""
    wanted: list[tuple[str, str, list[Spot]]] = []
    ends = []
    curves = [f.spots(line.series.points) for line in panel.lines]
    for line, spots in zip(panel.lines, curves, strict=True):
        if 0 < len(line.label) < 3 and spots:
            ends.append((spots[-1][1] + 4, spots[-1][0] + 9, f"label end-mark {line.css}", line.label))
        elif line.label and spots:
            wanted.append((line.label, f"label {line.css}", spots))
    if panel.null_name and panel.main.has_null:
        wanted.append((panel.null_name, "label null-name", f.spots(panel.main.points, "null")))
    if panel.level:
        y = f.py(panel.level[0])
        wanted.append((panel.level[1], "label null-name", [(f.px(x), y) for x in (f.x.steps[0], f.x.steps[-1])]))
    curves += [spots for _, css, spots in wanted if css == "label null-name"]
    room = Box(f.left + 2, f.top, panel.width - 1, f.bottom)
    boxes = place([(text, spots) for text, _, spots in wanted], curves, room)
    out = [end_labels(ends, 11.0, f.bottom)]
    for (text, css, _), box in zip(wanted, boxes, strict=True):
        out.append(tag("text", {"x": (box.left + box.right) / 2, "y": box.top + 10, "class": f"{css} mid"}, text))
    return out


def tooltip(panel: Panel, step: float) -> str:
    """The figures of one step: value, interval, null, second lines, number of prompts; '' where there are none."""
    lines = []
    for line in panel.lines:
        q = line.series.at(step)
        if q is not None and q.value is not None:
            name = panel.measure if line is panel.lines[0] and not line.label else line.label
            lines.append(figure(name, q, panel.unit, "95 %: "))
    p = panel.main.at(step)
    if not lines:
        return ""
    if p and panel.null_name and p.null is not None:
        lines.append(figure(panel.null_name, Point(p.step, p.null, p.null_lo, p.null_hi)))
    if p and p.samples is not None:
        lines.append(prompts(p.samples))
    return "\n".join([f"step {step} · {panel.title}", *lines])


# Names of curves, each placed near its curve where there is most room


class Box(NamedTuple):
    """The box of a text; its baseline is 3 units above `bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def place(names: Sequence[tuple[str, Sequence[Spot]]], curves: Sequence[Sequence[Spot]], area: Box) -> list[Box]:
    """One box inside `area` for each name (text and its curve): near that curve, off all curves, off each other.

    >>> place([("ab", [(50.0, 50.0)])], [[(50.0, 50.0)]], Box(0.0, 0.0, 100.0, 100.0))  # 13.2 wide, 6 above its curve
    [Box(left=43.4, top=34.0, right=56.6, bottom=47.0)]
    """
    dense = [_sampled(curve) for curve in curves]
    taken: list[Box] = []
    for text, curve in names:
        half = len(text) * CHAR / 2
        boxes, far = [], []
        for x, y in _sampled(curve)[::3]:
            middle = min(max(x, area.left + half), area.right - half)
            for dy in (-6.0, 13.0, -12.0, 19.0):
                base = min(max(y + dy, area.top + 9), area.bottom - 3)
                boxes.append(Box(middle - half, base - 10, middle + half, base + 3))
                far.append(abs(dy) / 8 + 40 * sum(map(boxes[-1].overlaps, taken)))
        covered = _near(boxes, itertools.chain(*dense), 2.0)
        others = (spots for own, spots in zip(curves, dense, strict=True) if own is not curve)
        costs = np.array(far) + 2 * covered + 0.5 * _near(boxes, itertools.chain(*others), 9.0)
        taken.append(min([*zip(costs, boxes, strict=True), (np.inf, area)])[1])
    return taken


def _near(boxes: Sequence[Box], spots: Iterable[Spot], room: float) -> np.ndarray:
    """How many spots lie less than `room` from each box: [boxes]."""
    left, top, right, bottom = np.add(np.reshape(boxes, (-1, 4)), (-room, -room, room, room)).T[..., None]
    x, y = np.reshape([*spots], (-1, 2)).T
    return ((left < x) & (x < right) & (top < y) & (y < bottom)).sum(1)


def _sampled(curve: Sequence[Spot]) -> list[Spot]:
    """The spots of a curve with eleven more on each stretch between two."""
    between = [
        (x1 + (x2 - x1) * k / 12, y1 + (y2 - y1) * k / 12)
        for (x1, y1), (x2, y2) in itertools.pairwise(curve)
        for k in range(12)
    ]
    return [*between, *curve[-1:]]


# Strips: several measures above each other on one axis of steps


def draw_stack(
    strips: Sequence[tuple[str, Panel, ValueAxis]], x: StepAxis, flags: Mapping[str, int], said: str
) -> Markup:
    """Panels as strips of one <svg>, each with its group's title and its axis; steps in `flags` are marked."""
    width, left, right, tall, gap = 1080.0, 222.0, 972.0, 62.0, 20.0
    parts: list[Markup] = []
    top, last = 22.0, ""
    for group, panel, y in strips:
        if group != last:
            top += 10.0 if last else 0.0
            parts.append(tag("text", {"x": 0.0, "y": top + 2, "class": "group"}, group))
            top, last = top + 16.0, group
        parts.append(_strip(panel, Frame(x, y, left, right, top, top + tall, 8.0)))
        top += tall + gap
    f = Frame(x, ValueAxis(0.0, 1.0, ()), left, right, 22.0, top - gap, 8.0)
    below = f.bottom + 6
    axis = [across(f, below, "axis"), step_ticks(f, below)]
    axis.append(tag("text", {"x": right + 12, "y": below + 15, "class": "name"}, x.caption.split(",")[0]))
    marks = [flag(f, step, name, 13.0, below, width) for name, step in flags.items()]
    tips = []
    for step in x.steps:
        figures = []
        for title, line in ((panel.title, line) for _, panel, _ in strips for line in panel.lines):
            p = line.series.at(step)
            if p and p.value is not None:
                figures.append(figure(", ".join(filter(None, (title, line.label))) + ":", p))
        tips.append((step, "\n".join([f"step {step}", *figures]) if figures else ""))
    parts = [*axis, *marks, *parts, hits(f, tips, right)]
    return svg(width, f.bottom + 34, said, parts, "chart stack-chart")


def _strip(panel: Panel, f: Frame) -> Markup:
    first = panel.main.points
    parts = [
        tag("text", {"x": 0.0, "y": f.top + 14, "class": "strip-name"}, panel.title),
        tag("text", {"x": 0.0, "y": f.top + 29, "class": "name"}, panel.unit),
        value_ticks(f, (f.y.ticks[0], f.y.ticks[-1])),
        null(f, first) if panel.null_name else Markup(""),
        *layers(f, panel.lines),
    ]
    named = [(f.spots(line.series.points), f"label {line.css}", line.label) for line in panel.lines]
    named += [(f.spots(first, "null"), "label null-name", panel.null_name)]
    ends = [(spots[-1][1] + 3.8, f.right + 12, css, name) for spots, css, name in named if spots and name]
    return Markup("").join([*parts, end_labels(ends, 12.0, f.bottom + 3.8)])
