"""A chart the size of a table cell: one figure of one view, over the curve of the main trajectory. Drawing only."""

from collections.abc import Callable
from typing import NamedTuple

from markupsafe import Markup

from interplay.report.rows import Series
from interplay.report.scales import StepAxis, ValueAxis, tick_label
from interplay.report.text import interval, number, plain, tag

WIDTH, HEIGHT = 122.0, 66.0
LEFT, RIGHT, TOP, BOTTOM = 26.0, 5.0, 6.0, 6.0


class Spark(NamedTuple):
    """The view's curve in the set's colour, and the main one behind it (None: this is the main one)."""

    series: Series
    behind: Series | None
    css: str
    title: str


def draw_spark(spark: Spark, x: StepAxis, y: ValueAxis, keep: int | None, labelled: bool) -> Markup:
    """The cell as one <svg>; `labelled`: with the first and last step under it."""

    def px(step: int) -> float:
        return LEFT + 3 + x.of(step) * (WIDTH - LEFT - RIGHT - 6)

    def py(value: float) -> float:
        return HEIGHT - BOTTOM - y.at(value) * (HEIGHT - TOP - BOTTOM)

    def line(series: Series, css: str) -> Markup:
        spots = [(px(p.step), py(p.value)) for p in series.points if p.value is not None]
        if len(spots) == 1:
            return tag("circle", {"class": f"dot {css}", "cx": spots[0][0], "cy": spots[0][1], "r": 2.0})
        return tag("path", {"class": f"curve {css}", "d": "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)})

    parts = []
    for tick in (y.ticks[0], y.ticks[-1]):
        at = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": py(tick), "y2": py(tick), "class": "grid"}
        label = {"x": LEFT - 4, "y": py(tick) + 3.2, "class": "tick small end"}
        parts += [tag("line", at), tag("text", label, tick_label(tick))]
    if keep is not None:
        parts.append(tag("line", {"x1": px(keep), "x2": px(keep), "y1": TOP, "y2": HEIGHT - BOTTOM, "class": "keep"}))
    known = [p for p in spark.series.points if p.lo is not None and p.hi is not None]
    if len(known) > 1:
        up = [(px(p.step), py(p.hi)) for p in known if p.hi is not None]
        down = [(px(p.step), py(p.lo)) for p in reversed(known) if p.lo is not None]
        d = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in [*up, *down]) + "z"
        parts.append(tag("path", {"class": f"band {spark.css}", "d": d}))
    if spark.behind is not None and spark.behind.known:
        parts.append(line(spark.behind, "behind"))
    parts.append(line(spark.series, spark.css))
    tall = HEIGHT
    if labelled:
        tall += 11
        for step, css in ((x.steps[0], ""), (x.steps[-1], " end")):
            at = {"x": LEFT if not css else WIDTH - RIGHT, "y": HEIGHT + 7, "class": f"tick small{css}"}
            parts.append(tag("text", at, f"{step}"))
    parts += _points(spark, x, px)
    box = {"viewBox": f"0 0 {WIDTH:g} {tall:g}", "role": "img", "aria-label": plain(spark.title), "class": "spark"}
    return tag("svg", box, *parts)


def _points(spark: Spark, x: StepAxis, px: Callable[[int], float]) -> list[Markup]:
    """One tooltip for the cell: first, and last value, of the view and of the main trajectory."""
    lines = [spark.title]
    for name, series in (("", spark.series), ("main: ", spark.behind)):
        known = [p for p in series.points if p.value is not None] if series else []
        for p in dict.fromkeys([known[0], known[-1]]) if known else ():
            ci = interval(p.lo, p.hi)
            lines.append(f"{name}step {p.step}: {number(p.value)}" + (f" ({ci})" if ci else ""))
    hit = tag("rect", {"class": "hit", "x": 0.0, "y": 0.0, "width": WIDTH, "height": HEIGHT})
    return [tag("g", {"class": "pt"}, tag("title", None, "\n".join(lines)), hit)]
