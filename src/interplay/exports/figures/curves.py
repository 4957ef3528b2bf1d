"""Figures of curves over checkpoints: turnover, quality, views, baseline LLMs, multiples of the floor, the task."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import CHURN_SETS, MAIN_SETS
from interplay.exports.figures.style import COLOURS, CYCLE, DASHES, MARKERS, MUTED, name, panels, steps_axis
from interplay.task.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALE = ("l1", "sd", "total_effect", "l1_per_sd", "cancelled_per_sd", "walsh_high")


class Look(NamedTuple):
    """How one line is drawn."""

    colour: str
    marker: str = "o"
    dashes: str = "-"
    label: str | None = None
    band: bool = True


def pick(summary: pd.DataFrame, measure: str, set_: str, definition: str = "paper", order: int = 0) -> pd.DataFrame:
    """One curve of a summary table, by step, without what was not measured."""
    chosen = (summary["measure"] == measure) & (summary["set"] == set_) & (summary["order"] == order)
    rows = summary[chosen & (summary["definition"] == definition)]
    return rows.dropna(subset=["value"]).sort_values("step")


def curve(axis: "Axes", rows: pd.DataFrame, look: Look, null: str | None = None) -> Any:
    """A line with its interval as a band, and its null dashed with its own band. Returns the line."""
    if null and rows["null"].notna().any():
        axis.fill_between(rows["step"], rows["null_lo"], rows["null_hi"], color=MUTED, alpha=0.12, linewidth=0)
        axis.plot(rows["step"], rows["null"], color=MUTED, linestyle="--", linewidth=0.9)
    if look.band and rows["lo"].notna().any():
        axis.fill_between(rows["step"], rows["lo"], rows["hi"], color=look.colour, alpha=0.17, linewidth=0)
    (line,) = axis.plot(
        rows["step"], rows["value"], color=look.colour, marker=look.marker, linestyle=look.dashes, label=look.label
    )
    return line


def by_set(summary: pd.DataFrame, measure: str) -> "Figure | None":
    """One measure for preserved, emerged and removed side by side on one value axis, with its null."""
    found = {s: rows for s in MAIN_SETS if len(rows := pick(summary, measure, s))}
    if not found:
        return None
    measured = MEASURES[measure]
    figure, axes = panels(len(found), sharey=True)
    steps = sorted(set(summary["step"]))
    for axis, (set_, rows) in zip(axes, found.items(), strict=True):
        curve(axis, rows, Look(COLOURS[set_], MARKERS[set_]), measured.null)
        axis.set_title(set_, color=COLOURS[set_])
        steps_axis(axis, steps)
    if measure not in ("mean_order", "contribution"):
        axes[0].set_ylim(bottom=0)  # shared, and last: it stops the axis from growing
    axes[0].set_ylabel(measured.label)
    if (null := measured.null) and any(rows["null"].notna().any() for rows in found.values()):
        from matplotlib.lines import Line2D

        axes[-1].legend([Line2D([], [], color=MUTED, linestyle="--", linewidth=0.9)], [null], loc="best")
    return figure


def scale(summary: pd.DataFrame) -> "Figure | None":
    """All effects, salient or not: strength, spread, and what is free of scale."""
    found = [(MEASURES[key].label, pick(summary, key, "all")) for key in SCALE]
    return _grid([(label, rows, COLOURS["all"]) for label, rows in found if len(rows)])


def task(table: pd.DataFrame) -> "Figure | None":
    """Every task metric that was measured."""
    found = []
    for key, metric in METRICS.items():
        if key in table and table[key].notna().any():
            ends = {end: table.get(f"{key}_{end}", pd.Series(np.nan, index=table.index)) for end in ("lo", "hi")}
            rows = pd.DataFrame({"step": table["step"], "value": table[key], **ends}).dropna(subset=["value"])
            found.append((metric.label, rows.sort_values("step"), "#3c4b8a"))
    return _grid(found)


def _grid(found: Sequence[tuple[str, pd.DataFrame, str]]) -> "Figure | None":
    if not found:
        return None
    figure, axes = panels(len(found), 3)
    steps = sorted({int(step) for _, rows, _ in found for step in rows["step"]})
    for axis, (label, rows, colour) in zip(axes, found, strict=True):
        curve(axis, rows, Look(colour))
        axis.set_title(label)
        steps_axis(axis, steps)
        if rows[["value", "lo"]].min().min() >= 0 and "perplexity" not in label:
            axis.set_ylim(bottom=0)
    return figure


def lines(
    tables: Sequence[tuple[str, pd.DataFrame]],
    draw: Sequence[tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]],
    most: int = 3,
) -> "Figure | None":
    """Several tables on the same panels, at most `most` panels in a row, one line a table.

    `draw` has a panel's title and how to find its rows. With more than three tables only the first keeps its interval, since
    bands over bands cannot be read.
    """
    drawn = [(title, find) for title, find in draw if any(len(find(table)) for _, table in tables)]
    if not drawn:
        return None
    figure, axes = panels(len(drawn), most)
    steps = sorted({int(step) for _, table in tables for step in table["step"]})
    handles: dict[str, Any] = {}
    for axis, (title, find) in zip(axes, drawn, strict=True):
        for i, (label, table) in enumerate(tables):
            rows = find(table)
            if len(rows):
                look = Look(CYCLE[i % 8], "o", DASHES[(i + i // 8) % 4], band=i == 0 or len(tables) <= 3)
                handles[name(label)] = curve(axis, rows, look)
        axis.set_title(title)
        axis.set_ylim(bottom=0)
        steps_axis(axis, steps)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(3, len(handles)))
    return figure


def views(main: pd.DataFrame, table: pd.DataFrame, titles: dict[str, str]) -> "Figure | None":
    """The main trajectory, and the same trajectory computed in other ways."""
    tables = [("as in the paper", main)]
    tables += [(titles.get(str(view), str(view)), rows) for view, rows in table.groupby("view", sort=False)]
    shown = itertools.product(("count", "strength", "rho"), MAIN_SETS)
    return lines(tables, [(f"{m}, {s}", partial(pick, measure=m, set_=s)) for m, s in shown])


def baselines(table: pd.DataFrame) -> "Figure | None":
    """gamma against every baseline LLM."""
    tables = [(str(label), rows) for label, rows in table.groupby("baseline", sort=False)]
    return lines(tables, [(f"gamma, {s}", partial(pick, measure="gamma", set_=s)) for s in MAIN_SETS])


def multiples(table: pd.DataFrame, reference: int) -> "Figure | None":
    """What is removed and what emerges, in units of each churn floor, on a logarithmic axis; 1 is the floor itself."""
    table = table[(table["definition"] == "paper") & (table["reference"] == reference)]
    table = table[table["ratio"].notna() & (table["ratio"] > 0)].rename(columns={"ratio": "value"})
    tables = [(f"floor: {floor}", rows) for floor, rows in table.groupby("floor", sort=False)]

    def find(rows: pd.DataFrame, measure: str, set_: str) -> pd.DataFrame:
        return rows[(rows["measure"] == measure) & (rows["set"] == set_)].sort_values("step")

    shown = itertools.product(("count", "strength"), CHURN_SETS)
    figure = lines(tables, [(f"{m}, {s}", partial(find, measure=m, set_=s)) for m, s in shown], most=2)
    if figure is not None:
        for axis in figure.axes:
            if axis.axison:
                axis.set_yscale("log")
                axis.autoscale(axis="y")
                axis.yaxis.set_major_formatter("{x:g}")
                axis.axhline(1, color=MUTED, linestyle="--", linewidth=0.9)
                axis.set_ylabel("times the floor")
    return figure
