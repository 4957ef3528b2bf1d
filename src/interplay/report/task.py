"""The task beside the interactions: strips on one axis of steps, one table, and which of them rise and fall together.

Editorial part: which measures, in which order, with which words. Drawing is `stack` and `panels`.
"""

from typing import Any, NamedTuple

from markupsafe import Markup

from interplay.report.chart import Line, Panel, Strip, draw, draw_stack
from interplay.report.rows import Series, Summary, flags_of, task_series
from interplay.report.scales import StepAxis, log_axis, value_axis
from interplay.report.schema import Payload, Row
from interplay.report.text import interval, number


class Column(NamedTuple):
    """A column of the task table: its key, its name beside a line, its class and marker."""

    key: str
    label: str
    css: str = "s-eval"
    marker: str = "circle"


class Measure(NamedTuple):
    """One strip: its columns share one axis."""

    title: str
    unit: str
    columns: tuple[Column, ...]
    log: bool = False


OTHER = ("other data", "s-other", "diamond")
TASK = (
    Measure(
        "Loss",
        "nats per token",
        (
            Column("eval_loss", "held out"),
            Column("train_loss", "training", "s-train", "square"),
            Column("ood_loss", *OTHER),
        ),
        log=True,
    ),
    Measure("Accuracy", "share right", (Column("accuracy", "held out"), Column("ood_accuracy", *OTHER))),
    Measure("Macro F1", "0 to 1, mean over labels", (Column("macro_f1", "held out"), Column("ood_macro_f1", *OTHER))),
    Measure(
        "Written answers",
        "0 to 1",
        (Column("exact_match", "exact match"), Column("rouge_l", "ROUGE-L", "s-train", "square")),
    ),
    Measure(
        "Distance from base model",
        "KL, nats per token",
        (Column("kl_base", "KL"), Column("kl_base_reverse", "reverse KL", "s-train", "square")),
    ),
    Measure("What was known before", "perplexity on other text", (Column("retention_ppl", ""),)),
)
SHORT = {
    "eval_loss": "eval loss",
    "train_loss": "train loss",
    "ood_loss": "loss, other data",
    "accuracy": "accuracy",
    "ood_accuracy": "accuracy, other data",
    "macro_f1": "macro F1",
    "ood_macro_f1": "macro F1, other data",
    "exact_match": "exact match",
    "rouge_l": "ROUGE-L",
    "kl_base": "KL to base",
    "kl_base_reverse": "reverse KL",
    "retention_ppl": "perplexity, other text",
}
INTERACTIONS = (
    ("all", "l1_per_sd", "Strength / spread of score", "no unit"),
    ("all", "cancelled_per_sd", "Cancelled / spread of score", "no unit"),
    ("all", "l1", "Total strength", "log-odds, salient or not"),
    ("emerged", "strength", "Emerged strength", "log-odds per prompt"),
)
SCALE = (
    ("sd", "spread of score", "log-odds", "Standard deviation of the score over all masks: the scale itself."),
    ("l1_per_gap", "strength / score gained", "", "Total strength over the score gained from all words."),
    ("gap", "score gained", "log-odds", "Score with all words minus score with none."),
    ("walsh_high", "high-degree energy", "share", "Share of the score's variance in high-degree Walsh terms."),
)
NAMES = {
    "l1": "total strength",
    "sd": "spread of score",
    "l1_per_sd": "strength / spread",
    "cancelled_per_sd": "cancelled / spread",
    "walsh_high": "high-degree energy",
    "mean_order": "mean order",
    "count": "number",
}
SPANS = {"all": "over all checkpoints", "after-format": "after format learning only"}


def task_part(payload: Payload, summary: Summary, x: StepAxis) -> dict[str, Any]:
    """Strips, scale panels, the table of everything per step, and correlations; each empty where nothing was measured."""
    strips, columns = _strips(payload, summary)
    return {
        "stack": draw_stack(strips, x, flags_of(payload), "Task and interactions over the steps") if strips else "",
        "table": _table(payload, columns) if columns else None,
        "scale": _scale(payload, summary, x),
        "correlations": _correlations(payload["correlations"]),
        "note": ""
        if any(name in SHORT.values() for name, _ in columns)
        else "No task metrics were recorded in this run.",
    }


