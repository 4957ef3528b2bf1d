"""The main figure, as in the paper: the preserved, emerged and removed interactions at every checkpoint.

One column per checkpoint and one sector per set: effects by order, and under them total strength and number with interval and
churn floor. All sectors share one scale in each of the three.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from interplay.dynamics.sets import MAIN_SETS
from interplay.report.chart import Frame, Line, area, figure, layers, null, point, prompts, svg, upright, value_ticks
from interplay.report.rows import Part, Point, Series, Summary, brief, cells
from interplay.report.scales import StepAxis, ValueAxis, value_axis
from interplay.report.text import WORDS, number, table, tag

SIGNS = ("positive", "negative")
ROWS = (("strength", "total strength", "log-odds"), ("count", "number", "per prompt"))
LEFT, RIGHT, TOP = 44.0, 6.0, 24.0
NARROW, WIDE, WHOLE = 70.0, 96.0, 1000.0  # width of a column; fewer checkpoints get wider ones
TALL, LOW, ROW, GAP = 170.0, 52.0, 58.0, 31.0  # heights: all orders of one scale, at least, one curve, between
NOISY = 0.02  # fraction of a bar from which the tooltip tells its numeric noise; the largest is in the legend [ours]
SCALING = (0.95, 1.35)  # how far the page may shrink or stretch the drawing before it scrolls or stops growing


class Bar(NamedTuple):
    """The sums of one order in one column: those that are known of positive and negative effects."""

    order: int
    sums: dict[str, Point]
    noise: float

    @property
    def heights(self) -> list[float]:
        return [v for p in self.sums.values() for v in (p.value, p.null) if v is not None]


Cells = list[list[Bar]]  # the bars of each checkpoint


def evolution(payload: Part, summary: Summary, definition: str, keep: int | None) -> dict[str, Any]:
    """All sectors of one definition and their tables."""
    steps = tuple(payload["steps"])
    wide = min(WIDE, max(NARROW, WHOLE / len(steps)))
    x = StepAxis(steps, tuple((i + 0.5) / len(steps) for i in range(len(steps))), "")
    bars = {s: [_bars(summary, definition, s, step, payload["reference"]) for step in steps] for s in MAIN_SETS}
    curves = {(s, m): summary.series(definition, s, m) for s in MAIN_SETS for m, _, _ in ROWS}
    every = [bar for columns in bars.values() for column in columns for bar in column]
    values = [v for bar in every for v in bar.heights]
    drawn = MAIN_SETS if len(steps) > 1 else ()
    sets = [s for s in drawn if any(curves[s, m].known for m, _, _ in ROWS) or any(_present(c) for c in bars[s])]
    floors = [p.null for bar in every for p in bar.sums.values()]
    floor = any(v is not None for v in floors) or any(series.has_null for series in curves.values())
    axis = value_axis(values, about=4) if values else None
    rows = {}
    for m, _, _ in ROWS:
        points = [p for s in sets for p in curves[s, m].points]
        rows[m] = value_axis([v for p in points for v in (p.value, p.hi, p.null, p.null_hi)], about=3)
    width, sectors = len(steps) * wide, []
    for s in sets:
        frame = Frame(x, rows["count"], LEFT, LEFT + width, TOP, TOP, 0.0)
        own = _own_frame(frame, axis, [v for column in bars[s] for bar in column for v in bar.heights])
        both = {m: curves[s, m] for m, _, _ in ROWS}
        sectors.append({"name": s, "svg": _sector(frame, s, bars[s], own, both, rows, keep)})
    noise, width = max((bar.noise for bar in every), default=0.0), width + LEFT + RIGHT
    return {
        "sectors": sectors,
        "style": Markup(f"min-width:{SCALING[0] * width:.0f}px;max-width:{SCALING[1] * width:.0f}px"),
        "tables": [_curve_table(summary, definition), *([_order_table(bars, steps, floor)] if values else [])],
        "notes": ([] if floor else [WORDS["missing"]["floor"]])
        + ([] if values else ["This run did not measure sums by order."]),
        "floor": floor,
        "noise": number(noise) if noise else "",
    }


def _bars(summary: Summary, definition: str, set_: str, step: int, reference: int) -> list[Bar]:
    """Removed effects are those of the reference, so their noise is the reference's too."""
    out = []
    for order in summary.orders:
        sums = {sign: summary.series(definition, set_, sign, order).at(step) for sign in SIGNS}
        noise = summary.anywhere("all", "noise", order).at(reference if set_ == "removed" else step)
        out.append(Bar(order, {sign: p for sign, p in sums.items() if p}, (noise.value if noise else None) or 0.0))
    return out


