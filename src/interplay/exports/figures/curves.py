"""Figures of curves over checkpoints: turnover, quality, views, baseline LLMs, multiples of the floor, the task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import MAIN_DEFINITION, MAIN_SETS
from interplay.exports.figures.style import COLOURS, CYCLE, DASHES, MARKERS, MUTED, name, panels, steps_axis
from interplay.task.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALE = ("l1", "sd", "total_effect", "l1_per_sd", "cancelled_per_sd", "walsh_high")


class Curve(NamedTuple):
    """One line: a table with step, value, lo, hi (and its null), and its look; `label` and `null` go into the legend."""

    rows: pd.DataFrame
    colour: str
    marker: str = "o"
    dashes: str = "-"
    label: str | None = None
    band: bool = True
    null: str = ""


def pick(summary: pd.DataFrame, measure: str, set_: str) -> pd.DataFrame:
    """One curve of a summary table, of all orders together, by step, without what was not measured."""
    chosen = (summary["measure"] == measure) & (summary["set"] == set_) & (summary["order"] == 0)
    return summary[chosen & (summary["definition"] == MAIN_DEFINITION)].dropna(subset=["value"]).sort_values("step")


def draw(axis: "Axes", curve: Curve) -> None:
    """A line with its interval as a band, over its null, dashed with a band too."""
    rows, look = curve.rows, f"{curve.marker}{curve.dashes}"
    if curve.null and rows["null"].notna().any():
        axis.fill_between(rows["step"], rows["null_lo"], rows["null_hi"], color=MUTED, alpha=0.12, linewidth=0)
        axis.plot(rows["step"], rows["null"], color=MUTED, linestyle="--", linewidth=0.9, label=curve.null)
    if curve.band and rows["lo"].notna().any():
        axis.fill_between(rows["step"], rows["lo"], rows["hi"], color=curve.colour, alpha=0.17, linewidth=0)
    axis.plot(rows["step"], rows["value"], look, color=curve.colour, label=curve.label)


def grid(
    drawn: Sequence[tuple[str, Sequence[Curve]]], most: int = 3, zero: bool = True, sharey: bool = False
) -> "Figure | None":
    """A panel for each title that has a curve, at most `most` side by side, and one legend below.

    zero: value axes start at 0 where no value or interval is negative (not those of perplexity).
    """
    found = [(title, [c for c in every if len(c.rows)]) for title, every in drawn]
    found = [(title, every) for title, every in found if every]
    if not found:
        return None
    figure, axes = panels(len(found), most, sharey=sharey)
    steps = sorted({int(step) for _, every in found for c in every for step in c.rows["step"]})
    legend = {}
    for axis, (title, every) in zip(axes, found, strict=True):
        for c in every:
            draw(axis, c)
        axis.set_title(title, color=COLOURS.get(title, "black"))
        steps_axis(axis, steps)
        handles, labels = axis.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    for axis, (title, every) in zip(axes, found, strict=True):  # last, since it stops a shared axis from growing
        if zero and "perplexity" not in title and min(c.rows[["value", "lo"]].min().min() for c in every) >= 0:
            axis.set_ylim(bottom=0)
    if legend:
        figure.set_figheight(figure.get_figheight() + 0.2)
        figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=min(3, len(legend)))
    return figure


def by_set(summary: pd.DataFrame, measure: str) -> "Figure | None":
    """One measure for preserved, emerged and removed side by side on one value axis, with its null."""
    null = MEASURES[measure].null
    drawn = [(s, [Curve(pick(summary, measure, s), COLOURS[s], MARKERS[s], null=null)]) for s in MAIN_SETS]
    figure = grid(drawn, zero=measure not in ("mean_order", "contribution"), sharey=True)
    if figure is not None:
        figure.axes[0].set_ylabel(MEASURES[measure].label)
    return figure


def scale(summary: pd.DataFrame) -> "Figure | None":
    """All effects, salient or not: strength, spread, and what is free of scale."""
    return grid([(MEASURES[key].label, [Curve(pick(summary, key, "all"), COLOURS["all"])]) for key in SCALE])


def task(table: pd.DataFrame) -> "Figure | None":
    """Every task metric that was measured."""
    drawn = []
    for key, metric in METRICS.items():
        if key in table:
            ends = {end: table.get(f"{key}_{end}", pd.Series(np.nan, index=table.index)) for end in ("lo", "hi")}
            rows = pd.DataFrame({"step": table["step"], "value": table[key], **ends}).dropna(subset=["value"])
            drawn.append((metric.label, [Curve(rows.sort_values("step"), "#3c4b8a")]))
    return grid(drawn)


def compared(
    tables: Sequence[tuple[str, pd.DataFrame]], measures: Sequence[str], sets: Sequence[str], **options: Any
) -> "Figure | None":
    """Several tables on the same panels, one line a table. options: of `grid`.

    Of more than three tables only the first keeps its interval: bands over bands cannot be read, and the tables have them all.
    """
    drawn = []
    for measure, set_ in ((measure, set_) for measure in measures for set_ in sets):
        every = []
        for i, (label, table) in enumerate(tables):
            dashes, band = DASHES[(i + i // 8) % 4], i == 0 or len(tables) <= 3
            every.append(Curve(pick(table, measure, set_), CYCLE[i % 8], "o", dashes, name(label), band))
        drawn.append((f"{measure}, {set_}", every))
    return grid(drawn, **options)


def views(main: pd.DataFrame, table: pd.DataFrame, titles: dict[str, str]) -> "Figure | None":
    """The main trajectory and the same trajectory computed in other ways."""
    tables = [] if table.empty else [("as in the paper", main)]
    tables += [(titles.get(str(view), str(view)), rows) for view, rows in table.groupby("view", sort=False)]
    return compared(tables, ("count", "strength", "rho"), MAIN_SETS)


def baselines(table: pd.DataFrame) -> "Figure | None":
    """gamma against every baseline LLM."""
    tables = [(str(label), rows) for label, rows in table.groupby("baseline", sort=False)]
    return compared(tables, ("gamma",), MAIN_SETS)


def multiples(table: pd.DataFrame, reference: int) -> "Figure | None":
    """What is removed and what emerges, in units of each churn floor, on a logarithmic axis; 1 is the floor itself."""
    table = table[(table["reference"] == reference) & (table["ratio"] > 0)]
    table = table.rename(columns={"ratio": "value"}).assign(order=0)
    tables = [(f"floor: {floor}", rows) for floor, rows in table.groupby("floor", sort=False)]
    figure = compared(tables, ("count", "strength"), ("removed", "emerged"), most=2, zero=False)
    for axis in figure.axes if figure else ():
        if axis.axison:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("{x:g}")
            axis.axhline(1, color=MUTED, linestyle="--", linewidth=0.9)
            axis.set_ylabel("times the floor")
    return figure
