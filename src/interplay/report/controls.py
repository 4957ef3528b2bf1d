"""Controls: turnover as a multiple of every churn floor, the same figures under every view, and each baseline LLM.

Editorial part: which figures, in which order, with which words. A run made without controls has none of this.
"""

from typing import Any

from interplay.dynamics.sets import CHURN_SETS
from interplay.report.chart import Line, Panel, cell, draw_spark
from interplay.report.rows import DECIDED, Point, Series, Summary, brief, cells, decided, flags_of, point_of
from interplay.report.scales import StepAxis, log_axis, value_axis
from interplay.report.schema import Part
from interplay.report.text import interval, number, table

Curves = dict[tuple[str, str], Series]

FLOOR_STYLE = (("s-all", "circle"), ("s-eval", "square"), ("s-other", "diamond"), ("s-train", "circle"))
FLOOR_NAMES = {"rephrased": "another wording", "precision": "another precision", "words": "another draw of words"}
FLOOR_LABEL = {"rephrased": "wording", "precision": "precision", "words": "words"}
FIGURES = (  # set, measure, title, unit
    ("removed", "count_fraction", "removed", "share of number"),
    ("emerged", "count_fraction", "emerged", "share of number"),
    ("all", "l1", "total strength", "log-odds"),
    ("preserved", "gamma", "gamma, preserved", "0 to 1"),
    ("emerged", "gamma", "gamma, emerged", "0 to 1"),
    ("emerged", "rho", "rho, emerged", "0 to 1"),
    ("all", "mean_order", "mean order", "words"),
)
DEFINITION_NOTES = {
    "signed": "A pattern whose effect changed sign counts as another pattern.",
    "fixed-tau": "The threshold of the reference step is held for all steps, so a change of scale alone is seen as such.",
}


def controls_part(payload: Part, summary: Summary, x: StepAxis) -> dict[str, Any] | None:
    """Everything of the section; None where the run has no controls at all."""
    part = {
        "multiples": _multiples(payload, x),
        "floors": _floors(payload),
        "views": _views(payload, summary, x),
        "baselines": _baseline_table(payload),
        "notes": payload["controls"]["notes"],
    }
    return part if any(part[name] for name in ("multiples", "floors", "views", "baselines")) else None


def _floor_words(payload: Part) -> dict[str, tuple[str, str]]:
    said = {f["name"]: (f["title"] or f["name"], f["note"] or "") for f in payload["controls"]["floors"]}
    names = dict.fromkeys(row["floor"] for row in [*payload["floors"], *payload["multiples"]])
    return {name: said.get(name, (FLOOR_NAMES.get(name, name), "")) for name in names}


def _multiples(payload: Part, x: StepAxis) -> list[dict[str, Any]]:
    """One row of panels a reference step: removed and emerged, number and strength, over every floor."""
    words = _floor_words(payload)
    flags = {name: step for name, step in flags_of(payload).items() if name != "ref"}
    out = []
    for reference in sorted({row["reference"] for row in payload["multiples"]}):
        rows = [row for row in payload["multiples"] if row["reference"] == reference]
        found: dict[tuple[str, str, str], list[Point]] = {}
        for row in sorted(rows, key=lambda r: r["step"]):
            if row["definition"] == rows[0]["definition"] and row["ratio"] is not None:
                point = Point(row["step"], row["ratio"], row["lo"], row["hi"])
                found.setdefault((row["measure"], row["set"], row["floor"]), []).append(point)
        panels, body = [], []
        for measure, name in (("count", "number"), ("strength", "strength")):
            for set_ in CHURN_SETS:
                lines, title = [], f"{set_}, {name}"
                for i, floor in enumerate(words):
                    if points := found.get((measure, set_, floor)):
                        css, marker = FLOOR_STYLE[i % len(FLOOR_STYLE)]
                        label = FLOOR_LABEL.get(floor, floor[:14])
                        lines.append(Line(Series("ratio", tuple(points)), css, marker, label))
                        body += [[title, words[floor][0], f"{p.step}", *cells(p)] for p in points]
                if lines:
                    panels.append(Panel(title, f"s-{set_}", tuple(lines), "× floor", "ratio", level=(1.0, "floor")))
        if not panels:
            continue
        y = log_axis([v for panel in panels for v in panel.extent() if v is None or v > 0])
        drawn = [cell(p, x, y, flags) | ({"unit": "× floor, log"} if y.log else {}) for p in panels]
        caption = f"Turnover since step {reference} as a multiple of each floor"
        head = ["figure", "floor", "step", "multiple", "95 % interval"]
        out.append({"reference": reference, "panels": drawn, "table": table(caption, head, body, 2)})
    return out


def _floors(payload: Part) -> dict[str, Any] | None:
    """The legend of the floors, with what each is at its reference."""
    words = _floor_words(payload)
    if not words:
        return None
    legend = [
        {"css": FLOOR_STYLE[i % len(FLOOR_STYLE)][0], "title": title, "note": note}
        for i, (title, note) in enumerate(words.values())
    ]
    body = [
        [words[r["floor"]][0], f"{r['reference']}", r["set"], r["measure"].replace("_", " "), number(r["value"]),
         interval(r["lo"], r["hi"]) or "–", number(r["samples"])]
        for r in payload["floors"] if r["definition"] == payload["floors"][0]["definition"]
    ]  # fmt: skip
    head = ["floor", "at step", "set", "measure", "value", "95 % interval", "prompts"]
    return {"legend": legend, "table": table("The floors themselves", head, body)}


