"""Figures other than curves over checkpoints: orders, matching, sparsity, churn floors, correlations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interplay.dynamics.measures import CHURN_MEASURES
from interplay.dynamics.sets import MAIN_SETS
from interplay.effects.moebius import reconstruct
from interplay.exports.figures.style import COLOURS, CYCLE, MARKERS, MUTED, PANEL, name, panels
from interplay.task.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 600  # of a scatter's panel: every k-th coalition, so that a vector file stays small [ours]


def evolution(summary: pd.DataFrame, steps: Sequence[int]) -> "Figure | None":
    """Strength by order, positive up and negative down, for each set (rows) and checkpoint (columns) [paper]."""
    orders = sorted(o for o in set(summary["order"]) if o > 0)
    shown = [s for s in MAIN_SETS if len(summary[(summary["set"] == s) & (summary["measure"] == "positive")])]
    if not orders or not shown:
        return None
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(max(1.05 * len(steps), 3.2), 1.25 * len(shown) + 0.5), layout="constrained")
    axes = figure.subplots(len(shown), len(steps), sharex=True, sharey=True, squeeze=False)
    rows = summary[(summary["definition"] == "paper") & (summary["order"] > 0)]
    for i, set_ in enumerate(shown):
        for j, step in enumerate(steps):
            axis = axes[i][j]
            here = rows[(rows["set"] == set_) & (rows["step"] == step)]
            for measure, alpha in (("positive", 1.0), ("negative", 0.55)):
                bars = here[here["measure"] == measure].dropna(subset=["value"])
                if bars.empty:
                    continue
                axis.bar(bars["order"], bars["value"], width=0.8, color=COLOURS[set_], alpha=alpha, linewidth=0)
                if bars["lo"].notna().any():
                    error = np.abs(np.stack([bars["value"] - bars["lo"], bars["hi"] - bars["value"]]))
                    axis.errorbar(
                        bars["order"], bars["value"], yerr=error, fmt="none", ecolor="#1d2126", elinewidth=0.5
                    )
                if bars["null"].notna().any():
                    axis.step(bars["order"], bars["null"], where="mid", color=MUTED, linestyle=":", linewidth=0.8)
            axis.axhline(0, color=MUTED, linewidth=0.6)
            axis.set_xticks([o for o in orders if o % 2 == orders[-1] % 2 or len(orders) < 6])
            if i == 0:
                axis.set_title(f"step {step}", fontsize=7.5)
            if i == len(shown) - 1:
                axis.set_xlabel("order", fontsize=7)
        axes[i][0].set_ylabel(f"{set_}\n(log-odds)", color=COLOURS[set_])
    if rows["null"].notna().any():
        floor = Line2D([], [], color=MUTED, linestyle=":", linewidth=0.8)
        figure.legend([floor], ["churn floor"], loc="outside lower right")
    return figure


def matching(units: pd.DataFrame, steps: Sequence[int]) -> "Figure | None":
    """v of every coalition against what the interactions of the logical model add up to [paper eq 2-3]."""
    found = [(step, rows) for step in steps if len(rows := units[units["step"] == step])]
    if not found:
        return None
    figure, axes = panels(len(found), sharex=True, sharey=True)
    for axis, (step, rows) in zip(axes, found, strict=True):
        v, model, worst = _matched(rows)
        every = max(1, len(v) // MOST_POINTS)
        ends = [float(min(v.min(), model.min())), float(max(v.max(), model.max()))]
        axis.plot(ends, ends, color=MUTED, linewidth=0.7)
        axis.plot(
            v[::every], model[::every], ".", color=COLOURS["preserved"], markersize=2.2, alpha=0.6, linestyle="none"
        )
        axis.set_title(f"step {step}")
        axis.set_xlabel("v(S), scored (log-odds)")
        axis.locator_params(nbins=5)
        said = f"{len(v):,} coalitions\nlargest difference {worst:.2g}"
        axis.text(0.04, 0.96, said, transform=axis.transAxes, va="top", fontsize=6.5, color=MUTED)
        axis.grid(True, axis="both")
    axes[0].set_ylabel("from interactions (log-odds)")
    return figure


def _matched(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores, the same from the effects, and their largest difference, over all coalitions of all prompts."""
    pairs = []
    for scores, *effects in rows[["scores", "and_effects", "or_effects"]].itertuples(index=False):
        v = np.asarray(scores, float)
        pairs.append((v, reconstruct(*(np.asarray(e, float) for e in effects), v[0])))
    v, model = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return v, model, float(np.abs(v - model).max())