def _strips(payload: Payload, summary: Summary) -> tuple[list[Strip], list[tuple[str, Series]]]:
    strips, columns = [], []
    for measure in TASK:
        lines = []
        for column in measure.columns:
            series = task_series(payload["task"], column.key)
            if series.known:
                lines.append(Line(series, column.css, column.marker, column.label))
                columns.append((SHORT[column.key], series))
        if lines:
            if len(lines) == 1 and lines[0].label == "held out":
                lines = [lines[0]._replace(label="")]
            points = [p for line in lines for p in line.series.points]
            # No task metric is negative, so an interval that dips below 0 must not stretch the axis.
            values = [v for p in points for v in (p.value, p.hi, None if p.lo is None else max(0.0, p.lo))]
            axis = log_axis(values) if measure.log else value_axis(values, about=3)
            unit = measure.unit + (", log scale" if axis.log else "")
            strips.append(Strip(measure.title, unit, tuple(lines), axis, "The task"))
    reading = summary.readings[0] if summary.readings else ""
    for set_, key, title, unit in INTERACTIONS:
        series = summary.series(reading, set_, key)
        if not series.known:
            continue
        values = [v for p in series.points for v in (p.value, p.lo, p.hi, p.null, p.null_hi)]
        line = Line(series, f"s-{set_}", "diamond" if set_ == "emerged" else "circle")
        null = "churn floor" if series.has_null else ""
        strips.append(Strip(title, unit, (line,), value_axis(values, about=3, zero=True), "The interactions", null))
        columns.append((title.lower(), series))
    return strips, columns


def _table(payload: Payload, columns: list[tuple[str, Series]]) -> dict[str, Any]:
    """One row a step: value and, in brackets, its interval."""
    body = []
    for step in payload["steps"]:
        row = [f"{step}"]
        for _, series in columns:
            p = series.at(step)
            ci = interval(p.lo, p.hi) if p else ""
            row.append(number(p.value if p else None) + (f" ({ci})" if ci else ""))
        body.append(row)
    head = ["step", *(name for name, _ in columns)]
    return {"caption": "Everything by step, with 95 % intervals", "head": head, "body": body, "words": 1}


def _scale(payload: Payload, summary: Summary, x: StepAxis) -> dict[str, Any]:
    flags = flags_of(payload)
    panels, body = [], []
    for key, title, unit, say in SCALE:
        series = summary.anywhere("all", key)
        if not series.known:
            continue
        panel = Panel(title, "s-all", (Line(series, "s-all"),), unit, title)
        svg = draw(panel, x, value_axis(panel.extent()), flags)
        panels.append({"title": title, "css": "s-all", "unit": unit, "svg": svg, "say": say})
        name = title + (f" ({unit})" if unit else "")
        body += [[name, f"{p.step}", number(p.value), interval(p.lo, p.hi) or "–"] for p in series.points]
    head = ["measure", "step", "value", "95 % interval"]
    table = {"caption": "Scale of the scores", "head": head, "body": body, "words": 1} if body else None
    return {"panels": panels, "table": table}


def _correlations(rows: list[Row]) -> list[dict[str, Any]]:
    """One grid a span: interaction measures down, task columns across; weak = the interval holds 0."""
    grids = []
    for span in dict.fromkeys(row["span"] or "all" for row in rows):
        ours = {
            (row["interaction"], row["task"]): row
            for row in rows
            if (row["span"] or "all") == span and row["rho"] is not None
        }
        across = [key for key in SHORT if any(task == key for _, task in ours)]
        across += [task for task in dict.fromkeys(task for _, task in ours) if task not in across]
        down = list(dict.fromkeys(interaction for interaction, _ in ours))
        if not down:
            continue
        most = max((row["checkpoints"] or 0 for row in ours.values()), default=0)
        grids.append(
            {
                "title": SPANS.get(span, span) + (f", {most} checkpoints" if most else ""),
                "head": [SHORT.get(task, task) for task in across],
                "body": [(_name(i), [_cell(ours.get((i, task))) for task in across]) for i in down],
            }
        )
    return grids


def _name(interaction: str) -> str:
    """ "emerged strength" as it is, "l1_per_sd" in words."""
    set_, _, measure = interaction.rpartition(" ")
    shown = NAMES.get(measure, measure)
    return f"{set_} {shown}" if set_ else shown


def _cell(row: Row | None) -> dict[str, Any]:
    if row is None or row["rho"] is None:
        return {"value": "–", "ci": "", "css": "none", "share": Markup("0")}
    lo, hi = row["lo"], row["hi"]
    sure = lo is not None and hi is not None and (lo > 0 or hi < 0)
    return {
        "value": number(row["rho"], signed=True),
        "ci": interval(lo, hi),
        "css": ("plus" if row["rho"] > 0 else "minus") if sure else "weak",
        "share": Markup(f"{abs(row['rho']) * 55:.0f}"),
    }
