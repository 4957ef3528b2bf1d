"""The page's main figure, in the manner of the paper: what is preserved, emerged and removed at every checkpoint.

One column per checkpoint and one sector per set. A sector holds the effects by order (positive ones upwards, negative ones
downwards), and under it, on the same columns, total strength and number with interval and churn floor. All sectors share
one scale in each of the three, so heights may be compared across the whole figure. Only drawing; figures arrive measured.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from interplay.report.orders import ROWS, Bar, bars_at, curve_table, order_table, present, values_of
from interplay.report.rows import Series, Summary
from interplay.report.scales import ValueAxis, tick_label, value_axis
from interplay.report.schema import Payload
from interplay.report.text import interval, number, tag

SETS = ("preserved", "emerged", "removed")
MINOR = {"preserved": ("kept", "with re-entered"), "emerged": ("reentered", "of these re-entered")}
LEFT, RIGHT, TOP = 44.0, 6.0, 24.0
NARROW, WIDE, WHOLE = 70.0, 96.0, 1000.0  # width of a column; fewer checkpoints get wider ones
TALL, LOW, ROW, GAP = 170.0, 52.0, 58.0, 31.0  # heights: all orders of one scale, at least, one curve, between
NOISY = (
    0.02  # share of a bar from which its numeric noise is told in the tooltip; the largest stands in the legend [ours]
)
SCALING = (0.95, 1.35)  # how far the page may shrink or stretch the drawing before it scrolls or stops growing


class _Columns(NamedTuple):
    steps: tuple[int, ...]
    wide: float

    def left(self, i: int) -> float:
        return LEFT + i * self.wide

    def middle(self, i: int) -> float:
        return LEFT + (i + 0.5) * self.wide

    @property
    def width(self) -> float:
        return LEFT + RIGHT + len(self.steps) * self.wide


def evolution(payload: Payload, summary: Summary, reading: str, keep: int | None) -> dict[str, Any]:
    """All sectors of one reading and their tables; no sectors where nothing was measured."""
    steps = tuple(payload["steps"])
    columns = _Columns(steps, min(WIDE, max(NARROW, WHOLE / len(steps))))
    bars = {s: [bars_at(summary, reading, s, step, payload["reference"]) for step in steps] for s in SETS}
    curves = {(s, m): summary.series(reading, s, m) for s in SETS for m, _, _ in ROWS}
    every = [p for cells in bars.values() for cell in cells for bar in cell for p in (bar.positive, bar.negative) if p]
    values = [v for p in every for v in (p.value, p.null) if v is not None]
    sets = [s for s in SETS if any(curves[s, m].known for m, _, _ in ROWS) or any(present(c) for c in bars[s])]
    if not sets:
        return {"sectors": [], "tables": [], "notes": [], "floor": False, "noise": ""}
    axis = value_axis(values, about=4) if values else None
    rows = {m: value_axis(_extent([curves[s, m] for s in sets]), about=3) for m, _, _ in ROWS}
    sectors = []
    for s in sets:
        minor = {m: summary.series(reading, MINOR[s][0], m) for m, _, _ in ROWS} if s in MINOR else {}
        thin = MINOR[s][1] if any(series.known for series in minor.values()) else ""
        own = _own_axis(axis, [v for cell in bars[s] for bar in cell for v in values_of(bar)])
        svg = _sector(columns, s, bars[s], own, {m: (curves[s, m], minor.get(m)) for m, _, _ in ROWS}, rows, keep, thin)
        sectors.append({"name": s, "thin": thin, "svg": svg})
    noise = max((bar.noise for cells in bars.values() for cell in cells for bar in cell), default=0.0)
    floor = any(p.null is not None for p in every) or any(c.has_null for c in curves.values())
    return {
        "sectors": sectors,
        "style": Markup(f"min-width:{SCALING[0] * columns.width:.0f}px;max-width:{SCALING[1] * columns.width:.0f}px"),
        "tables": [curve_table(summary, reading), *([order_table(bars, steps, floor)] if values else [])],
        "notes": _notes(floor, bool(values)),
        "floor": floor,
        "noise": number(noise) if noise else "",
    }


def _notes(floor: bool, orders: bool) -> list[str]:
    out = []
    if not floor:
        out.append(
            "No rephrased template was measured, so no churn floor is drawn: how much of this turnover a mere change of "
            "wording would cause is not known."
        )
    if not orders:
        out.append("Sums by order were not measured in this run.")
    return out


def _extent(series: Sequence[Series]) -> list[float | None]:
    return [v for s in series for p in s.points for v in (p.value, p.hi, p.null, p.null_hi)]


def _own_axis(axis: ValueAxis | None, values: list[float]) -> tuple[ValueAxis, float] | None:
    """The stretch of the shared scale that one sector needs, at the shared number of units per pixel, and its height."""
    if axis is None:
        return None
    unit = TALL / (axis.hi - axis.lo)
    lo, hi = min([0.0, *values]), max([0.0, *values])
    spare = max(0.0, LOW / unit - (hi - lo)) / 2
    lo, hi = lo - spare, hi + spare
    return ValueAxis(lo, hi, tuple(t for t in axis.ticks if lo <= t <= hi)), (hi - lo) * unit


def _sector(
    columns: _Columns,
    set_: str,
    cells: list[list[Bar]],
    own: tuple[ValueAxis, float] | None,
    curves: dict[str, tuple[Series, Series | None]],
    axes: dict[str, ValueAxis],
    keep: int | None,
    thin: str,
) -> Markup:
    back: list[Markup] = []
    front: list[Markup] = []
    bottom = TOP
    if own:
        axis, tall = own
        bottom = TOP + tall
        place = _place(axis, TOP, bottom)
        back.append(_ticks(columns, axis, place))
        front.append(_histograms(columns, set_, cells, place, bottom))
        bottom += 14
    for measure, name, unit in ROWS:
        series, minor = curves[measure]
        if not series.known:
            continue
        top = bottom + GAP
        bottom = top + ROW
        place = _place(axes[measure], top, bottom)
        back += [_ticks(columns, axes[measure], place, ends=True), _row_name(name, unit, top)]
        front.append(_curve(columns, set_, series, minor, place))
    height = bottom + 8
    heads = [_head(columns, i, step == keep, height) for i, step in enumerate(columns.steps)]
    points = [
        _point(columns, i, set_, cells[i] if own else [], curves, thin, bottom) for i in range(len(columns.steps))
    ]
    box = {
        "class": "chart",
        "viewBox": f"0 0 {columns.width:g} {height:.4g}",
        "role": "img",
        "aria-label": f"{set_} at each checkpoint: effects by order, total strength, number; arrow keys read the figures",
    }
    return tag("svg", box, *heads, *back, *front, *points)


def _place(axis: ValueAxis, top: float, bottom: float) -> Callable[[float], float]:
    return lambda value: bottom - axis.of(value) * (bottom - top)


def _head(columns: _Columns, i: int, kept: bool, height: float) -> Markup:
    name = tag(
        "text",
        {"x": columns.middle(i), "y": 12.0, "class": "step mid" + (" kept" if kept else "")},
        str(columns.steps[i]),
    )
    if not kept:
        return name
    tint = {
        "x": columns.left(i) + 1,
        "y": 0.0,
        "width": columns.wide - 2,
        "height": height,
        "rx": 5.0,
        "class": "kept-col",
    }
    return tag("rect", tint) + name


def _ticks(columns: _Columns, axis: ValueAxis, place: Callable[[float], float], ends: bool = False) -> Markup:
    parts = []
    for tick in (axis.ticks[0], axis.ticks[-1]) if ends else axis.ticks:
        y = place(tick)
        line = {"x1": LEFT, "x2": columns.width - RIGHT, "y1": y, "y2": y, "class": "zero" if tick == 0 else "grid"}
        parts += [tag("line", line), tag("text", {"x": LEFT - 6, "y": y + 3.4, "class": "tick end"}, tick_label(tick))]
    return Markup("").join(parts)


def _row_name(name: str, unit: str, top: float) -> Markup:
    return tag("text", {"x": 0.0, "y": top - 10, "class": "row-name"}, f"{name}, {unit}")


def _histograms(
    columns: _Columns, set_: str, cells: list[list[Bar]], place: Callable[[float], float], bottom: float
) -> Markup:
    """One path each for all positive bars, all negative ones, the outline of the floor and the noise belts of the sector."""
    drawn: dict[str, list[str]] = {"floor": [], "up": [], "down": [], "belt": []}
    texts = []
    zero = place(0.0)
    for i, cell in enumerate(cells):
        slot, left = _slots(columns, i, cell)
        for k, bar in enumerate(cell):
            x = left + k * slot
            for way, p in (("up", bar.positive), ("down", bar.negative)):
                if p is not None and p.value:
                    shape = f"M{x + slot * 0.14:.1f} {zero:.1f}V{place(p.value):.1f}h{slot * 0.72:.1f}V{zero:.1f}z"
                    drawn[way].append(shape)
            if bar.noise:
                top = place(bar.noise)
                low = max(place(-bar.noise), top + 0.6)
                drawn["belt"].append(f"M{x:.1f} {top:.1f}h{slot:.1f}V{low:.1f}h{-slot:.1f}z")
            if bar.order in _shown_orders(cell):
                texts.append(tag("text", {"x": x + slot / 2, "y": bottom + 11, "class": "tick mid"}, f"{bar.order}"))
        for floors in ([b.positive and b.positive.null for b in cell], [b.negative and b.negative.null for b in cell]):
            if any(floors):
                heights = "".join(f"V{place(v or 0.0):.1f}h{slot:.1f}" for v in floors)
                drawn["floor"].append(f"M{left:.1f} {zero:.1f}{heights}V{zero:.1f}")
        if not present(cell):
            texts.append(tag("text", {"x": columns.middle(i), "y": TOP - 2, "class": "name mid"}, "none"))
    css = {"floor": "null-band", "up": f"bar s-{set_}", "down": f"bar neg s-{set_}", "belt": "belt"}
    paths = [tag("path", {"class": css[way], "d": "".join(d)}) for way, d in drawn.items() if d]
    if drawn["floor"]:  # the area lies behind the bars, its outline over them
        paths.insert(1, tag("path", {"class": "hatch", "d": "".join(drawn["floor"])}))
        paths += [tag("path", {"class": name, "d": "".join(drawn["floor"])}) for name in ("casing", "outline")]
    return Markup("").join([*paths, *texts])


def _slots(columns: _Columns, i: int, cell: list[Bar]) -> tuple[float, float]:
    """Width of one order and left edge of the first, so that columns stand apart."""
    inner = columns.wide * 0.84
    return inner / max(1, len(cell)), columns.middle(i) - inner / 2


def _shown_orders(cell: list[Bar]) -> set[int]:
    return {1, len(cell)} | ({(len(cell) + 1) // 2} if len(cell) > 4 else set())


def _curve(
    columns: _Columns, set_: str, series: Series, minor: Series | None, place: Callable[[float], float]
) -> Markup:
    """Area under the mean, band of its interval, churn floor, and a thin second line."""
    at = {step: columns.middle(i) for i, step in enumerate(columns.steps)}
    parts = []
    for css, lo, hi in (
        ("null-band", "null_lo", "null_hi"),
        ("hatch", "null_lo", "null_hi"),
        (f"under s-{set_}", "", "value"),
        (f"band s-{set_}", "lo", "hi"),
    ):
        edge = [(at[p.step], getattr(p, lo) if lo else 0.0, getattr(p, hi)) for p in series.points]
        for run in _stretches(edge):
            if len(run) == 1:  # a single checkpoint: as wide as half its column
                x, low, high = run[0]
                run = [(x - columns.wide / 4, low, high), (x + columns.wide / 4, low, high)]
            up = [(x, place(high)) for x, _, high in run]
            down = [(x, place(low)) for x, low, _ in reversed(run)]
            parts.append(tag("path", {"class": css, "d": _line([*up, *down]) + "z"}))
    lines = [("null", "null", series), (f"curve s-{set_}", "value", series)]
    if minor is not None:
        lines.insert(1, (f"curve thin s-{set_}", "value", minor))
    for css, name, line in lines:
        for run in _stretches([(at[p.step], getattr(p, name), 0.0) for p in line.points]):
            spots = [(x, place(v)) for x, v, _ in run]
            if len(spots) == 1 and css == "null":
                spots = [(spots[0][0] - columns.wide / 4, spots[0][1]), (spots[0][0] + columns.wide / 4, spots[0][1])]
            parts.append(tag("path", {"class": css, "d": _line(spots)}))
    for p in series.points:
        if p.value is not None:
            parts.append(tag("circle", {"class": f"mark s-{set_}", "cx": at[p.step], "cy": place(p.value), "r": 2.8}))
    return Markup("").join(parts)


def _stretches(edge: list[tuple[float, Any, Any]]) -> list[list[tuple[float, float, float]]]:
    """Consecutive places at which both values are known."""
    out: list[list[tuple[float, float, float]]] = [[]]
    for x, a, b in edge:
        if a is not None and b is not None:
            out[-1].append((x, a, b))
        elif out[-1]:
            out.append([])
    return [run for run in out if run]


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _point(
    columns: _Columns,
    i: int,
    set_: str,
    cell: list[Bar],
    curves: dict[str, tuple[Series, Series | None]],
    thin: str,
    bottom: float,
) -> Markup:
    """The figures of one column: read by mouse, keys and screen readers; intervals of all orders stand in the table."""
    step = columns.steps[i]
    lines, prompts = [f"step {step} · {set_}"], 0
    for measure, name, unit in ROWS:
        series, minor = curves[measure]
        p = series.at(step)
        if p is None or p.value is None:
            continue
        ci = interval(p.lo, p.hi)
        floor = "" if p.null is None else f"; churn floor {number(p.null)}"
        lines.append(f"{name} {number(p.value)} {unit}" + (f" (95 %: {ci})" if ci else "") + floor)
        if minor is not None and (q := minor.at(step)) is not None and q.value is not None:
            lines.append(f"  {thin} {number(q.value)}")
        prompts = max(prompts, p.samples or 0)
    for bar in cell:
        sums = [number(p.value, signed=True) for p in (bar.positive, bar.negative) if p is not None and p.value]
        if sums:
            noise = f" (noise ±{number(bar.noise)})" if bar.noise > NOISY * max(map(abs, values_of(bar))) else ""
            lines.append(f"order {bar.order}: {', '.join(sums)}{noise}")
    if prompts:
        lines.append(f"{prompts} prompt{'' if prompts == 1 else 's'}")
    x, height = columns.middle(i), bottom - TOP
    guide = tag("line", {"class": "guide", "x1": x, "x2": x, "y1": TOP, "y2": bottom})
    hit = {"class": "hit", "x": columns.left(i), "y": TOP, "width": columns.wide, "height": height}
    return tag("g", {"class": "pt"}, tag("title", None, "\n".join(lines)), guide, tag("rect", hit))
