"""Which measures the page draws, in which rows, with which words: the editorial part of the charts.

A row is one measure for all four sets on one shared axis, so that a column of the page is always the same set. Each row
says what to look for, and holds its own table. Drawing is `panels` and `histograms`.
"""

from typing import Any, NamedTuple

from interplay.report.histograms import histogram_row
from interplay.report.panels import Line, Panel, draw, flags_of
from interplay.report.rows import Summary, task_series
from interplay.report.scales import StepAxis, log_axis, value_axis
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
        "Look for a fall while old patterns are dropped, and for emerged rising again late, which has been seen where rows "
        "were repeated often. Growth of scale alone also raises it: see strength over spread below.",
        "log-odds",
        "churn floor",
        no_null=NO_FLOOR,
    ),
)
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
MINOR = {"preserved": ("kept", "with re-entered"), "emerged": ("reentered", "re-entered")}
SCALE = (
    ("l1_per_sd", "strength / spread of score", "", "Strength without its scale: l1 over the sd of the scores."),
    (
        "cancelled_per_sd",
        "cancelled / spread of score",
        "",
        "Strength that cancels itself out, over the sd of the scores.",
    ),
    ("sd", "spread of score", "log-odds", "Standard deviation of the score over all masks: the scale itself."),
    ("l1", "total strength", "log-odds", "Sum of all absolute effects, salient or not."),
    ("l1_per_gap", "strength / score gained", "", "Total strength over the score gained from all words."),
    ("gap", "score gained", "log-odds", "Score with all words minus score with none."),
    ("walsh_high", "high-degree energy", "share", "Share of the score's variance in high-degree Walsh terms."),
)


def readings(payload: Payload, summary: Summary, x: StepAxis) -> list[dict[str, Any]]:
    """Everything that depends on the reading: one block of sections for each."""
    keep = payload["verdict"]["step"]
    out = []
    for reading in summary.readings:
        blocks = {
            name: [_row(payload, summary, reading, m, x) for m in measures]
            for name, measures in (("turnover", TURNOVER), ("quality", QUALITY), ("use", USE))
        }
        orders = histogram_row(payload, summary, reading, keep)
        mean_order = _row(payload, summary, reading, ORDER, x)
        out.append({"name": reading, **blocks, "orders": orders, "mean_order": mean_order})
    return out


def _row(payload: Payload, summary: Summary, reading: str, m: Measure, x: StepAxis) -> dict[str, Any]:
    flags = flags_of(payload)
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
    y = value_axis([v for panel in panels for v in panel.extent()], zero=m.key != "mean_order")
    note = m.no_null if not any(panel.null_name for panel in panels) else ""
    drawn = [{"title": p.title, "css": p.css, "unit": p.unit, "svg": draw(p, x, y, flags)} for p in panels]
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


def task_row(payload: Payload, summary: Summary, x: StepAxis) -> dict[str, Any]:
    """Losses and accuracy, then the scale of the effects, each on its own value axis and all on the same steps."""
    drawn = [*_task_panels(payload), *_scale_panels(summary)]
    flags = flags_of(payload)
    panels = []
    for panel, say in drawn:
        y = (log_axis if panel.measure == "loss" else value_axis)(panel.extent())
        unit = f"{panel.unit}, log scale" if y.log else panel.unit
        svg = draw(panel, x, y, flags)
        panels.append({"title": panel.title, "css": panel.css, "unit": unit, "svg": svg, "say": say})
    body = []
    for panel, _ in drawn:
        for line in panel.lines:
            name = f"{line.label} {panel.title}".strip() + (f" ({panel.unit})" if panel.unit else "")
            body += [[name, f"{p.step}", number(p.value), interval(p.lo, p.hi) or "–"] for p in line.series.points]
    table = {
        "caption": "Task and scale",
        "head": ["measure", "step", "value", "95 % interval"],
        "body": body,
        "words": 1,
    }
    note = "" if _task_panels(payload) else "No task metrics were recorded in this run."
    return {"panels": panels, "table": table if body else None, "note": note}


def _task_panels(payload: Payload) -> list[tuple[Panel, str]]:
    task = payload["task"]
    losses = tuple(
        line
        for line in (
            Line(task_series(task, "eval_loss"), "s-eval", "circle", "eval"),
            Line(task_series(task, "train_loss"), "s-train", "square", "train"),
        )
        if line.series.known
    )
    out = []
    if losses:
        say = "Look for eval loss to turn up while train loss still falls."
        out.append((Panel("loss", losses[0].css, losses, "nats", "loss"), say))
    accuracy = task_series(task, "accuracy")
    if accuracy.known:
        line = Line(accuracy, "s-eval")
        out.append(
            (Panel("accuracy", "s-eval", (line,), "share right", "accuracy"), "On rows that were not trained on.")
        )
    return out


def _scale_panels(summary: Summary) -> list[tuple[Panel, str]]:
    out = []
    for key, title, unit, say in SCALE:
        series = summary.anywhere("all", key)
        if series.known:
            out.append((Panel(title, "s-all", (Line(series, "s-all"),), unit, title), say))
    return out
