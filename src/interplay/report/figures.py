"""Which measures the page draws under each definition: a row is one measure for all four sets, a column always one set."""

from typing import Any

from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import VALUED as SETS
from interplay.report.chart import Line, Panel, cell
from interplay.report.evolution import evolution
from interplay.report.rows import Part, Point, Series, Summary, flags_of, series_by, table_rows
from interplay.report.scales import StepAxis, value_axis
from interplay.report.text import WORDS, table

MARKER = {"all": "circle", "preserved": "circle", "emerged": "diamond", "removed": "square"}
WHOLE = (
    ("all", "count", "all, number", "per prompt"),
    ("all", "strength", "all, strength", "log-odds"),
    ("removed", "count_fraction", "removed fraction", "of reference"),
    ("emerged", "count_fraction", "emerged fraction", "of present"),
)


def definitions(payload: Part, summary: Summary, x: StepAxis) -> list[dict[str, Any]]:
    """Everything that depends on the definition: one block of sections for each."""
    out, baselines = [], _baselines(payload)
    for name in summary.definitions:
        rows = {
            key: _row(payload, summary, name, key, x, baselines if key == "gamma" else []) for key in WORDS["looks"]
        }
        baselines = []  # they were measured under the first definition
        block = {"name": name, "about": WORDS["definitions"].get(name, "")}
        block["evolution"] = evolution(payload, summary, name, payload["recommendation"]["step"])
        block["turnover"] = [_whole(payload, summary, name, x), rows["mean_order"]]
        block["quality"] = [rows["rho"], rows["gamma"]]
        block["use"] = [rows["sufficiency"], rows["contribution"]]
        out.append(block)
    return out


def _baselines(payload: Part) -> list[dict[str, Any]]:
    """gamma against each baseline LLM by set, in the order given; empty if there was only one, whose curves the summary holds."""
    rows = [row for row in payload["baselines"] if row["measure"] == "gamma" and row["order"] == 0]
    found = series_by(rows, "baseline", "set")
    same = {b["name"]: b["same_family"] for b in payload["controls"]["baselines"]}
    return [
        {
            "name": name,
            "same_family": same.get(name, False),
            "curves": {s: series for (of, s), series in found.items() if of == name and series.known},
        }
        for name in dict.fromkeys(row["baseline"] for row in rows)
    ]


def _whole(payload: Part, summary: Summary, definition: str, x: StepAxis) -> dict[str, Any]:
    """All interactions, and the removed and the emerged ones as fractions, each on its own axis."""
    panels, body = [], []
    for set_, key, title, unit in WHOLE:
        series = summary.series(definition, set_, key)
        if not series.known:
            continue
        null = MEASURES[key].null if series.has_null and set_ != "all" else ""  # a floor says nothing of the whole
        panel = Panel(title, f"s-{set_}", (Line(series, f"s-{set_}", MARKER[set_]),), unit, title, null)
        panels.append(cell(panel, x, value_axis(panel.extent()), flags_of(payload)))
        body += table_rows(f"{title} ({unit})", series, True)
    head = ["figure", "step", "value", "95 % interval", "churn floor", "its 95 % interval", "prompts"]
    title = "The whole, and fractions of it"
    look = "Fractions do not grow with the scale of the scores, so they show turnover more fairly than totals."
    return {"title": title, "look": look, "panels": panels, "note": "", "table": table(title, head, body), "models": []}


def _row(
    payload: Part, summary: Summary, definition: str, key: str, x: StepAxis, baselines: list[dict[str, Any]]
) -> dict[str, Any]:
    """One measure for all sets; gamma against further baseline LLMs as thin lines, numbered in a legend."""
    panels, body, of = [], [], MEASURES[key]
    unit, (title, look) = of.unit or "0 to 1", WORDS["looks"][key]
    mains = {s: series for s in SETS if (series := summary.series(definition, s, key)).known}
    null = of.null if any(series.has_null for series in mains.values()) else ""
    for set_, main in mains.items():
        more = [(i, b["name"], b["curves"][set_]) for i, b in enumerate(baselines[1:], 2) if set_ in b["curves"]]
        lines = [Line(main, f"s-{set_}", MARKER[set_])]
        lines += [Line(series, f"s-{set_} faint", label=str(i), thin=True) for i, _, series in more]
        named = _gamma_null(summary, definition, main, set_) if key == "gamma" else of.null
        spread = _spread([main, *(series for _, _, series in more)]) if more else ()
        panels.append(Panel(set_, f"s-{set_}", tuple(lines), unit, key, named if main.has_null else "", spread))
        body += table_rows(set_, main, bool(null))
        for _, name, series in more:
            body += table_rows(f"{set_}, {name}", series, bool(null))
    y = value_axis([v for panel in panels for v in panel.extent()], zero=key != "mean_order")
    nulls = [null, "its 95 % interval"] if null else []
    note = "" if panels else WORDS["missing"].get(key, f"{title}: not measured in this run.")
    if null and key == "gamma" and not summary.series(definition, "all", "gamma_prompts").known:
        note = WORDS["missing"]["gamma_prompts"]
    head = ["set", "step", f"{key} ({unit})", "95 % interval", *nulls, "prompts"]
    return {
        "title": title,
        "look": look,
        "panels": [cell(p, x, y, flags_of(payload)) for p in panels],
        "note": note,
        "table": table(title, head, body),
        "models": [(i, b) for i, b in enumerate(baselines, 1)] if panels and len(baselines) > 1 else [],
    }


def _gamma_null(summary: Summary, definition: str, main: Series, set_: str) -> str:
    """Which of gamma's two nulls is the larger, shuffled words or shuffled prompts; both names where that changes over steps."""
    found = []
    for name in ("words", "prompts"):
        values = {p.step: p.value for p in summary.series(definition, set_, f"gamma_{name}").points}
        if any(p.null is not None and p.null == values.get(p.step) for p in main.points):
            found.append(f"{name} shuffled")
    return found[0] if len(found) == 1 else MEASURES["gamma"].null


def _spread(series: list[Series]) -> tuple[Point, ...]:
    """Least and largest value over several lines, step by step."""
    values: dict[float, list[float]] = {}
    for p in (p for one in series for p in one.points):
        if p.value is not None:
            values.setdefault(p.step, []).append(p.value)
    return tuple(Point(step, None, min(found), max(found)) for step, found in sorted(values.items()))