def _present(column: list[Bar]) -> bool:
    return any(p.value for bar in column for p in bar.sums.values())


def _own_frame(f: Frame, axis: ValueAxis | None, values: list[float]) -> Frame | None:
    """The stretch of the shared scale that one sector needs, at the shared number of units per pixel."""
    if axis is None:
        return None
    unit = TALL / (axis.hi - axis.lo)
    lo, hi = min([0.0, *values]), max([0.0, *values])
    spare = max(0.0, LOW / unit - (hi - lo)) / 2
    lo, hi = lo - spare, hi + spare
    ticks = tuple(t for t in axis.ticks if lo <= t <= hi)
    return f._replace(y=ValueAxis(lo, hi, ticks), bottom=f.top + (hi - lo) * unit)


def _sector(
    f: Frame, set_: str, bars: Cells, own: Frame | None, curves: dict[str, Series], axes: dict[str, ValueAxis], keep: int | None,
) -> Markup:  # fmt: skip
    parts: list[Markup] = []
    bottom, wide = TOP, (f.right - f.left) / len(f.x.steps)
    if own:
        parts += [value_ticks(own, own.y.ticks), _histograms(own, set_, bars)]
        bottom = own.bottom + 14
    for measure, name, unit in ROWS:
        series = curves[measure]
        if not series.known:
            continue
        row = f._replace(y=axes[measure], top=bottom + GAP, bottom=bottom + GAP + ROW)
        bottom = row.bottom
        parts.append(value_ticks(row, (row.y.ticks[0], row.y.ticks[-1])))
        parts.append(tag("text", {"x": 0.0, "y": row.top - 10, "class": "row-name"}, f"{name}, {unit}"))
        css, half = f"s-{set_}", wide / 4
        lines = [Line(series, css, "small")]
        parts += [null(row, series.points, 2 * half), area(row, series.points, "", "value", f"under {css}", half)]
        parts += layers(row, lines)
    heads, points = [], []
    for i, step in enumerate(f.x.steps):
        left = f.px(step) - wide / 2
        if step == keep:
            tint = {"x": left + 1, "y": 0.0, "width": wide - 2, "height": bottom + 8, "rx": 5.0, "class": "kept-col"}
            heads.append(tag("rect", tint))
        css = "step mid kept" if step == keep else "step mid"
        heads.append(tag("text", {"x": f.px(step), "y": 12.0, "class": css}, f"{step}"))
        hit = tag("rect", {"class": "hit", "x": left, "y": TOP, "width": wide, "height": bottom - TOP})
        tip = _tip(step, set_, bars[i] if own else [], curves)
        points.append(point(tip, upright(f.px(step), TOP, bottom, "guide"), hit))
    said = f"{set_} at each checkpoint: effects by order, total strength, number; arrow keys read the figures"
    return svg(f.right + RIGHT, bottom + 8, said, [*heads, *parts, *points])


