"""Controls: turnover over every churn floor, and the same figures under every view."""

from typing import Any

from interplay.dynamics.sets import CHURN_SETS
from interplay.report.chart import Line, Panel, cell
from interplay.report.rows import (
    DECIDED,
    Part,
    Series,
    Summary,
    brief,
    cells,
    decided,
    flags_of,
    series_by,
    shown_step,
)
from interplay.report.scales import StepAxis, log_axis
from interplay.report.text import WORDS, interval, number, table

Curves = dict[tuple[str, str], Series]

FLOOR_STYLE = (("s-all", "circle"), ("s-eval", "square"), ("s-other", "diamond"), ("s-train", "circle"))
FIGURES = (  # set, measure, title, unit
    ("removed", "count_fraction", "removed", "fraction of number"),
    ("emerged", "count_fraction", "emerged", "fraction of number"),
    ("all", "l1", "total strength", "log-odds"),
    ("preserved", "gamma", "gamma, preserved", "0 to 1"),
    ("emerged", "gamma", "gamma, emerged", "0 to 1"),
    ("emerged", "rho", "rho, emerged", "0 to 1"),
    ("all", "mean_order", "mean order", "words"),
)


def controls_part(payload: Part, summary: Summary, x: StepAxis) -> dict[str, Any] | None:
    """Everything of the section; None if the run has neither controls nor a second definition."""
    part = {"multiples": _multiples(payload, x), "floors": _floors(payload), "views": _views(payload, summary)}
    return part | {"notes": payload["controls"]["notes"]} if any(part.values()) else None


def _floor_legend(payload: Part) -> dict[str, dict[str, str]]:
    """Title, note, class and marker of each floor."""
    about = {floor["name"]: floor for floor in payload["controls"]["floors"]}
    legend = {}
    for i, name in enumerate(dict.fromkeys(row["floor"] for row in [*payload["floors"], *payload["multiples"]])):
        floor, (css, marker) = about.get(name, {}), FLOOR_STYLE[i % len(FLOOR_STYLE)]
        title = floor.get("title") or WORDS["floors"].get(name, (name,))[0]
        legend[name] = {"title": title, "note": floor.get("note") or "", "css": css, "marker": marker}
    return legend


def _multiples(payload: Part, x: StepAxis) -> list[dict[str, Any]]:
    """For each reference step, strength of removed and emerged over every floor as panels, and their number in the table."""
    legend = _floor_legend(payload)
    flags = {name: step for name, step in flags_of(payload).items() if name != "ref"}
    out = []
    for reference in sorted({row["reference"] for row in payload["multiples"]}):
        rows = [row for row in payload["multiples"] if row["reference"] == reference]
        rows = [row for row in rows if row["definition"] == rows[0]["definition"] and row["ratio"] is not None]
        found = series_by(rows, "measure", "set", "floor", field="ratio")
        panels, body = [], []
        for measure, set_ in ((measure, set_) for measure in ("count", "strength") for set_ in CHURN_SETS):
            lines, title = [], f"{set_}, {'number' if measure == 'count' else measure}"
            for floor, look in legend.items():
                if series := found.get((measure, set_, floor)):
                    label = WORDS["floors"][floor][2] if floor in WORDS["floors"] else floor[:14]
                    lines.append(Line(series, look["css"], look["marker"], label))
                    body += [[title, look["title"], f"{p.step}", *cells(p)] for p in series.points]
            if measure == "strength" and any(line.series.course for line in lines):
                panels.append(
                    Panel(
                        title,
                        f"s-{set_}",
                        tuple(lines),
                        "× floor",
                        "ratio",
                        level=(1.0, "floor"),
                        width=540.0,
                        height=230.0,
                    )
                )
        if body:
            y = log_axis([v for panel in panels for v in panel.extent() if v is None or v > 0])
            drawn = [cell(p, x, y, flags) | ({"unit": "× floor, log"} if y.log else {}) for p in panels]
            caption = f"Turnover since step {reference} as a multiple of each floor"
            head = ["figure", "floor", "step", "multiple", "95 % interval"]
            out.append({"reference": reference, "panels": drawn, "table": table(caption, head, body, 2)})
    return out


def _floors(payload: Part) -> dict[str, Any] | None:
    """The legend of the floors, and the value of each at its reference."""
    legend = _floor_legend(payload)
    body = [
        [legend[r["floor"]]["title"], f"{r['reference']}", r["set"], r["measure"].replace("_", " "), number(r["value"]),
         interval(r["lo"], r["hi"]) or "–", number(r["samples"])]
        for r in payload["floors"] if r["definition"] == payload["floors"][0]["definition"]
    ]  # fmt: skip
    head = ["floor", "at step", "set", "measure", "value", "95 % interval", "prompts"]
    return {"legend": list(legend.values()), "table": table("The floors themselves", head, body)} if legend else None


def _views(payload: Part, summary: Summary) -> dict[str, Any] | None:
    """A row of figures at the step that is shown for each view, with a note and the checkpoint it would keep."""
    definition, recommendation = (summary.definitions or [""])[0], payload["recommendation"]
    viewed = [row for row in payload["views"] if row["order"] == 0 and row["definition"] == definition]
    found = series_by(viewed, "view", "set", "measure")
    own = recommendation["rivals"].get("interactions")  # like the views below: what the interactions choose
    kept = _keeps(own or recommendation["step"], "rule" if own or decided(payload) else recommendation.get("basis"))
    keys = [(set_, measure) for set_, measure, _, _ in FIGURES]
    main = {key: summary.series(definition, *key) for key in keys}
    own_row = {"title": "as on the rest of the page", "note": "", "keeps": kept}
    rows: list[tuple[dict[str, Any], Curves]] = [(own_row, main)]
    about = {view["name"]: view for view in payload["controls"]["views"]}
    for name in dict.fromkeys(row["view"] for row in payload["views"]):
        view = about.get(name, {})
        info = {"title": view.get("title") or name, "note": view.get("note") or ""}
        info["keeps"] = _keeps(view.get("recommended"), view.get("basis")) if view else "–"
        rows.append((info, {key[1:]: series for key, series in found.items() if key[0] == name}))
    for other in summary.definitions[1:]:
        info = {"title": f"definition: {other}", "note": WORDS["definitions"].get(other, ""), "keeps": "–"}
        rows.append((info, {key: summary.series(other, *key) for key in keys if key[1] != "l1"}))
    if len(rows) < 2:
        return None
    figures = [f for f in FIGURES if any(f[:2] in curves and curves[f[:2]].known for _, curves in rows)]
    step, parts, body, none = shown_step(payload), [], [], Series("", ())
    for info, curves in rows:
        points = [curves.get(f[:2], none).at(step) for f in figures]
        parts.append(info | {"cells": [(number(p and p.value), interval(p.lo, p.hi) if p else "") for p in points]})
        for set_, measure, title, unit in figures:
            if curves.get((set_, measure), none).known:
                row = ["main" if curves is main else info["title"], f"{title} ({unit})"]
                for p in map(curves[set_, measure].at, payload["steps"]):
                    row.append(brief(p) + ("" if p is None or p.null is None else f"; null {number(p.null)}"))
                body.append(row)
    head = ["view", "figure", *(f"step {step}" for step in payload["steps"])]
    every = table("Every view, with 95 % intervals", head, body, 2)
    shown = [(f"s-{s}", title, unit) for s, _, title, unit in figures]
    return {"step": step, "head": shown, "rows": parts, "table": every}


def _keeps(step: int | None, basis: str | None) -> str:
    if step is None:
        return "none"
    return f"{step}" if basis in (None, *DECIDED) else f"{step} (not by the rule)"
