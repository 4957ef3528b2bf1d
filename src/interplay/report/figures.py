"""Which measures the page draws under each reading, in which rows, with which words: the editorial part of the charts.

A row is one measure for all four sets on one shared axis, so that a column of the page is always the same set. Each row
says what to look for, and holds its own table. The main figure is `evolution`; drawing is `panels`. What does not depend on
the reading stands in `controls`, `fidelity` and `task`.
"""

from typing import Any, NamedTuple

from interplay.report.chart import Line, Panel, draw
from interplay.report.evolution import evolution
from interplay.report.rows import Point, Series, Summary, flags_of, point_of
from interplay.report.scales import StepAxis, value_axis
from interplay.report.schema import Payload
from interplay.report.text import interval, number

SETS = ("all", "preserved", "emerged", "removed")
MARKER = {"all": "circle", "preserved": "circle", "emerged": "diamond", "removed": "square"}


class Measure(NamedTuple):
    """One row of charts: the table's measure, its words on the page, and what its null is called."""

    key: str
    title: str
    look: str
    unit: str
    null_name: str
    missing: str = ""
    no_null: str = ""


ORDER = Measure(
    "mean_order",
    "Mean order",
    "The same in one number: how many words an interaction joins, weighted by strength.",
    "words",
    "churn floor",
)
QUALITY = (
    Measure(
        "rho",
        "Do they pull together? (rho)",
        "1: all effects point one way. Near the dashed null: they cancel like random signs, so the set says little. Small "
        "sets score high by chance; read the distance from the null, not the height.",
        "0 to 1",
        "random signs",
    ),
    Measure(
        "gamma",
        "Does another model use them too? (gamma)",
        "The share of strength that a baseline LLM of another family also holds, with the same sign. Above the dashed "
        "null, shared patterns; on it, chance agreement.",
        "0 to 1",
        "words shuffled",
        missing="Generalizability (gamma) is not shown: it needs a baseline LLM of another family, and this run had none.",
    ),
)
USE = (
    Measure(
        "sufficiency",
        "Could each set alone give the answer?",
        "Loss when the target is predicted from this set alone. Lower is better; below the dashed line, better than a "
        "random set of the same size; ln 2 = 0.69 is a coin toss.",
        "nats",
        "random set",
    ),
    Measure(
        "contribution",
        "What one interaction adds on average",
        "Above zero, the set supports the target; near zero, it adds strength without direction.",
        "log-odds",
        "random set",
    ),
)
WHOLE = (
    ("all", "count", "all, number", "per prompt", ""),
    ("all", "strength", "all, strength", "log-odds", ""),
    ("removed", "count_share", "removed share", "of the reference's", "churn floor"),
    ("emerged", "count_share", "emerged share", "of those there", "churn floor"),
)


def readings(payload: Payload, summary: Summary, x: StepAxis) -> list[dict[str, Any]]:
    """Everything that depends on the reading: one block of sections for each."""
    keep = payload["verdict"]["step"]
    out = []
    for i, reading in enumerate(summary.readings):
        baselines = _baselines(payload) if i == 0 else []
        out.append(
            {
                "name": reading,
                "evolution": evolution(payload, summary, reading, keep),
                "turnover": [_whole(payload, summary, reading, x), _row(payload, summary, reading, ORDER, x)],
                "quality": [
                    _row(payload, summary, reading, m, x, baselines if m.key == "gamma" else []) for m in QUALITY
                ],
                "use": [_row(payload, summary, reading, m, x) for m in USE],
            }
        )
    return out


class _Baseline(NamedTuple):
    """gamma against one more baseline LLM, by set."""

    name: str
    same_family: bool
    curves: dict[str, Series]


def _baselines(payload: Payload) -> list[_Baseline]:
    """All baseline LLMs in the order given; empty where only one was used, whose curves the summary holds."""
    found: dict[str, dict[str, dict[int, Point]]] = {}
    for row in payload["baselines"]:
        if row["measure"] == "gamma" and row["order"] == 0:
            found.setdefault(row["baseline"], {}).setdefault(row["set"], {})[row["step"]] = point_of(row)
    same = {b["name"]: b["same_family"] for b in payload["controls"].get("baselines", [])}
    curves = {
        name: {s: Series(name, tuple(p for _, p in sorted(points.items()))) for s, points in sets.items()}
        for name, sets in found.items()
    }
    return [_Baseline(name, same.get(name, False), sets) for name, sets in curves.items()]