def sparsity(units: pd.DataFrame, steps: Sequence[int], ratio: float) -> "Figure | None":
    """Effects of each prompt from strongest to weakest, as shares of the strongest: how few carry the score [paper]."""
    found = [(step, rows) for step in steps if len(rows := units[units["step"] == step])]
    if not found:
        return None
    figure, (axis,) = panels(1)
    figure.set_size_inches(1.6 * PANEL[0], 1.35 * PANEL[1])
    floor, longest = 1e-4, None
    for i, (step, rows) in enumerate(found):
        sizes = [np.abs(np.concatenate(e)) for e in rows[["and_effects", "or_effects"]].itertuples(index=False)]
        sizes = [np.sort(s / s.max())[::-1] for s in sizes if s.max() > 0]
        if not sizes:
            continue
        length = min(map(len, sizes))
        table = np.maximum(np.stack([s[:length] for s in sizes]), floor)
        middle, lo, hi = np.median(table, axis=0), *np.quantile(table, [0.1, 0.9], axis=0)
        rank = np.arange(1, length + 1)
        longest = max(longest or 0, int((hi > floor).sum()))
        axis.fill_between(rank, lo, hi, color=CYCLE[i % 8], alpha=0.12, linewidth=0)
        axis.plot(rank, middle, color=CYCLE[i % 8], label=f"step {step}")
    axis.axhline(ratio, color=MUTED, linestyle="--", linewidth=0.9, label=f"salient above {ratio:g}")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(floor, 1.2)
    axis.set_xlim(0, None if longest is None else 1.1 * longest)
    axis.set_xlabel("rank of the effect")
    axis.set_ylabel("size / largest size")
    axis.legend(loc="upper right")
    return figure


def floors(table: pd.DataFrame, reference: int) -> "Figure | None":
    """The churn floors: what each meaningless change removes and adds at the reference."""
    table = table[(table["definition"] == "paper") & (table["reference"] == reference)].dropna(subset=["value"])
    measures = [measure for measure in CHURN_MEASURES if (table["measure"] == measure).any()]
    if not measures:
        return None
    kinds = list(dict.fromkeys(table["floor"]))
    figure, axes = panels(len(measures), sharey=True)
    figure.set_size_inches(1.9 * len(measures) + 0.5, 0.42 * len(kinds) + 0.95)
    for axis, measure in zip(axes, measures, strict=True):
        for offset, set_ in ((-0.13, "removed"), (0.13, "emerged")):
            rows = table[(table["measure"] == measure) & (table["set"] == set_)]
            _dots(axis, rows, [kinds.index(kind) + offset for kind in rows["floor"]], set_, set_)
        axis.set_title(measure.replace("_", " "))
        axis.set_xlim(left=0)
    _row_names(axes[0], [name(str(kind), 30) for kind in kinds])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def correlations(table: pd.DataFrame) -> "Figure | None":
    """Spearman's rank correlation over checkpoints between each interaction measure and each task metric, with its interval."""
    table = table.dropna(subset=["spearman"])
    if table.empty:
        return None
    rows = list(dict.fromkeys(table["interaction"]))
    metrics = list(dict.fromkeys(table["task"]))
    figure, axes = panels(len(metrics), 4, sharey=True, sharex=True)
    columns, lines = min(4, len(metrics)), -(-len(metrics) // 4)
    figure.set_size_inches(1.6 * columns + 1.0, lines * (0.24 * len(rows) + 0.45) + 0.4)
    for axis, metric in zip(axes, metrics, strict=True):
        here = table[table["task"] == metric].rename(columns={"spearman": "value"})
        axis.axvline(0, color=MUTED, linewidth=0.7)
        _dots(axis, here, [rows.index(row) for row in here["interaction"]], "all")
        axis.set_title(METRICS[metric].title if metric in METRICS else name(str(metric).replace("_", " "), 40))
        axis.set_xlim(-1.05, 1.05)
    _row_names(axes[0], [name(str(row).replace("_", " "), 40) for row in rows])
    figure.supxlabel("rank correlation over checkpoints", fontsize=8)
    return figure


def _dots(axis: "Axes", rows: pd.DataFrame, y: Sequence[float], set_: str, label: str | None = None) -> None:
    """A row of a dot chart: values with their intervals, in the look of a set."""
    axis.hlines(y, rows["lo"], rows["hi"], color=COLOURS[set_], linewidth=1.0, alpha=0.8)
    axis.plot(rows["value"], y, MARKERS[set_], color=COLOURS[set_], linestyle="none", label=label)
    axis.grid(True, axis="x")
    axis.grid(False, axis="y")


def _row_names(axis: "Axes", names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
