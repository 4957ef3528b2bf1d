"""A finished run as a folder: figures/NAME.svg, tables/NAME.csv and .parquet, and a README that explains every column."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from interplay.atomic import write_text
from interplay.errors import InterplayError
from interplay.exports.figures import curves, shapes
from interplay.exports.figures.style import save, styled
from interplay.exports.tables import all_tables, readme, write_table
from interplay.extras import require
from interplay.store.conditions import step_name
from interplay.store.reader import RunReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
TABLES = ("csv", "parquet")
MEASURES = ("count", "strength", "rho", "gamma", "sufficiency", "contribution", "mean_order")
MOST_COLUMNS = 10  # checkpoints in the order histograms; more are thinned, the ends stay [ours]


class ExportResult(NamedTuple):
    """How much was written, and what the run did not have, one sentence each."""

    figures: int
    tables: int
    missing: tuple[str, ...]


def export_run(
    run: RunReader,
    out: Path,
    format: str | Sequence[str],
    tables: str | Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> ExportResult:
    """Write the figures and tables in these formats, and the README. Files of the same names are replaced.

    `progress` is called with (tables and figures done, in all). Raises InterplayError for an unknown format, an unfinished run, and
    an `out` inside the run or that cannot be written.
    """
    formats, kinds = chosen(format, FORMATS, "--format"), chosen(tables, TABLES, "--tables")
    if not formats and not kinds:
        raise InterplayError("--format none and --tables none leave nothing to export: drop one of them")
    if formats:
        require("matplotlib", what="a figure")
    run.require_finished()
    if run.path.resolve() in (out.resolve(), *out.resolve().parents):
        raise InterplayError(f"--out {str(out)!r} lies in the run folder, which holds the run alone: choose another")
    with run.intact():
        every, done = all_tables(run) if kinds else [], itertools.count(1)
        of = len(every) + (sum(1 for _ in figures_of(run)) if formats else 0)

        def advance() -> None:
            if progress is not None:
                progress(next(done), of)

        for table in every:
            for kind in table.kinds(kinds):
                write_table(table, out / "tables", kind)
            advance()
        figures, undrawn = draw_figures(run, out / "figures", formats, advance) if formats else ([], [])
    missing = [f"figure {name}: its measure is not in this run, left out" for name in undrawn]
    write_text(out / "README.md", readme(run, every, figures, formats, kinds), folders=None)
    return ExportResult(len(figures), len(every), tuple(missing))


def chosen(given: str | Sequence[str], known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Names from a sequence or a text with commas, each among the known ones; `none` is an empty choice.

    >>> chosen("pdf, svg", ("svg", "pdf"), "--format"), chosen("none", ("svg",), "--format"), chosen(["svg"], ("svg",), "--format")
    (('pdf', 'svg'), (), ('svg',))
    """
    names = [part.strip().lower() for part in (given.split(",") if isinstance(given, str) else given) if part.strip()]
    if names in ([], ["none"]):
        return ()
    if unknown := [name for name in names if name not in known]:
        raise InterplayError(f"{option} has {unknown[0]!r}, expected {', '.join(known)} or none")
    return tuple(dict.fromkeys(names))


def draw_figures(
    run: RunReader, folder: Path, formats: Sequence[str], advance: Callable[[], None] = lambda: None
) -> tuple[list[str], list[str]]:
    """Names of the figures written, and of those whose measure is absent; tells of each."""
    written, absent = [], []
    with styled():
        for name, make in figures_of(run):
            figure = make()
            advance()
            if figure is None:
                absent.append(name)
                continue
            for kind in formats:
                save(figure, folder / f"{name}.{kind}")
            written.append(name)
    return written, absent


def figures_of(run: RunReader) -> Iterator[tuple[str, Callable[[], "Figure | None"]]]:
    """Name and maker of every figure. Call inside `styled`. A maker gives None if the run does not have its measure."""
    track = run.trajectory
    summary, reference = track.summary, track.reference
    main = {step_name(step): step for step in track.steps}
    units = run.units[run.units["condition"].isin(list(main))]
    units = units.assign(step=units["condition"].map(main))
    few = sorted({reference, run.recorded["step"], track.steps[-1]} & set(track.steps))
    found = [(step, rows) for step in few if len(rows := units[units["step"] == step])]
    yield "evolution-orders", partial(shapes.evolution, summary, _thinned(track.steps))
    for measure in MEASURES:
        title = f"evolution-{measure}" if measure in ("count", "strength") else measure.replace("_", "-")
        yield title, partial(curves.by_set, summary, measure)
    yield "scale", partial(curves.scale, summary)
    yield "task", partial(curves.task, run.task)
    yield "matching", partial(shapes.matching, found)
    yield "sparsity", partial(shapes.sparsity, found, run.settings.dynamics.ratio)
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