def _histograms(f: Frame, set_: str, bars: Cells) -> Markup:
    """One path each for all positive bars, all negative ones, the outline of the floor and the noise belts of the sector."""
    drawn: dict[str, list[str]] = {"floor": [], "positive": [], "negative": [], "belt": []}
    texts = []
    zero, inner = f.py(0.0), 0.84 * (f.right - f.left) / len(f.x.steps)  # so that columns stand apart
    for step, cell in zip(f.x.steps, bars, strict=True):
        slot, left = inner / max(1, len(cell)), f.px(step) - inner / 2
        marked = (1, len(cell), (len(cell) + 1) // 2 if len(cell) > 4 else 0)
        for k, bar in enumerate(cell):
            x = left + k * slot
            for sign, p in bar.sums.items():
                if p.value:
                    shape = f"M{x + slot * 0.14:.1f} {zero:.1f}V{f.py(p.value):.1f}h{slot * 0.72:.1f}V{zero:.1f}z"
                    drawn[sign].append(shape)
            if bar.noise:
                top = f.py(bar.noise)
                low = max(f.py(-bar.noise), top + 0.6)
                drawn["belt"].append(f"M{x:.1f} {top:.1f}h{slot:.1f}V{low:.1f}h{-slot:.1f}z")
            if bar.order in marked:
                at = {"x": x + slot / 2, "y": f.bottom + 11, "class": "tick mid"}
                texts.append(tag("text", at, f"{bar.order}"))
        for sign in SIGNS:
            floors = [b.sums[sign].null if sign in b.sums else None for b in cell]
            if any(floors):
                heights = "".join(f"V{f.py(v or 0.0):.1f}h{slot:.1f}" for v in floors)
                drawn["floor"].append(f"M{left:.1f} {zero:.1f}{heights}V{zero:.1f}")
        if not _present(cell):
            texts.append(tag("text", {"x": f.px(step), "y": f.top - 2, "class": "name mid"}, "none"))
    css = {"floor": "null-band", "positive": f"bar s-{set_}", "negative": f"bar neg s-{set_}", "belt": "belt"}
    paths = [tag("path", {"class": css[name], "d": "".join(d)}) for name, d in drawn.items() if d]
    if drawn["floor"]:  # the area lies behind the bars, its outline over them
        paths.insert(1, tag("path", {"class": "hatch", "d": "".join(drawn["floor"])}))
        paths += [tag("path", {"class": name, "d": "".join(drawn["floor"])}) for name in ("casing", "outline")]
    return Markup("").join([*paths, *texts])


def _tip(step: float, set_: str, cell: list[Bar], curves: dict[str, Series]) -> str:
    """The figures of one column, for tooltips and screen readers; the table has the intervals of all orders."""
    lines, most = [f"step {step} · {set_}"], 0
    for measure, name, unit in ROWS:
        p = curves[measure].at(step)
        if p is None or p.value is None:
            continue
        floor = "" if p.null is None else f"; churn floor {number(p.null)}"
        lines.append(figure(name, p, unit, "95 %: ") + floor)
        most = max(most, p.samples or 0)
    for bar in cell:
        sums = [number(p.value, signed=True) for p in bar.sums.values() if p.value]
        if sums:
            noise = f" (noise ±{number(bar.noise)})" if bar.noise > NOISY * max(map(abs, bar.heights)) else ""
            lines.append(f"order {bar.order}: {', '.join(sums)}{noise}")
    return "\n".join([*lines, *([prompts(most)] if most else [])])


def _curve_table(summary: Summary, definition: str) -> dict[str, Any] | None:
    """Strength and number of every set, all and the returned ones included."""
    head = ["set", "step"]
    for _, name, unit in ROWS:
        head += [f"{name} ({unit})", "95 % interval", "churn floor", "its 95 % interval"]
    names = {"all": "all", "kept": "preserved, with re-entered", "reentered": "emerged, of these re-entered"}
    body = []
    for s in ("all", "preserved", "kept", "emerged", "reentered", "removed"):
        found = [summary.series(definition, s, m) for m, _, _ in ROWS]
        for step in summary.steps:
            points = [series.at(step) for series in found]
            if any(points):
                most = max((p.samples or 0 for p in points if p), default=0)
                figures = [cell for p in points for cell in cells(p, null=True)]
                body.append([names.get(s, s), f"{step}", *figures, number(most)])
    return table("Total strength and number", [*head, "prompts"], body)


def _order_table(bars: dict[str, Cells], steps: Sequence[int], floor: bool) -> dict[str, Any] | None:
    """Steps across; the floor of one transition is the same at every step."""
    body = []
    for set_, columns in bars.items():
        for k, order in enumerate(bar.order for bar in columns[0]):
            for sign in SIGNS:
                points = [column[k].sums.get(sign) for column in columns]
                if any(p is not None and p.value for p in points):
                    nulls = [number(next((p.null for p in points if p is not None and p.null is not None), None))]
                    sums = [brief(p) if p and p.value else number(p.value if p else None) for p in points]
                    body.append([set_, f"{order}", sign, *(nulls if floor else []), *sums])
    head = ["set", "order", "sign", *(["churn floor"] if floor else []), *(f"step {step}" for step in steps)]
    return table("Strength by order, log-odds, with 95 % intervals", head, body)