def _views(payload: Part, summary: Summary, x: StepAxis) -> dict[str, Any] | None:
    """Rows of small charts: each view over the main curves, with what it says and which checkpoint it would keep."""
    definition = summary.definitions[0] if summary.definitions else ""
    found: dict[str, dict[tuple[str, str], list[Point]]] = {}
    for row in sorted(payload["views"], key=lambda r: r["step"]):
        curves = found.setdefault(row["view"], {})
        if row["order"] == 0 and row["definition"] == definition:
            curves.setdefault((row["set"], row["measure"]), []).append(point_of(row))
    if not found:
        return None
    keys = [(set_, measure) for set_, measure, _, _ in FIGURES]
    main = {key: summary.series(definition, *key) for key in keys}
    rows: list[tuple[dict[str, str], Curves]] = []
    about = {view["name"]: view for view in payload["controls"]["views"]}
    for name in dict.fromkeys(row["view"] for row in payload["views"]):
        said = about.get(name)
        title, note = ((said["title"] or name), (said["note"] or "")) if said else (name, "")
        keeps = _keeps(said["recommended"], said["basis"]) if said else "–"
        curves = {key: Series(name, tuple(points)) for key, points in found[name].items()}
        rows.append(({"title": title, "note": note, "keeps": keeps}, curves))
    for other in summary.definitions[1:]:
        info = {"title": f"definition: {other}", "note": DEFINITION_NOTES.get(other, ""), "keeps": ""}
        rows.append((info, {key: summary.series(other, *key) for key in keys if key[1] != "l1"}))
    figures = [f for f in FIGURES if any(c[f[:2]].known for c in (main, *(r for _, r in rows)) if f[:2] in c)]
    axes = {}
    for key in (f[:2] for f in figures):
        every = [main[key], *(curves[key] for _, curves in rows if key in curves)]
        values = [p.value for series in every for p in series.points]
        axes[key] = value_axis(values, about=3, zero=key[1] != "mean_order")
    keep, rivals = payload["recommendation"]["step"], payload["recommendation"]["rivals"]

    def sparks(curves: Curves, last: bool) -> list[Any]:
        out = []
        for set_, measure, title, _ in figures:
            key = set_, measure
            if key not in curves or not curves[key].known:
                out.append("")
                continue
            behind = None if curves is main else main[key]
            out.append(draw_spark(curves[key], behind, f"s-{set_}", title, x, axes[key], keep, last))
        return out

    own = rivals.get("interactions")  # as the views below: what the interactions choose
    kept = _keeps(own or keep, "rule" if own or decided(payload) else payload["recommendation"]["basis"])
    first = {
        "title": "as in the rest of the page",
        "note": "",
        "keeps": kept,
        "cells": sparks(main, False),
        "main": True,
    }
    body = []
    for set_, measure, title, unit in figures:
        for name, curves in [("main", main), *((info["title"], curves) for info, curves in rows)]:
            series = curves.get((set_, measure))
            if series is not None and series.known:
                body.append([name, f"{title} ({unit})", *(_with_null(series.at(step)) for step in payload["steps"])])
    head = ["view", "figure", *(f"step {step}" for step in payload["steps"])]
    return {
        "head": [(f"s-{s}", title, unit) for s, _, title, unit in figures],
        "rows": [first, *({**info, "cells": sparks(c, c is rows[-1][1]), "main": False} for info, c in rows)],
        "table": table("Every view, with 95 % intervals", head, body, 2),
    }


def _keeps(step: int | None, basis: str | None) -> str:
    if step is None:
        return "none"
    return f"{step}" if basis in (None, *DECIDED) else f"{step} (not by the rule)"


def _with_null(p: Point | None) -> str:
    return brief(p) + (f"; null {number(p.null)}" if p and p.value is not None and p.null is not None else "")


def _baseline_table(payload: Part) -> dict[str, Any] | None:
    """gamma of preserved and emerged against each baseline LLM, at the named and the last checkpoint."""
    said = {b["name"]: b for b in payload["controls"]["baselines"]}
    rows = [row for row in payload["baselines"] if row["order"] == 0 and row["measure"] == "gamma"]
    found = {(row["baseline"], row["set"], row["step"]): point_of(row) for row in rows}
    names = dict.fromkeys([*said, *(row["baseline"] for row in payload["baselines"])])
    if not names:
        return None
    keep, last = payload["recommendation"]["step"], payload["steps"][-1]
    steps = dict.fromkeys([last if keep is None else keep, last])
    wanted = [(set_, step) for step in steps for set_ in ("preserved", "emerged")]
    body = []
    for name in names:
        points = [found.get((name, *at)) or Point(0, None) for at in wanted]
        gammas = [
            {"value": number(p.value), "ci": interval(p.lo, p.hi), "null": "" if p.null is None else number(p.null)}
            for p in points
        ]
        about = said.get(name, {})
        family, same = about.get("family") or "–", about.get("same_family", False)
        body.append({"name": name, "family": family, "same": same, "cells": gammas})
    return {"head": [f"{set_}, step {step}" for set_, step in wanted], "body": body}
