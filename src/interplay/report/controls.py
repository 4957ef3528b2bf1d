"""Controls: turnover as a multiple of every churn floor, the same figures under every view, and each baseline LLM.

Editorial part: which figures, in which order, with which words. A run made without controls has none of this.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from interplay.report.chart import Line, Panel, draw, draw_spark
from interplay.report.rows import DECIDED, Point, Series, Summary, decided, flags_of, point_of
from interplay.report.scales import StepAxis, log_axis, value_axis
from interplay.report.schema import Payload, Row
from interplay.report.text import interval, number

Figure = tuple[str, str, str, str]  # set, measure, title, unit
Curves = dict[tuple[str, str], Series]

FLOOR_STYLE = (("s-all", "circle"), ("s-eval", "square"), ("s-other", "diamond"), ("s-train", "circle"))
FLOOR_NAMES = {"rephrased": "another wording", "precision": "another precision", "words": "another draw of words"}
FLOOR_LABEL = {"rephrased": "wording", "precision": "precision", "words": "words"}
TURNOVER = (("count", "number"), ("strength", "strength"))
FIGURES = (
    ("removed", "count_share", "removed", "share of number"),
    ("emerged", "count_share", "emerged", "share of number"),
    ("all", "l1", "total strength", "log-odds"),
    ("preserved", "gamma", "gamma, preserved", "0 to 1"),
    ("emerged", "gamma", "gamma, emerged", "0 to 1"),
    ("emerged", "rho", "rho, emerged", "0 to 1"),
    ("all", "mean_order", "mean order", "words"),
)
READING_NOTES = {
    "signed": "A pattern whose effect changed sign counts as another pattern.",
    "fixed-tau": "The threshold of the reference step is held for all steps, so a change of scale alone is seen as such.",
}


def controls_part(payload: Payload, summary: Summary, x: StepAxis) -> dict[str, Any] | None:
    """Everything of the section; None where the run has no controls at all."""
    part = {
        "multiples": _multiples(payload, x),
        "floors": _floors(payload),
        "views": _views(payload, summary, x),
        "baselines": _baseline_table(payload),
        "notes": payload["controls"].get("notes", []),
    }
    return part if any(part[name] for name in ("multiples", "floors", "views", "baselines")) else None


def _floor_words(payload: Payload) -> dict[str, tuple[str, str]]:
    said = {f["name"]: (f["title"] or f["name"], f["note"] or "") for f in payload["controls"].get("floors", [])}
    names = dict.fromkeys(row["floor"] for row in [*payload["floors"], *payload["multiples"]])
    return {name: said.get(name, (FLOOR_NAMES.get(name, name), "")) for name in names}


def _multiples(payload: Payload, x: StepAxis) -> list[dict[str, Any]]:
    """One row of panels a reference step: removed and emerged, number and strength, over every floor."""
    floors = list(_floor_words(payload))
    style = {name: FLOOR_STYLE[i % len(FLOOR_STYLE)] for i, name in enumerate(floors)}
    out = []
    for reference in sorted({row["reference"] for row in payload["multiples"]}):
        rows = [row for row in payload["multiples"] if row["reference"] == reference]
        reading = rows[0]["reading"]
        panels = []
        for measure, name in TURNOVER:
            for set_ in ("removed", "emerged"):
                lines = []
                for floor in floors:
                    series = _ratio(
                        [
                            r
                            for r in rows
                            if (r["floor"], r["reading"], r["set"], r["measure"]) == (floor, reading, set_, measure)
                        ]
                    )
                    if series.known:
                        css, marker = style[floor]
                        lines.append(Line(series, css, marker, FLOOR_LABEL.get(floor, floor[:14])))
                if lines:
                    title = f"{set_}, {name}"
                    panels.append(Panel(title, f"s-{set_}", tuple(lines), "× floor", "ratio", level=(1.0, "floor")))
        if not panels:
            continue
        y = log_axis([v for panel in panels for v in panel.extent() if v is None or v > 0])
        flags = {k: v for k, v in flags_of(payload).items() if k != "ref"}
        unit = "× floor" + (", log" if y.log else "")
        drawn = [{"title": p.title, "css": p.css, "unit": unit, "svg": draw(p, x, y, flags)} for p in panels]
        head = ["figure", "floor", "step", "multiple", "95 % interval"]
        words = _floor_words(payload)
        label = {FLOOR_LABEL.get(f, f[:14]): words[f][0] for f in floors}
        body = [
            [panel.title, label[line.label], f"{p.step}", number(p.value), interval(p.lo, p.hi) or "–"]
            for panel in panels
            for line in panel.lines
            for p in line.series.points
        ]
        caption = f"Turnover since step {reference} as a multiple of each floor"
        out.append(
            {
                "reference": reference,
                "panels": drawn,
                "table": {"caption": caption, "head": head, "body": body, "words": 2},
            }
        )
    return out


def _ratio(rows: Iterable[Row]) -> Series:
    ordered = sorted(rows, key=lambda r: r["step"])
    return Series(
        "ratio", tuple(Point(r["step"], r["ratio"], r["lo"], r["hi"]) for r in ordered if r["ratio"] is not None)
    )


def _floors(payload: Payload) -> dict[str, Any] | None:
    """The legend of the floors, with what each is at its reference."""
    if not payload["floors"] and not payload["multiples"]:
        return None
    names = list(_floor_words(payload))
    legend = [
        {"css": FLOOR_STYLE[i % len(FLOOR_STYLE)][0], "title": title, "note": note}
        for i, (title, note) in enumerate(_floor_words(payload)[name] for name in names)
    ]
    rows = [r for r in payload["floors"] if r["reading"] == payload["floors"][0]["reading"]]
    words = _floor_words(payload)
    body = [
        [words[r["floor"]][0], f"{r['reference']}", r["set"], r["measure"].replace("_", " "), number(r["value"]),
         interval(r["lo"], r["hi"]) or "–", number(r["samples"])]
        for r in rows
    ]  # fmt: skip
    head = ["floor", "at step", "set", "measure", "value", "95 % interval", "prompts"]
    return {
        "legend": legend,
        "table": {"caption": "The floors themselves", "head": head, "body": body, "words": 1} if body else None,
    }


def _views(payload: Payload, summary: Summary, x: StepAxis) -> dict[str, Any] | None:
    """Rows of small charts: each view over the main curves, with what it says and which checkpoint it would keep."""
    reading = summary.readings[0] if summary.readings else ""
    main = {(s, m): summary.series(reading, s, m) for s, m, _, _ in FIGURES}
    rows: list[tuple[dict[str, Any], Curves]] = []
    about = {v["name"]: v for v in payload["controls"].get("views", [])}
    for name in dict.fromkeys([row["view"] for row in payload["views"]]):
        found: dict[tuple[str, str], dict[int, Point]] = {}
        for row in payload["views"]:
            if row["view"] == name and row["order"] == 0 and row["reading"] == reading:
                found.setdefault((row["set"], row["measure"]), {})[row["step"]] = point_of(row)
        series = {key: Series(name, tuple(p for _, p in sorted(points.items()))) for key, points in found.items()}
        said = about.get(name)
        info = {
            "title": (said and said["title"]) or name,
            "note": (said and said["note"]) or "",
            "keeps": _keeps(said["recommended"], said["basis"]) if said else "–",
        }
        rows.append((info, series))
    if not rows:
        return None
    for other in summary.readings[1:]:
        found_ = {(s, m): summary.series(other, s, m) for s, m, _, _ in FIGURES if m != "l1"}
        rows.append(({"title": f"reading: {other}", "note": READING_NOTES.get(other, ""), "keeps": ""}, found_))
    figures = [
        f
        for f in FIGURES
        if main[f[0], f[1]].known or any((r.get((f[0], f[1])) or main[f[0], f[1]]).known for _, r in rows)
    ]
    axes = {}
    for set_, measure, _, _ in figures:
        every = [main[set_, measure], *(r[set_, measure] for _, r in rows if (set_, measure) in r)]
        values = [v for series in every for p in series.points for v in (p.value,)]
        axes[set_, measure] = value_axis(values, about=3, zero=measure != "mean_order")
    keep = payload["verdict"]["step"]

    def cells(series: Curves | None, last: bool) -> list[Any]:
        out = []
        for set_, measure, title, _ in figures:
            own = main[set_, measure] if series is None else series.get((set_, measure))
            if own is None or not own.known:
                out.append("")
                continue
            behind = None if series is None else main[set_, measure]
            out.append(draw_spark(own, behind, f"s-{set_}", title, x, axes[set_, measure], keep, last))
        return out

    own = payload["verdict"]["rivals"].get("interactions")  # an older run chose by interactions itself
    kept = _keeps(own or keep, "rule" if own or decided(payload) else payload["verdict"].get("basis"))
    body = [
        {"title": "as in the rest of the page", "note": "", "keeps": kept, "cells": cells(None, False), "main": True}
    ]
    for i, (info, series) in enumerate(rows):
        body.append({**info, "cells": cells(series, i == len(rows) - 1), "main": False})
    return {
        "head": [(f"s-{s}", title, unit) for s, _, title, unit in figures],
        "rows": body,
        "table": _view_table(payload["steps"], figures, main, rows),
    }


def _keeps(step: int | None, basis: str | None) -> str:
    if step is None:
        return "none"
    return f"{step}" if basis in (None, *DECIDED) else f"{step} (not by the rule)"


def _view_table(
    steps: Sequence[int], figures: Sequence[Figure], main: Curves, rows: Sequence[tuple[Any, Curves]]
) -> Any:
    """Steps across, and the null where the figure has one."""

    def cell(p: Point | None) -> str:
        if p is None or p.value is None:
            return "–"
        ci = interval(p.lo, p.hi)
        null = f"; null {number(p.null)}" if p.null is not None else ""
        return number(p.value) + (f" ({ci})" if ci else "") + null

    body = []
    for set_, measure, title, unit in figures:
        for name, series in [
            ("main", main.get((set_, measure))),
            *((i["title"], r.get((set_, measure))) for i, r in rows),
        ]:
            if series is not None and series.known:
                body.append([name, f"{title} ({unit})", *(cell(series.at(step)) for step in steps)])
    head = ["view", "figure", *(f"step {step}" for step in steps)]
    return {"caption": "Every view, with 95 % intervals", "head": head, "body": body, "words": 2}


def _baseline_table(payload: Payload) -> dict[str, Any] | None:
    """gamma of preserved and emerged against each baseline LLM, at the named and the last checkpoint."""
    about = payload["controls"].get("baselines", [])
    names = list(dict.fromkeys([*(b["name"] for b in about), *(row["baseline"] for row in payload["baselines"])]))
    if not names:
        return None
    said = {b["name"]: b for b in about}
    keep, last = payload["verdict"]["step"], payload["steps"][-1]
    wanted = [
        (s, step) for step in dict.fromkeys([last if keep is None else keep, last]) for s in ("preserved", "emerged")
    ]
    found = {
        (r["baseline"], r["set"], r["step"]): point_of(r)
        for r in payload["baselines"]
        if r["order"] == 0 and r["measure"] == "gamma"
    }
    body = []
    for name in names:
        cells = []
        for set_, step in wanted:
            p = found.get((name, set_, step))
            ci = interval(p.lo, p.hi) if p else ""
            cells.append(
                {
                    "value": number(p.value if p else None),
                    "ci": ci,
                    "null": number(p.null) if p and p.null is not None else "",
                }
            )
        one = said.get(name)
        body.append(
            {
                "name": name,
                "family": (one and one["family"]) or "–",
                "same": bool(one and one["same_family"]),
                "cells": cells,
            }
        )
    return {"head": [f"{set_}, step {step}" for set_, step in wanted], "body": body}
