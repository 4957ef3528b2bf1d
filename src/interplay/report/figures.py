"""Which measures the page draws under each definition, in which rows, with which words: the editorial part of the charts.

A row is one measure for all four sets on one shared axis, so that a column of the page is always the same set. Each row
says what to look for, and holds its own table. The main figure is `evolution`; drawing is `chart`. What does not depend on
the definition stands in `controls`, `fidelity` and `task`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import VALUED as SETS
from interplay.report.chart import Line, Panel, cell
from interplay.report.evolution import evolution
from interplay.report.rows import Point, Series, Summary, cells, flags_of, point_of
from interplay.report.scales import StepAxis, value_axis
from interplay.report.schema import Part
from interplay.report.text import number, table

MARKER = {"all": "circle", "preserved": "circle", "emerged": "diamond", "removed": "square"}


class Shown(NamedTuple):
    """One row of charts: a measure, its heading, and what to look for in it."""

    key: str
    title: str
    look: str
    missing: str = ""


ORDER = Shown(
    "mean_order", "Mean order", "The same in one number: how many words an interaction joins, weighted by strength."
)
QUALITY = (
    Shown(
        "rho",
        "Do they pull together? (rho)",
        "1: all effects point one way. Near the dashed null: they cancel like random signs, so the set says little. Small "
        "sets score high by chance; read the distance from the null, not the height.",
    ),
    Shown(
        "gamma",
        "Does another model use them too? (gamma)",
        "The share of strength that a baseline LLM of another family also holds, with the same sign. Above the dashed "
        "null, shared patterns; on it, chance agreement.",
        "Generalizability (gamma) is not shown: it needs a baseline LLM of another family, and this run had none.",
    ),
)
USE = (
    Shown(
        "sufficiency",
        "Could each set alone give the answer?",
        "Loss when the target is predicted from this set alone. Lower is better; below the dashed line, better than a "
        "random set of the same size; ln 2 = 0.69 is a coin toss.",
    ),
    Shown(
        "contribution",
        "What one interaction adds on average",
        "Above zero, the set supports the target; near zero, it adds strength without direction.",
    ),
)
WHOLE = (
    ("all", "count", "all, number", "per prompt"),
    ("all", "strength", "all, strength", "log-odds"),
    ("removed", "count_fraction", "removed share", "of the reference's"),
    ("emerged", "count_fraction", "emerged share", "of those there"),
)


def definitions(payload: Part, summary: Summary, x: StepAxis) -> list[dict[str, Any]]:
    """Everything that depends on the definition: one block of sections for each."""
    keep = payload["recommendation"]["step"]
    out = []
    for i, definition in enumerate(summary.definitions):
        baselines = _baselines(payload) if i == 0 else []
        out.append(
            {
                "name": definition,
                "evolution": evolution(payload, summary, definition, keep),
                "turnover": [_whole(payload, summary, definition, x), _row(payload, summary, definition, ORDER, x)],
                "quality": [
                    _row(payload, summary, definition, m, x, baselines if m.key == "gamma" else ()) for m in QUALITY
                ],
                "use": [_row(payload, summary, definition, m, x) for m in USE],
            }
        )
    return out


class _Baseline(NamedTuple):
    """gamma against one more baseline LLM, by set."""

    name: str
    same_family: bool
    curves: dict[str, Series]


def _baselines(payload: Part) -> list[_Baseline]:
    """All baseline LLMs in the order given; empty where only one was used, whose curves the summary holds."""
    found: dict[str, dict[str, dict[int, Point]]] = {}
    for row in payload["baselines"]:
        if row["measure"] == "gamma" and row["order"] == 0:
            found.setdefault(row["baseline"], {}).setdefault(row["set"], {})[row["step"]] = point_of(row)
    same = {b["name"]: b["same_family"] for b in payload["controls"]["baselines"]}
    curves = {
        name: {s: Series(name, tuple(p for _, p in sorted(points.items()))) for s, points in sets.items()}
        for name, sets in found.items()
    }
    return [_Baseline(name, same.get(name, False), sets) for name, sets in curves.items()]


def _whole(payload: Part, summary: Summary, definition: str, x: StepAxis) -> dict[str, Any]:
    """The whole and what is gone or new as a share of it, each on its own axis."""
    panels, body = [], []
    for set_, key, title, unit in WHOLE:
        series = summary.series(definition, set_, key)
        if not series.known:
            continue
        null = MEASURES[key].null if series.has_null and set_ != "all" else ""  # a floor says nothing of the whole
        panel = Panel(title, f"s-{set_}", (Line(series, f"s-{set_}", MARKER[set_]),), unit, title, null)
        panels.append(cell(panel, x, value_axis(panel.extent()), flags_of(payload)))
        body += [[f"{title} ({unit})", f"{p.step}", *cells(p, True), number(p.samples)] for p in series.points]
    head = ["figure", "step", "value", "95 % interval", "churn floor", "its 95 % interval", "prompts"]
    title = "The whole, and shares of it"
    look = "Shares do not grow with the scale of the scores, so they show turnover more fairly than totals do."
    return {"title": title, "look": look, "panels": panels, "note": "", "table": table(title, head, body)}


def _row(
    payload: Part, summary: Summary, definition: str, m: Shown, x: StepAxis, baselines: Sequence[_Baseline] = ()
) -> dict[str, Any]:
    """One measure for all sets; gamma against further baseline LLMs as thin lines, numbered in a legend."""
    panels, others, of = [], baselines[1:], MEASURES[m.key]
    unit = of.unit or "0 to 1"
    for set_ in SETS:
        main = summary.series(definition, set_, m.key)
        if not main.known:
            continue
        more = [(str(i), b.curves[set_]) for i, b in enumerate(others, 2) if set_ in b.curves and b.curves[set_].known]
        lines = [Line(main, f"s-{set_}", MARKER[set_])]
        lines += [Line(series, f"s-{set_} faint", label=label, thin=True) for label, series in more]
        spread = _spread([main, *(series for _, series in more)]) if more else ()
        null = of.null if main.has_null else ""
        panels.append(Panel(set_, f"s-{set_}", tuple(lines), unit, m.key, null, spread))
    out: dict[str, Any] = {"title": m.title, "look": m.look, "panels": [], "note": "", "table": None}
    if not panels:
        return {**out, "note": m.missing or f"{m.title}: not measured in this run."}
    y = value_axis([v for panel in panels for v in panel.extent()], zero=m.key != "mean_order")
    out["panels"] = [cell(p, x, y, flags_of(payload)) for p in panels]
    out["table"] = _table(panels, m, baselines)
    if len(baselines) > 1:
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


def _table(panels: list[Panel], m: Shown, baselines: Sequence[_Baseline]) -> dict[str, Any] | None:
    null = next((p.null_name for p in panels if p.null_name), "")
    head = ["set", "step", f"{m.key} ({panels[0].unit})", "95 % interval"]
    head += [null, "its 95 % interval"] if null else []
    body = []
    for panel in panels:
        for line in panel.lines:
            name = f"{panel.title}, {baselines[int(line.label) - 1].name}" if line.label else panel.title
            body += [[name, f"{p.step}", *cells(p, bool(null)), number(p.samples)] for p in line.series.points]
    return table(m.title, [*head, "prompts"], body)
