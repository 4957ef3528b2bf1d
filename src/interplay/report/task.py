"""Rules, task and interactions as strips on one axis of steps, one table, and which of them rise and fall together."""

from typing import Any

from markupsafe import Markup

from interplay.dynamics.measures import MEASURES
from interplay.report.audit import rule_strips, rule_table
from interplay.report.chart import Line, Panel, draw_stack
from interplay.report.rows import Part, Summary, brief, flags_of, task_series
from interplay.report.scales import StepAxis, ValueAxis, log_axis, value_axis
from interplay.report.text import WORDS, interval, number, table
from interplay.task.correlation import FEWEST
from interplay.task.metrics import METRICS, eval_set

HELD, OTHER = ("held out", "s-eval", "circle"), ("other data", "s-other", "diamond")
EXACT, REVERSE = ("exact match", *HELD[1:]), ("reverse KL", "s-train", "square")
TRAINING, ROUGE = ("training", *REVERSE[1:]), ("ROUGE-L", *REVERSE[1:])
TASK: tuple[tuple[str, str, dict[str, tuple[str, str, str]]], ...] = (  # title, unit, metric -> label, class, marker
    ("Loss", "nats per token", {"eval_loss": HELD, "train_loss": TRAINING, "ood_loss": OTHER}),
    ("Accuracy", "fraction right", {"accuracy": HELD, "ood_accuracy": OTHER}),
    ("Macro F1", "0 to 1, mean over labels", {"macro_f1": HELD, "ood_macro_f1": OTHER}),
    ("Free answers", "0 to 1", {"exact_match": EXACT, "rouge_l": ROUGE}),
    ("Distance from step 0", "KL, nats per token", {"kl_base": ("KL", *HELD[1:]), "kl_base_reverse": REVERSE}),
    ("Prior knowledge", "perplexity on other text", {"retention_ppl": ("", *HELD[1:])}),
)
INTERACTIONS = (
    ("all", "change", "Change since the reference", "log-odds per prompt"),
    ("all", "l1_per_sd", "Strength / spread of score", "no unit"),
    ("emerged", "strength", "Emerged strength", "log-odds per prompt"),
)
IN_TABLE = (*INTERACTIONS, *(("all", key, MEASURES[key].title, "") for key in
            ("l1", "cancelled_per_sd", "sd", "total_effect", "l1_per_total_effect", "walsh_high")))  # fmt: skip


def steps_part(payload: Part, summary: Summary, x: StepAxis) -> dict[str, Any]:
    """Everything over the steps: rules, task and interactions as strips of one chart, and a table of all of it."""
    strips = _task_strips(payload)
    columns = [(_title(line.series.set), line.series) for _, panel, _ in strips for line in panel.lines]
    note = "" if strips else "This run recorded no task metrics."
    definition = (summary.definitions or [""])[0]
    for set_, key, title, unit in IN_TABLE:
        series = summary.series(definition, set_, key)
        if series.known:
            columns.append((title.lower(), series))
        if (set_, key, title, unit) in INTERACTIONS and series.known:
            line = Line(series, f"s-{set_}", "diamond" if set_ == "emerged" else "circle")
            panel = Panel(title, "", (line,), unit, key, "churn floor" if series.has_null else "")
            strips.append(("The interactions", panel, value_axis(panel.extent(), about=3)))
    strips = [*rule_strips(payload, x), *(s for s in strips if any(line.series.course for line in s[1].lines))]
    body = [[f"{step}", *(brief(series.at(step)) for _, series in columns)] for step in x.steps]
    head = ["step", *(name for name, _ in columns)]
    every = table("Everything by step, with 95 % intervals", head, body) if columns else None
    return {
        "stack": draw_stack(strips, x, flags_of(payload), "Rules, task and interactions over the steps")
        if strips
        else "",
        "tables": [t for t in (rule_table(payload), every) if t],
        "note": note,
    }


def correlations_part(payload: Part) -> dict[str, Any] | None:
    """Which measures rise and fall together; None where no correlation was asked for."""
    rows = payload["correlations"]
    few = bool(rows) and all((r["checkpoints"] or 0) < FEWEST for r in rows)
    grids = _correlations(rows)
    return {"grids": grids, "few": few} if grids or few else None


def _task_strips(payload: Part) -> list[tuple[str, Panel, ValueAxis]]:
    strips = []
    named = {
        key: (f"{name}, logged", OTHER[1], "square")
        for row in payload["task"]
        for key in row
        if (name := eval_set(key))
    }
    for title, unit, metrics in TASK:
        metrics = metrics | named if title == "Loss" else metrics
        found = [(task_series(payload["task"], key), *look) for key, look in metrics.items()]
        lines = [Line(series, css, marker, label) for series, label, css, marker in found if series.known]
        if not lines:
            continue
        if len(lines) == 1 and lines[0].label == HELD[0]:
            lines = [lines[0]._replace(label="")]
        # No task metric is negative, so an interval that dips below 0 must not stretch the axis.
        points = [p for line in lines for p in line.series.points]
        values = [v for p in points for v in (p.value, p.hi, None if p.lo is None else max(0.0, p.lo))]
        axis = log_axis(values) if unit.startswith("nats") else value_axis(values, about=3)
        panel = Panel(title, "", tuple(lines), unit + (", log scale" if axis.log else ""), "")
        strips.append(("The task", panel, axis))
    return strips


def _title(key: str) -> str:
    return METRICS[key].title if key in METRICS else f"loss of eval set {eval_set(key)} (trainer's log)"


def _correlations(rows: list[Part]) -> list[dict[str, Any]]:
    """One grid for each span: interaction measures down, task columns across."""
    grids = []
    for span in dict.fromkeys(row["span"] for row in rows):
        own = [row for row in rows if row["span"] == span and row["spearman"] is not None]
        ours = {(row["interaction"], row["task"]): row for row in own}
        tasks = dict.fromkeys(task for _, task in ours)
        across = [*(key for key in METRICS if key in tasks), *(key for key in tasks if key not in METRICS)]
        down = dict.fromkeys(interaction for interaction, _ in ours)
        most = max((row["checkpoints"] or 0 for row in own), default=0)
        title = WORDS["spans"].get(span, span) + (f", {most} checkpoints" if most else "")
        head = [METRICS[task].title if task in METRICS else task for task in across]
        body = [(_name(i), [_cell(ours.get((i, task))) for task in across]) for i in down]
        grids += [{"title": title, "head": head, "body": body}] if body else []
    return grids


def _name(interaction: str) -> str:
    """ "emerged strength" unchanged, "l1_per_sd" in words."""
    set_, _, measure = interaction.rpartition(" ")
    shown = MEASURES[measure].title if measure in MEASURES else measure
    return f"{set_} {shown}" if set_ else shown


def _cell(row: Part | None) -> dict[str, Any]:
    """One correlation; weak if its interval holds 0."""
    if row is None:
        return {"value": "–", "ci": "", "css": "none", "depth": Markup("0")}
    spearman, lo, hi = row["spearman"], row["lo"], row["hi"]
    sure = lo is not None and hi is not None and (lo > 0 or hi < 0)
    return {
        "value": number(spearman, signed=True),
        "ci": interval(lo, hi),
        "css": ("plus" if spearman > 0 else "minus") if sure else "weak",
        "depth": Markup(f"{abs(spearman) * 55:.0f}"),
    }
