"""Figures that are no curves over checkpoints: orders, matching, sparsity, churn floors, correlations."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interplay.dynamics.sets import MAIN_DEFINITION, MAIN_SETS
from interplay.effects.moebius import reconstruct
from interplay.exports.figures.style import COLOURS, CYCLE, MARKERS, MUTED, PANEL, name, panels
from interplay.task.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Steps = Sequence[tuple[int, pd.DataFrame]]  # the rows of `units` at some steps
MOST_POINTS = 600  # of a scatter's panel: every k-th coalition, so that a vector file stays small [ours]


def evolution(summary: pd.DataFrame, steps: Sequence[int]) -> "Figure | None":
    """Strength by order, positive up and negative down, for each set (rows) and checkpoint (columns) [paper]."""
    orders = sorted(o for o in set(summary["order"]) if o > 0)
    shown = [s for s in MAIN_SETS if len(summary[(summary["set"] == s) & (summary["measure"] == "positive")])]
    if not orders or not shown:
        return None
    figure, axes = panels(len(shown) * len(steps), len(steps), sharex=True, sharey=True)
    figure.set_size_inches(max(1.05 * len(steps), 3.2), 1.25 * len(shown) + 0.5)
    rows = summary[(summary["definition"] == MAIN_DEFINITION) & (summary["order"] > 0)]
    for k, (axis, (set_, step)) in enumerate(zip(axes, itertools.product(shown, steps), strict=True)):
        here = rows[(rows["set"] == set_) & (rows["step"] == step)]
        for measure, alpha in (("positive", 1.0), ("negative", 0.55)):
            bars = here[here["measure"] == measure].dropna(subset=["value"])
            axis.bar(bars["order"], bars["value"], width=0.8, color=COLOURS[set_], alpha=alpha, linewidth=0)
            axis.vlines(bars["order"], bars["lo"], bars["hi"], color="#1d2126", linewidth=0.5)
            if bars["null"].notna().any():
                axis.step(
                    bars["order"], bars["null"], ":", where="mid", color=MUTED, linewidth=0.8, label="churn floor"
                )
        axis.axhline(0, color=MUTED, linewidth=0.6)
        axis.set_xticks([o for o in orders if o % 2 == orders[-1] % 2 or len(orders) < 6])
        if k < len(steps):
            axis.set_title(f"step {step}", fontsize=7.5)
        if k >= len(axes) - len(steps):
            axis.set_xlabel("order", fontsize=7)
        if k % len(steps) == 0:
            axis.set_ylabel(f"{set_}\n(log-odds)", color=COLOURS[set_])
    floors = [handle for axis in axes for handle in axis.get_legend_handles_labels()[0]]
    if floors:
        figure.legend(floors[:1], ["churn floor"], loc="outside lower right")
    return figure


def matching(found: Steps) -> "Figure | None":
    """v of every coalition against what the interactions of the logical model add up to [paper eq 2-3]."""
    if not found:
        return None
    figure, axes = panels(len(found), sharex=True, sharey=True)
    for axis, (step, rows) in zip(axes, found, strict=True):
        pairs = []
        for scores, *effects in rows[["scores", "and_effects", "or_effects"]].itertuples(index=False):
            pairs.append((scores, reconstruct(*(np.asarray(e, float) for e in effects), scores[0])))
        v, model = (np.concatenate(side) for side in zip(*pairs, strict=True))
        every = max(1, len(v) // MOST_POINTS)
        ends = [float(min(v.min(), model.min())), float(max(v.max(), model.max()))]
        axis.plot(ends, ends, color=MUTED, linewidth=0.7)
        axis.plot(v[::every], model[::every], ".", color=COLOURS["preserved"], markersize=2.2, alpha=0.6)
        axis.set_title(f"step {step}")
        axis.set_xlabel("v(S), scored (log-odds)")
        axis.locator_params(nbins=5)
        said = f"{len(v):,} coalitions\nlargest difference {np.abs(v - model).max():.2g}"
        axis.text(0.04, 0.96, said, transform=axis.transAxes, va="top", fontsize=6.5, color=MUTED)
        axis.grid(True, axis="both")
    axes[0].set_ylabel("from interactions (log-odds)")
    return figure


def sparsity(found: Steps, ratio: float) -> "Figure | None":
    """Effects of each prompt from strongest to weakest, as shares of the strongest: how few carry the score [paper]."""
    if not found:
        return None
    figure, (axis,) = panels(1)
    figure.set_size_inches(1.6 * PANEL[0], 1.35 * PANEL[1])
    floor, longest = 1e-4, 1
    for i, (step, rows) in enumerate(found):
        sizes = [np.abs(np.concatenate(e)) for e in rows[["and_effects", "or_effects"]].itertuples(index=False)]
        sizes = [np.sort(s / s.max())[::-1] for s in sizes if s.max() > 0]
        if not sizes:
            continue
        length = min(map(len, sizes))
        table = np.maximum(np.stack([s[:length] for s in sizes]), floor)
        middle, lo, hi = np.median(table, axis=0), *np.quantile(table, [0.1, 0.9], axis=0)
        rank = np.arange(1, length + 1)
        longest = max(longest, int((hi > floor).sum()))
        axis.fill_between(rank, lo, hi, color=CYCLE[i % 8], alpha=0.12, linewidth=0)
        axis.plot(rank, middle, color=CYCLE[i % 8], label=f"step {step}")
    axis.axhline(ratio, color=MUTED, linestyle="--", linewidth=0.9, label=f"salient above {ratio:g}")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(floor, 1.2)
    axis.set_xlim(0, 1.1 * longest)
    axis.set_xlabel("rank of the effect")
    axis.set_ylabel("size / largest size")
    axis.legend(loc="upper right")
    return figure


def floors(table: pd.DataFrame, reference: int) -> "Figure | None":
    """The churn floors: what each change that means nothing removes and lets emerge at the reference."""
    table = table[(table["definition"] == MAIN_DEFINITION) & (table["reference"] == reference)].dropna(subset=["value"])
    known = ("count", "strength", "count_fraction", "strength_fraction")
    measures = [m for m in known if (table["measure"] == m).any()]
    if not measures:
        return None
    table = table[table["set"].isin(["removed", "emerged"])].sort_values("set", ascending=False, kind="stable")
    figure = _dots(table, "floor", "measure", {measure: measure.replace("_", " ") for measure in measures})
    for axis in figure.axes:
        axis.set_xlim(left=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def correlations(table: pd.DataFrame) -> "Figure | None":
    """Spearman's rank correlation over checkpoints between each interaction measure and each task metric, with its interval."""
    table = table.dropna(subset=["spearman"])
    if table.empty:
        return None
    titles = {}
    for metric in dict.fromkeys(table["task"]):
        titles[metric] = METRICS[metric].title if metric in METRICS else name(str(metric).replace("_", " "), 40)
    figure = _dots(table.assign(set="all", value=table["spearman"]), "interaction", "task", titles)
    for axis in figure.axes:
        axis.set_xlim(-1.05, 1.05)
        axis.axvline(0, color=MUTED, linewidth=0.7)
    figure.supxlabel("rank correlation over checkpoints", fontsize=8)
    return figure


