"""Order histograms as small multiples: one cell per set and checkpoint, one scale for all.

Positive effects grow upwards and negative ones downwards, the churn floor is an outline, and the numeric noise floor a
hatched belt around zero. Only drawing and its table; the sums by order arrive in the summary.
"""

from typing import Any, NamedTuple

from markupsafe import Markup

from interplay.report.rows import Point, Summary
from interplay.report.scales import ValueAxis, tick_label, value_axis
from interplay.report.schema import Payload
from interplay.report.text import interval, number, tag

WIDTH, HEIGHT = 132.0, 104.0
LEFT, RIGHT, TOP, BOTTOM = 25.0, 3.0, 4.0, 14.0
SETS = ("preserved", "emerged", "removed")


class Bar(NamedTuple):
    """The sums of one order in one cell."""

    order: int
    positive: Point | None
    negative: Point | None
    noise: float


def _bars(summary: Summary, reading: str, set_: str, step: int, reference: int) -> list[Bar]:
    """Removed effects are those of the reference, so the noise they stand beside is the reference's."""
    out = []
    for order in range(1, summary.largest_order + 1):
        positive = summary.series(reading, set_, "positive", order).at(step)
        negative = _downwards(summary.series(reading, set_, "negative", order).at(step))
        noise = summary.anywhere("all", "noise", order).at(reference if set_ == "removed" else step)
        out.append(Bar(order, positive, negative, (noise.value if noise else None) or 0.0))
    return out


def _downwards(p: Point | None) -> Point | None:
    """Sums of negative effects as negative numbers, whichever way the table writes them."""
    if p is None or (p.value or p.null or 0.0) <= 0:
        return p
    flip = [None if v is None else -v for v in (p.value, p.hi, p.lo, p.null, p.null_hi, p.null_lo)]
    return Point(p.step, *flip, samples=p.samples)


def histogram_row(payload: Payload, summary: Summary, reading: str, keep: int | None) -> dict[str, Any]:
    """All cells of one reading, by set, with their table; no cells when the table holds no sums by order."""
    cells = {
        (set_, step): _bars(summary, reading, set_, step, payload["reference"])
        for set_ in SETS
        for step in payload["steps"]
    }
    every = [p for bars in cells.values() for bar in bars for p in (bar.positive, bar.negative) if p]
    values = [v for p in every for v in (p.value, p.null)]
    if not any(v is not None for v in values):
        return {"sets": [], "table": None, "note": "Sums by order were not measured in this run."}
    y = value_axis(values, about=4)
    sets = []
    for set_ in SETS:
        drawn = []
        for step in payload["steps"]:
            bars = cells[set_, step]
            drawn.append({"step": step, "keep": step == keep, "svg": _cell(bars, y, set_, step)})
        sets.append({"name": set_, "cells": drawn})
    floor = any(p.null is not None for p in every)
    noise = max((bar.noise for bars in cells.values() for bar in bars), default=0.0)
    note = "" if floor else "No rephrased template was measured, so there is no churn floor to draw."
    return {
        "sets": sets,
        "table": _table(cells, floor),
        "note": note,
        "floor": floor,
        "noise": number(noise) if noise else "",
    }


def _cell(bars: list[Bar], y: ValueAxis, set_: str, step: int) -> Markup:
    def py(value: float) -> float:
        return HEIGHT - BOTTOM - y.at(value) * (HEIGHT - TOP - BOTTOM)

    slot = (WIDTH - LEFT - RIGHT) / max(1, len(bars))
    wide = slot * 0.68
    parts = []
    ticks = [t for t in y.ticks if t in (y.ticks[0], 0.0, y.ticks[-1])]
    for tick in ticks:
        css = "zero" if tick == 0 else "grid"
        parts.append(tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": py(tick), "y2": py(tick), "class": css}))
        parts.append(tag("text", {"x": LEFT - 3, "y": py(tick) + 3.2, "class": "tick small end"}, tick_label(tick)))
    shown = {1, len(bars)} | ({(len(bars) + 1) // 2} if len(bars) > 4 else set())
    known = False
    for i, bar in enumerate(bars):
        x = LEFT + slot * i
        inner = []
        for p, sign in ((bar.positive, 1), (bar.negative, -1)):
            if p is None:
                continue
            if p.value:
                known = True
                top, bottom = sorted((py(p.value), py(0.0)))
                box = {"x": x + (slot - wide) / 2, "y": top, "width": wide, "height": max(0.4, bottom - top)}
                inner.append(tag("rect", {**box, "class": f"bar s-{set_}" + ("" if sign > 0 else " neg")}))
            if p.null:
                d = f"M{x + 0.6:.1f} {py(0.0):.1f}V{py(p.null):.1f}h{slot - 1.2:.1f}V{py(0.0):.1f}"
                inner += [tag("path", {"class": css, "d": d}) for css in ("casing", "outline")]
        if bar.noise:
            top, bottom = py(bar.noise), py(-bar.noise)
            belt = {"x": x, "y": top, "width": slot, "height": max(0.6, bottom - top), "class": "belt"}
            inner.append(tag("rect", belt))
        hit = tag("rect", {"class": "hit", "x": x, "y": TOP, "width": slot, "height": HEIGHT - TOP - BOTTOM})
        parts.append(tag("g", {"class": "pt"}, tag("title", None, _tooltip(bar, set_, step)), *inner, hit))
        if bar.order in shown:
            parts.append(tag("text", {"x": x + slot / 2, "y": HEIGHT - 3, "class": "tick small mid"}, f"{bar.order}"))
    if not known:
        middle = {"x": (LEFT + WIDTH - RIGHT) / 2, "y": HEIGHT - BOTTOM - 5, "class": "name mid"}
        parts.append(tag("text", middle, "none"))
    box = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img", "aria-label": f"{set_} by order at step {step}"}
    return tag("svg", box, *parts)


def _tooltip(bar: Bar, set_: str, step: int) -> str:
    lines = [f"step {step} · {set_} · order {bar.order}"]
    for name, p in (("positive", bar.positive), ("negative", bar.negative)):
        if p is None or p.value is None:
            continue
        ci = interval(p.lo, p.hi)
        text = f"{name} {number(p.value)} log-odds" + (f" (95 %: {ci})" if ci else "")
        lines.append(text + (f"; churn floor {number(p.null)}" if p.null is not None else ""))
    if bar.noise:
        lines.append(f"numeric noise ±{number(bar.noise)}")
    return "\n".join(lines)


def _table(cells: dict[tuple[str, int], list[Bar]], floor: bool) -> dict[str, Any]:
    head = ["set", "step", "order", "positive (log-odds)", "95 % interval", "negative (log-odds)", "95 % interval"]
    head += ["churn floor, positive", "churn floor, negative"] if floor else []
    body = []
    for (set_, step), bars in cells.items():
        for bar in bars:
            p, q = bar.positive, bar.negative
            if not ((p and p.value) or (q and q.value)):
                continue
            row = [set_, f"{step}", f"{bar.order}"]
            for point in (p, q):
                row += [number(point.value), interval(point.lo, point.hi) or "–"] if point else ["–", "–"]
            body.append(row + ([number(point.null if point else None) for point in (p, q)] if floor else []))
    return {"caption": "Strength by order", "head": [*head, "noise"][: len(head)], "body": body, "words": 1}
