"""Which measures the page draws, in which rows, with which words: the editorial part of the charts.

A row is one measure for all four sets on one shared axis, so that a column of the page is always the same set. Each row
says what to look for, and holds its own table. Drawing is `panels` and `histograms`.
"""

from typing import Any, NamedTuple

from markupsafe import Markup

from interplay.report.histograms import histogram_row
from interplay.report.panels import Line, Panel, draw
from interplay.report.payload import Payload
from interplay.report.rows import Summary, task_series
from interplay.report.scales import StepAxis, value_axis
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


NO_FLOOR = (
    "No rephrased template was measured, so no churn floor is drawn: how much of this turnover a mere change of wording "
    "would cause is not known."
)
TURNOVER = (
    Measure(
        "count",
        "How many interactions",
        "Look for emerged and removed to rise clear of their churn floor, the turnover that a rephrased prompt alone "
        "causes. Inside the hatched band, turnover is not evidence of learning.",
        "per prompt",
        "churn floor",
        no_null=NO_FLOOR,
    ),
    Measure(
        "strength",
        "How strong they are together",
        "Look for a fall while old patterns are dropped, a plateau, and then emerged rising again: the late rise is the "
        "mark of over-fitting.",
        "log-odds",
        "churn floor",
        no_null=NO_FLOOR,
    ),
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
MINOR = {"preserved": ("kept", "any overlap"), "emerged": ("reentered", "re-entered")}
SCALE = (
    ("l1_per_sd", "strength / spread of score", "", "Strength without its scale: l1 over the sd of the scores."),
    ("sd", "spread of score", "log-odds", "Standard deviation of the score over all masks: the scale itself."),
    ("l1", "total strength", "log-odds", "Sum of all absolute effects, salient or not."),
    ("l1_per_gap", "strength / score gained", "", "Total strength over the score gained from all words."),
    ("gap", "score gained from words", "log-odds", "Score with all words minus score with none."),
    ("walsh_high", "high-degree energy", "share", "Share of the score's variance in high-degree Walsh terms."),
)


def readings(payload: Payload, summary: Summary, x: StepAxis) -> list[dict[str, Any]]:
    """Everything that depends on the reading: one block of sections for each."""
    keep = payload["verdict"]["step"]
    out = []
    for reading in summary.readings:
        blocks = {
            name: [_row(summary, reading, m, x, keep) for m in measures]
            for name, measures in (("turnover", TURNOVER), ("quality", QUALITY), ("use", USE))
        }
        out.append({"name": reading, **blocks, "orders": histogram_row(payload, summary, reading, keep)})
    return out


def _row(summary: Summary, reading: str, m: Measure, x: StepAxis, keep: int | None) -> dict[str, Any]:
    panels = []
    for set_ in SETS:
        main = summary.series(reading, set_, m.key)
        if not main.known:
            continue
        lines = [Line(main, f"s-{set_}", MARKER[set_])]
        if m.key in ("count", "strength") and set_ in MINOR:
            minor, label = MINOR[set_]
            second = summary.series(reading, minor, m.key)
            if second.known:
                lines.append(Line(second, f"s-{set_}", label=label, thin=True))
        null = m.null_name if main.has_null else ""
        panels.append(Panel(set_, f"s-{set_}", tuple(lines), m.unit, m.key, null))
    if not panels:
        note = m.missing or f"{m.title}: not measured in this run."
        return {"title": m.title, "look": m.look, "panels": [], "note": note, "table": None}
    y = value_axis([v for panel in panels for v in panel.extent()] + ([1.0] if m.unit == "0 to 1" else []))
    note = m.no_null if not any(panel.null_name for panel in panels) else ""
    drawn = [{"title": p.title, "css": p.css, "unit": p.unit, "svg": draw(p, x, y, keep)} for p in panels]
    return {"title": m.title, "look": m.look, "panels": drawn, "note": note, "table": _table(panels, m)}


def _table(panels: list[Panel], m: Measure) -> dict[str, Any]:
    null = m.null_name if any(p.null_name for p in panels) else ""
    head = ["set", "step", f"{m.key} ({m.unit})", "95 % interval"]
    head += [null, "its 95 % interval"] if null else []
    body = []
    for panel in panels:
        for line in panel.lines:
            name = line.label or panel.title
            for p in line.series.points:
                cells = [name, f"{p.step}", number(p.value), interval(p.lo, p.hi) or "–"]
                cells += [number(p.null), interval(p.null_lo, p.null_hi) or "–"] if null else []
                body.append([*cells, number(p.samples)])
    return {"caption": m.title, "head": [*head, "prompts"], "body": body, "words": 1}


def task_row(payload: Payload, x: StepAxis) -> dict[str, Any]:
    """Losses and accuracy on the same axis of steps."""
    keep, task = payload["verdict"]["step"], payload["task"]
    losses = [
        Line(task_series(task, key), f"s-{css}", marker, label)
        for key, css, marker, label in (
            ("eval_loss", "eval", "circle", "eval"),
            ("train_loss", "train", "square", "train"),
        )
    ]
    shown = [line for line in losses if line.series.known]
    panels = []
    if shown:
        panels.append(Panel("loss", shown[0].css, tuple(shown), "nats", "loss"))
    accuracy = task_series(task, "accuracy")
    if accuracy.known:
        panels.append(Panel("accuracy", "s-eval", (Line(accuracy, "s-eval"),), "share right", "accuracy"))
    drawn = []
    for p in panels:
        y = value_axis([*p.extent(), *([1.0] if p.title == "accuracy" else [])])
        drawn.append({"title": p.title, "css": "s-eval", "unit": p.unit, "svg": draw(p, x, y, keep)})
    keys = [k for k in ("eval_loss", "train_loss", "accuracy") if task_series(task, k).known]
    body = []
    for row in sorted(task, key=lambda r: r["step"]):
        cells = [f"{row['step']}", *(number(row.get(k)) for k in keys)]
        if "accuracy" in keys:
            cells.append(interval(row.get("accuracy_lo"), row.get("accuracy_hi")) or "–")
        body.append(cells)
    head = ["step", *(k.replace("_", " ") for k in keys), *(["95 % interval"] if "accuracy" in keys else [])]
    table = {"caption": "Task metrics", "head": head, "body": body, "words": 0} if body else None
    return {"panels": drawn, "table": table, "note": "" if drawn else "No task metrics were recorded in this run."}


def scale_row(payload: Payload, summary: Summary, x: StepAxis) -> dict[str, Any]:
    """How large everything is, beside how it is made up: over all effects, salient or not."""
    keep = payload["verdict"]["step"]
    drawn, body = [], []
    for key, title, unit, say in SCALE:
        series = summary.anywhere("all", key)
        if not series.known:
            continue
        panel = Panel(title, "s-all", (Line(series, "s-all"),), unit, title)
        y = value_axis(panel.extent())
        drawn.append({"title": title, "css": "s-all", "unit": unit, "say": say, "svg": draw(panel, x, y, keep)})
        body += [[title, f"{p.step}", number(p.value), interval(p.lo, p.hi) or "–"] for p in series.points]
    head = ["measure", "step", "value", "95 % interval"]
    table = {"caption": "Scale measures", "head": head, "body": body, "words": 1} if body else None
    return {"panels": drawn, "table": table}


def strip(payload: Payload, summary: Summary) -> dict[str, Any]:
    """The strip of checkpoints under the verdict: bars of what is there and what is gone, and who would pick which."""
    reading = summary.readings[0] if summary.readings else ""
    found = {set_: summary.series(reading, set_, "strength") for set_ in ("preserved", "emerged", "removed")}

    def at(set_: str, step: int) -> float:
        p = found[set_].at(step)
        return p.value if p and p.value is not None else 0.0

    up = max((at("preserved", s) + at("emerged", s) for s in payload["steps"]), default=0.0)
    down = max((at("removed", s) for s in payload["steps"]), default=0.0)
    whole = up + down
    columns = []
    for step in payload["steps"]:
        heights = {set_: 100 * at(set_, step) / whole if whole else 0.0 for set_ in found}
        said = ", ".join(f"{set_} {number(at(set_, step))}" for set_ in found)
        columns.append(
            {
                "step": step,
                "bars": {k: Markup(f"{v:.2f}") for k, v in heights.items()},
                "tip": f"step {step}\nstrength in log-odds: {said}",
                "reference": step == payload["reference"],
            }
        )
    verdict = payload["verdict"]
    picks = [(name, step) for name, step in verdict["rivals"].items()]
    return {
        "columns": columns,
        "has_bars": whole > 0,
        "above": Markup(f"{100 * up / whole if whole else 0:.2f}"),
        "reading": reading,
        "keep": verdict["step"],
        "rivals": picks,
    }