def _dots(table: pd.DataFrame, row: str, panel: str, titles: Mapping[str, str]) -> "Figure":
    """Values as dots with their intervals: a row for each value of the column `row`, panels by `panel`, colours by set."""
    names, sets = list(dict.fromkeys(table[row])), list(dict.fromkeys(table["set"]))
    figure, axes = panels(len(titles), 4, sharey=True)
    columns, lines = min(4, len(titles)), math.ceil(len(titles) / 4)
    figure.set_size_inches(1.8 * columns + 0.8, lines * (0.13 * (1 + len(sets)) * len(names) + 0.45) + 0.45)
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for i, set_ in enumerate(sets):
            here, colour = table[(table[panel] == key) & (table["set"] == set_)], COLOURS[set_]
            y = [names.index(each) + 0.26 * (i - (len(sets) - 1) / 2) for each in here[row]]
            axis.hlines(y, here["lo"], here["hi"], color=colour, linewidth=1.0, alpha=0.8)
            axis.plot(here["value"], y, MARKERS[set_], color=colour, linestyle="none", label=set_)
        axis.set_title(title)
        axis.grid(True, axis="x")
        axis.grid(False, axis="y")
    axes[0].set_yticks(range(len(names)), [name(str(each).replace("_", " "), 40) for each in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure
