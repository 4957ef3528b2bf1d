"""Sums by order and totals over the checkpoints, looked up and written out as tables: what `evolution` draws.

Nothing is summed here; the figures arrive measured.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from interplay.report.rows import Point, Summary, brief, cells
from interplay.report.text import number, table

ROWS = (("strength", "total strength", "log-odds"), ("count", "number", "per prompt"))


class Bar(NamedTuple):
    """The sums of one order in one column."""

    order: int
    positive: Point | None
    negative: Point | None
    noise: float


def bars_at(summary: Summary, definition: str, set_: str, step: int, reference: int) -> list[Bar]:
    """Removed effects are those of the reference, so the noise they stand beside is the reference's."""
    out = []
    for order in range(1, summary.largest_order + 1):
        positive = summary.series(definition, set_, "positive", order).at(step)
        negative = _downwards(summary.series(definition, set_, "negative", order).at(step))
        noise = summary.anywhere("all", "noise", order).at(reference if set_ == "removed" else step)
        out.append(Bar(order, positive, negative, (noise.value if noise else None) or 0.0))
    return out


def _downwards(p: Point | None) -> Point | None:
    """Sums of negative effects as negative numbers, whichever way the table writes them."""
    if p is None or (p.value or p.null or 0.0) <= 0:
        return p
    flip = [None if v is None else -v for v in (p.value, p.hi, p.lo, p.null, p.null_hi, p.null_lo)]
    return Point(p.step, *flip, samples=p.samples)


def values_of(bar: Bar) -> list[float]:
    """All heights of a bar: sums and floors."""
    return [v for p in (bar.positive, bar.negative) if p for v in (p.value, p.null) if v is not None]


def present(cell: list[Bar]) -> bool:
    """Whether a column holds anything at all."""
    return any(p is not None and p.value for bar in cell for p in (bar.positive, bar.negative))


def curve_table(summary: Summary, definition: str) -> dict[str, Any] | None:
    """Strength and number of every set, the whole and the returned ones included."""
    head = ["set", "step"]
    for _, name, unit in ROWS:
        head += [f"{name} ({unit})", "95 % interval", "churn floor", "its 95 % interval"]
    names = {"all": "all", "kept": "preserved, with re-entered", "reentered": "emerged, of these re-entered"}
    body = []
    for s in ("all", "preserved", "kept", "emerged", "reentered", "removed"):
        found = [summary.series(definition, s, m) for m, _, _ in ROWS]
        for step in summary.steps:
            points = [series.at(step) for series in found]
            if not any(points):
                continue
            row = [names.get(s, s), f"{step}"]
            for p in points:
                row += cells(p, null=True)
            body.append([*row, number(max((p.samples or 0 for p in points if p), default=0))])
    return table("Total strength and number", [*head, "prompts"], body)


def order_table(bars: dict[str, list[list[Bar]]], steps: Sequence[int], floor: bool) -> dict[str, Any] | None:
    """Steps across; the floor of one transition is the same at every step."""
    body = []
    for set_, columns in bars.items():
        for k, order in enumerate(bar.order for bar in columns[0]):
            for sign in ("positive", "negative"):
                points = [getattr(cell[k], sign) for cell in columns]
                if not any(p is not None and p.value for p in points):
                    continue
                row = [set_, f"{order}", sign]
                if floor:
                    row.append(number(next((p.null for p in points if p is not None and p.null is not None), None)))
                body.append(row + [brief(p) if p and p.value else number(p.value if p else None) for p in points])
    head = ["set", "order", "sign", *(["churn floor"] if floor else []), *(f"step {step}" for step in steps)]
    return table("Strength by order, log-odds, with 95 % intervals", head, body)
