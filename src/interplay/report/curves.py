"""A small chart whose horizontal axis is no step: strength by rank, scores by coalition. Drawing only.

Same size and style as the panels over steps (`panels`); figures of a few places are carried as tooltips.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from interplay.report.labels import Frame, place
from interplay.report.scales import ValueAxis, tick_label
from interplay.report.text import plain, tag

LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 17.0, 35.0
HEIGHT = 180.0


class Curve(NamedTuple):
    """One curve: x and y (None = not known), a band lo-hi (empty: none), its class and name; `dots`: not joined by a line."""

    x: Sequence[float]
    y: Sequence[float | None]
    css: str
    label: str = ""
    lo: Sequence[float | None] = ()
    hi: Sequence[float | None] = ()
    dots: bool = False


class Axes(NamedTuple):
    """Both axes; `ticks` of x with their labels, `log_x`: by the logarithm. `level`: a horizontal line and its name."""

    x_lo: float
    x_hi: float
    ticks: Sequence[tuple[float, str]]
    caption: str
    y: ValueAxis
    log_x: bool = False
    level: tuple[float, str] | None = None
    width: float = 264.0

    def px(self, x: float) -> float:
        """Horizontal place of a value."""
        a, b, v = (math.log(t) for t in (self.x_lo, self.x_hi, x)) if self.log_x else (self.x_lo, self.x_hi, x)
        return LEFT + (v - a) / (b - a or 1.0) * (self.width - LEFT - RIGHT)

    def py(self, y: float) -> float:
        """Vertical place of a value."""
        return HEIGHT - BOTTOM - self.y.at(y) * (HEIGHT - TOP - BOTTOM)


def draw_curves(curves: Sequence[Curve], axes: Axes, tips: Sequence[tuple[float, str]], said: str) -> Markup:
    """The chart as one <svg>; `tips` are (x, text), shown for the stretch around that x."""
    a, bottom = axes, HEIGHT - BOTTOM
    parts = []
    for tick in a.y.ticks:
        line = {"x1": LEFT, "x2": a.width - RIGHT, "y1": a.py(tick), "y2": a.py(tick)}
        parts.append(tag("line", {**line, "class": "zero" if tick == 0 else "grid"}))
        parts.append(tag("text", {"x": LEFT - 6, "y": a.py(tick) + 3.8, "class": "tick end"}, tick_label(tick)))
    for x, text in a.ticks:
        parts.append(tag("line", {"x1": a.px(x), "x2": a.px(x), "y1": bottom, "y2": bottom + 3.5, "class": "axis"}))
        parts.append(tag("text", {"x": a.px(x), "y": bottom + 15, "class": "tick mid"}, text))
    middle = (LEFT + a.width - RIGHT) / 2
    parts.append(tag("text", {"x": middle, "y": HEIGHT - 4, "class": "name mid"}, a.caption))
    if a.level:
        y = a.py(a.level[0])
        parts.append(tag("line", {"x1": LEFT, "x2": a.width - RIGHT, "y1": y, "y2": y, "class": "null"}))
    spots = [[(a.px(x), a.py(y)) for x, y in zip(c.x, c.y, strict=True) if y is not None] for c in curves]
    parts += [_band(c, a) for c in curves if c.lo]
    for curve, line in zip(curves, spots, strict=True):
        if curve.dots:
            d = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in line)  # strokes without length: their round caps are the dots
            parts.append(tag("path", {"class": f"dots {curve.css}", "d": d}))
        elif len(line) > 1:
            parts.append(tag("path", {"class": f"curve {curve.css}", "d": _line(line)}))
    parts += _names(curves, spots, a)
    parts += _tips(tips, a)
    box = {"class": "chart", "viewBox": f"0 0 {a.width:g} {HEIGHT:g}", "role": "img", "aria-label": plain(said)}
    return tag("svg", box, *parts)


def _line(spots: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)


def _band(curve: Curve, a: Axes) -> Markup:
    known = [(x, lo, hi) for x, lo, hi in zip(curve.x, curve.lo, curve.hi, strict=True) if None not in (lo, hi)]
    up = [(a.px(x), a.py(hi)) for x, _, hi in known if hi is not None]
    down = [(a.px(x), a.py(lo)) for x, lo, _ in reversed(known) if lo is not None]
    return tag("path", {"class": f"band {curve.css}", "d": _line([*up, *down]) + "z"}) if up else Markup("")


def _names(curves: Sequence[Curve], spots: Sequence[Sequence[tuple[float, float]]], a: Axes) -> list[Markup]:
    wanted = [(c.label, f"label {c.css}", line) for c, line in zip(curves, spots, strict=True) if c.label and line]
    every = list(spots)
    if a.level:
        line = [(a.px(x), a.py(a.level[0])) for x in (a.x_lo, a.x_hi)]
        every.append(line)
        wanted.append((a.level[1], "label null-name", line))
    frame = Frame(LEFT + 2, a.width - 1, TOP, HEIGHT - BOTTOM)
    boxes = place([(text, line) for text, _, line in wanted], every, frame)
    return [
        tag("text", {"x": (b.left + b.right) / 2, "y": b.top + 10, "class": f"{css} mid"}, text)
        for (text, css, _), b in zip(wanted, boxes, strict=True)
    ]


def _tips(tips: Sequence[tuple[float, str]], a: Axes) -> list[Markup]:
    places = [a.px(x) for x, _ in tips]
    out = []
    for i, (at, (_, text)) in enumerate(zip(places, tips, strict=True)):
        left = (places[i - 1] + at) / 2 if i else LEFT - 4
        right = (at + places[i + 1]) / 2 if i + 1 < len(places) else a.width - RIGHT + 8
        guide = tag("line", {"class": "guide", "x1": at, "x2": at, "y1": TOP, "y2": HEIGHT - BOTTOM})
        hit = tag("rect", {"class": "hit", "x": left, "y": TOP, "width": right - left, "height": HEIGHT - TOP - BOTTOM})
        out.append(tag("g", {"class": "pt"}, tag("title", None, text), guide, hit))
    return out
