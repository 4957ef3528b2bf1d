"""The charts of the measures under the main definition: one chart a measure, a line for each set, its null dotted."""

from typing import Any

from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import CHURN_SETS
from interplay.dynamics.sets import VALUED as SETS
from interplay.report.chart import Line, Panel, cell
from interplay.report.evolution import evolution
from interplay.report.rows import Part, Series, Summary, flags_of, series_by, table_rows
from interplay.report.scales import StepAxis, value_axis
from interplay.report.text import WORDS, table

MARKER = {"all": "circle", "preserved": "circle", "emerged": "diamond", "removed": "square"}
TURNOVER, QUALITY = ("count_fraction", "mean_order"), ("rho", "gamma", "sufficiency", "contribution")


def measures_part(payload: Part, summary: Summary, x: StepAxis) -> dict[str, Any] | None:
    """Evolution, turnover and quality under the main definition; None where nothing was measured."""
    if not summary.definitions:
        return None
    name = summary.definitions[0]
    return {
        "name": name,
        "about": WORDS["definitions"].get(name, ""),
        "evolution": evolution(payload, summary, name, payload["recommendation"]["step"]),
        "turnover": [_chart(payload, summary, name, key, x) for key in TURNOVER],
        "quality": [_chart(payload, summary, name, key, x) for key in QUALITY],
    }


def _chart(payload: Part, summary: Summary, definition: str, key: str, x: StepAxis) -> dict[str, Any]:
    """One measure for all sets; the table has gamma against each baseline LLM too."""
    of, (title, look) = MEASURES[key], WORDS["looks"][key]
    unit = of.unit or "0 to 1"
    names = CHURN_SETS if key == "count_fraction" else SETS
    mains = {s: series for s in names if (series := summary.series(definition, s, key)).known}
    null = of.null if any(series.has_null for series in mains.values()) else ""
    named = _gamma_null(summary, definition, mains) if null and key == "gamma" else null
    lines = tuple(
        Line(series, f"s-{s}", MARKER[s], label=s, null=f"chance s-{s}" if series.has_null else "")
        for s, series in mains.items()
        if series.course
    )
    panel = Panel(title, "", lines, unit, key, width=540.0, height=230.0)
    note = "" if mains else WORDS["missing"].get(key, f"{title}: not measured in this run.")
    if null and key == "gamma" and not summary.series(definition, "all", "gamma_prompts").known:
        note = WORDS["missing"]["gamma_prompts"]
    body = [row for s, series in mains.items() for row in table_rows(s, series, bool(null))]
    if key == "gamma":  # agreement within a family may come from a shared origin, so it says less
        family = {b["name"]: " (same family)" * b["same_family"] for b in payload["controls"]["baselines"]}
        rows = (row for row in payload["baselines"] if (row["measure"], row["order"]) == (key, 0))
        for (name, s), series in series_by(rows, "baseline", "set").items():
            body += table_rows(f"{s}, {name}{family.get(name, '')}", series, bool(null))
    nulls = [null, "its 95 % interval"] if null else []
    head = ["set", "step", f"{key} ({unit})", "95 % interval", *nulls, "prompts"]
    y = value_axis(panel.extent(), zero=key != "mean_order")
    drawn = cell(panel, x, y, flags_of(payload)) if lines else {"title": title, "css": "", "unit": unit, "svg": ""}
    dotted = f" Dotted: the null, {named}." if named else ""
    return drawn | {"say": look + dotted if mains else "", "note": note, "table": table(title, head, body)}


def _gamma_null(summary: Summary, definition: str, mains: dict[str, Series]) -> str:
    """Which of gamma's two nulls is the larger, shuffled words or shuffled prompts; both names where that changes."""
    found = []
    for name in ("words", "prompts"):
        for s, main in mains.items():
            values = {p.step: p.value for p in summary.series(definition, s, f"gamma_{name}").points}
            if any(p.null is not None and p.null == values.get(p.step) for p in main.points):
                found.append(f"{name} shuffled")
                break
    return found[0] if len(found) == 1 else MEASURES["gamma"].null