def _whole(payload: Payload, summary: Summary, reading: str, x: StepAxis) -> dict[str, Any]:
    """The whole and what is gone or new as a share of it, each on its own axis."""
    flags = flags_of(payload)
    panels, body = [], []
    for set_, key, title, unit, null_name in WHOLE:
        series = summary.series(reading, set_, key)
        if not series.known:
            continue
        line = Line(series, f"s-{set_}", MARKER[set_])
        panel = Panel(title, f"s-{set_}", (line,), unit, title, null_name if series.has_null else "")
        svg = draw(panel, x, value_axis(panel.extent(), zero=True), flags)
        panels.append({"title": title, "css": panel.css, "unit": unit, "svg": svg})
        for p in series.points:
            null = [number(p.null), interval(p.null_lo, p.null_hi) or "–"]
            body.append(
                [
                    f"{title} ({unit})",
                    f"{p.step}",
                    number(p.value),
                    interval(p.lo, p.hi) or "–",
                    *null,
                    number(p.samples),
                ]
            )
    head = ["figure", "step", "value", "95 % interval", "churn floor", "its 95 % interval", "prompts"]
    table = {"caption": "The whole, and shares of it", "head": head, "body": body, "words": 1} if body else None
    look = "Shares do not grow with the scale of the scores, so they show turnover more fairly than totals do."
    return {"title": "The whole, and shares of it", "look": look, "panels": panels, "note": "", "table": table}


def _row(
    payload: Payload,
    summary: Summary,
    reading: str,
    m: Measure,
    x: StepAxis,
    baselines: list[_Baseline] | None = None,
) -> dict[str, Any]:
    flags = flags_of(payload)
    panels = []
    others = (baselines or [])[1:]
    for set_ in SETS:
        main = summary.series(reading, set_, m.key)
        if not main.known:
            continue
        lines = [Line(main, f"s-{set_}", MARKER[set_])]
        more = [(str(i), b.curves[set_]) for i, b in enumerate(others, 2) if set_ in b.curves and b.curves[set_].known]
        lines += [Line(series, f"s-{set_} faint", label=label, thin=True) for label, series in more]
        spread = _spread([main, *(series for _, series in more)]) if more else ()
        null = m.null_name if main.has_null else ""
        panels.append(Panel(set_, f"s-{set_}", tuple(lines), m.unit, m.key, null, spread))
    if not panels:
        note = m.missing or f"{m.title}: not measured in this run."
        return {"title": m.title, "look": m.look, "panels": [], "note": note, "table": None}
    y = value_axis([v for panel in panels for v in panel.extent()], zero=m.key != "mean_order")
    drawn = [{"title": p.title, "css": p.css, "unit": p.unit, "svg": draw(p, x, y, flags)} for p in panels]
    out = {"title": m.title, "look": m.look, "panels": drawn, "note": "", "table": _table(panels, m, baselines or [])}
    if baselines and len(baselines) > 1:
        out["models"] = [{"mark": str(i), "name": b.name, "same": b.same_family} for i, b in enumerate(baselines, 1)]
    return out


def _spread(series: list[Series]) -> tuple[Point, ...]:
    """Least and largest value over several lines, step by step."""
    out = []
    for step in dict.fromkeys(p.step for s in series for p in s.points):
        values = [p.value for s in series if (p := s.at(step)) and p.value is not None]
        if values:
            out.append(Point(step, None, min(values), max(values)))
    return tuple(sorted(out))


def _table(panels: list[Panel], m: Measure, baselines: list[_Baseline]) -> dict[str, Any]:
    null = m.null_name if any(p.null_name for p in panels) else ""
    head = ["set", "step", f"{m.key} ({m.unit})", "95 % interval"]
    head += [null, "its 95 % interval"] if null else []
    body = []
    for panel in panels:
        for line in panel.lines:
            which = baselines[int(line.label) - 1].name if line.label else ""
            name = f"{panel.title}, {which}" if which else panel.title
            for p in line.series.points:
                cells = [name, f"{p.step}", number(p.value), interval(p.lo, p.hi) or "–"]
                cells += [number(p.null), interval(p.null_lo, p.null_hi) or "–"] if null else []
                body.append([*cells, number(p.samples)])
    return {"caption": m.title, "head": [*head, "prompts"], "body": body, "words": 1}
