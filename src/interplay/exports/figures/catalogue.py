"""Which figures a run has: a name and a maker each, from the tables that are there."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from interplay.exports.figures import curves, shapes
from interplay.store.conditions import step_name
from interplay.store.reader import RunReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = ("count", "strength", "rho", "gamma", "sufficiency", "contribution", "mean_order")
MOST_COLUMNS = 10  # checkpoints in the order histograms; more are thinned, the ends stay [ours]


def figures_of(run: RunReader) -> Iterator[tuple[str, Callable[[], "Figure | None"]]]:
    """Name and maker of every figure. Call inside `styled`. A maker gives None if the run does not have its measure."""
    track = run.trajectory
    summary, reference = track.summary, track.reference
    main = {step_name(step): step for step in track.steps}
    units = run.units[run.units["condition"].isin(list(main))]
    units = units.assign(step=units["condition"].map(main))
    few = sorted({reference, run.recorded["step"], track.steps[-1]} & set(track.steps))
    yield "evolution-orders", partial(shapes.evolution, summary, _thinned(track.steps))
    for measure in MEASURES:
        title = f"evolution-{measure}" if measure in ("count", "strength") else measure.replace("_", "-")
        yield title, partial(curves.by_set, summary, measure)
    yield "scale", partial(curves.scale, summary)
    yield "task", partial(curves.task, run.task)
    yield "matching", partial(shapes.matching, units, few)
    yield "sparsity", partial(shapes.sparsity, units, few, run.settings.dynamics.ratio)
    yield "churn-multiples", partial(curves.multiples, run.table("multiples"), reference)
    yield "churn-floors", partial(shapes.floors, run.table("floors"), reference)
    titles = {view["name"]: view["title"] for view in run.json("controls.json")["views"]}
    yield "views", partial(curves.views, summary, run.table("views"), titles)
    yield "gamma-baselines", partial(curves.baselines, run.table("baselines"))
    yield "correlations", partial(shapes.correlations, run.table("correlations"))


def _thinned(steps: Sequence[int], most: int = MOST_COLUMNS) -> list[int]:
    """At most `most` steps, evenly by position, the first and the last among them.

    >>> _thinned(range(0, 110, 10), 3)
    [0, 50, 100]
    """
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
