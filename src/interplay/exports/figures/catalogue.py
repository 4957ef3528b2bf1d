"""Which figures a run has: a name and a maker each, from the tables that are there. It draws nothing itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from interplay.exports.figures import curves, shapes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = ("count", "strength", "rho", "gamma", "sufficiency", "contribution", "mean_order")
MOST_COLUMNS = 10  # checkpoints of the order histograms and the like; more are thinned, the ends stay [ours]


@dataclass(frozen=True, eq=False)
class Tables:
    """What figures are drawn from; a table that a run does not have is absent from `more`.

    units     units of the checkpoints themselves: step, scores, and_effects, or_effects
    titles    view -> its title
    kept      the recommended step, shown among the few checkpoints of matching and sparsity
    """

    steps: tuple[int, ...]
    reference: int
    ratio: float
    summary: pd.DataFrame
    units: pd.DataFrame
    task: pd.DataFrame
    more: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    kept: int | None = None


def figures_of(tables: Tables) -> Iterator[tuple[str, Callable[[], "Figure | None"]]]:
    """Name and maker of every figure; a maker gives None where its measure is not in the tables. Call inside `styled`."""
    shown = {tables.reference, tables.kept, tables.steps[-1]}
    few = [step for step in tables.steps if step in shown]
    paper = tables.summary
    yield "evolution-orders", lambda: shapes.evolution(paper, _thinned(tables.steps))
    for measure in MEASURES:
        title = f"evolution-{measure}" if measure in ("count", "strength") else measure.replace("_", "-")
        yield title, partial(curves.by_set, paper, measure)
    yield "scale", lambda: curves.scale(paper)
    yield "task", lambda: curves.task(tables.task)
    yield "matching", lambda: shapes.matching(tables.units, few)
    yield "sparsity", lambda: shapes.sparsity(tables.units, few, tables.ratio)
    drawn = {
        "multiples": ("churn-multiples", lambda table: curves.multiples(table, tables.reference)),
        "floors": ("churn-floors", lambda table: shapes.floors(table, tables.reference)),
        "views": ("views", lambda table: curves.views(paper, table, dict(tables.titles))),
        "baselines": ("gamma-baselines", curves.baselines),
        "correlations": ("correlations", shapes.correlations),
    }
    for name, (title, draw) in drawn.items():
        if name in tables.more:
            yield title, partial(draw, tables.more[name])


def _thinned(steps: tuple[int, ...], most: int = MOST_COLUMNS) -> list[int]:
    """At most so many steps, evenly by place, first and last among them.

    >>> _thinned(tuple(range(0, 110, 10)), 3)
    [0, 50, 100]
    """
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
