"""Figures that are no curves over checkpoints: orders, matching, sparsity, churn floors, correlations."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

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
    figure, axes = panels(len(shown) * len(steps), len(steps), sharex=True, sharey=True)
    figure.set_size_inches(max(1.05 * len(steps), 3.2), 1.25 * len(shown) + 0.5)
    rows = summary[(summary["definition"] == "paper") & (summary["order"] > 0)]
    for k, (axis, (set_, step)) in enumerate(zip(axes, itertools.product(shown, steps), strict=True)):
        here = rows[(rows["set"] == set_) & (rows["step"] == step)]
        for measure, alpha in (("positive", 1.0), ("negative", 0.55)):
            bars = here[here["measure"] == measure].dropna(subset=["value"])
            axis.bar(bars["order"], bars["value"], width=0.8, color=COLOURS[set_], alpha=alpha, linewidth=0)
            axis.vlines(bars["order"], bars["lo"], bars["hi"], color="#1d2126", linewidth=0.5)
            if bars["null"].notna().any():
                look = {"color": MUTED, "linestyle": ":", "linewidth": 0.8}
                axis.step(bars["order"], bars["null"], where="mid", label="churn floor", **look)
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


def matching(units: pd.DataFrame, steps: Sequence[int]) -> "Figure | None":
    """v of every coalition against what the interactions of the logical model add up to [paper eq 2-3]."""
    found = [(step, rows) for step in steps if len(rows := units[units["step"] == step])]
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
    """The churn floors: what each change that means nothing removes and lets emerge at the reference."""
    table = table[(table["definition"] == "paper") & (table["reference"] == reference)].dropna(subset=["value"])
    known = ("count", "strength", "count_fraction", "strength_fraction")
    measures = [m for m in known if (table["measure"] == m).any()]
    if not measures:
        return None
    kinds = list(dict.fromkeys(table["floor"]))
    figure, axes = panels(len(measures), 4, sharey=True)
    figure.set_size_inches(1.9 * len(measures) + 0.5, 0.42 * len(kinds) + 0.95)
    for axis, measure in zip(axes, measures, strict=True):
        for offset, set_ in ((-0.13, "removed"), (0.13, "emerged")):
            rows = table[(table["measure"] == measure) & (table["set"] == set_)]
            y = [kinds.index(kind) + offset for kind in rows["floor"]]
            _dots(axis, rows["value"], y, rows["lo"], rows["hi"], COLOURS[set_], MARKERS[set_], set_)
        axis.set_title(measure.replace("_", " "))
        axis.set_xlim(left=0)
    _name_rows(axes, kinds)
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
    columns, lines = min(4, len(metrics)), math.ceil(len(metrics) / 4)
    figure.set_size_inches(1.6 * columns + 1.0, lines * (0.24 * len(rows) + 0.45) + 0.4)
    for axis, metric in zip(axes, metrics, strict=True):
        here = table[table["task"] == metric]
        y = [rows.index(which) for which in here["interaction"]]
        axis.axvline(0, color=MUTED, linewidth=0.7)
        _dots(axis, here["spearman"], y, here["lo"], here["hi"], COLOURS["all"], "o", None)
        axis.set_title(METRICS[metric].title if metric in METRICS else name(str(metric).replace("_", " "), 40))
        axis.set_xlim(-1.05, 1.05)
    _name_rows(axes, rows)
    figure.supxlabel("rank correlation over checkpoints", fontsize=8)
    return figure


def _dots(axis, value, y, lo, hi, colour: str, marker: str, label: str | None) -> None:
    axis.hlines(y, lo, hi, color=colour, linewidth=1.0, alpha=0.8)
    axis.plot(value, y, marker, color=colour, linestyle="none", label=label)


def _name_rows(axes: Sequence["Axes"], names: Sequence[str]) -> None:
    """Names down the left side, and lines up and down instead of across."""
    for axis in axes:
        axis.grid(True, axis="x")
        axis.grid(False, axis="y")
    axes[0].set_yticks(range(len(names)), [name(str(row).replace("_", " "), 40) for row in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
