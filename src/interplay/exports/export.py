"""A finished run -> a folder of figures, tables and a README that says what every column is. Reads files, computes nothing new.

DIR/figures/NAME.svg, .pdf     see `interplay.exports.figures`
DIR/tables/NAME.csv, .parquet  the run's own tables, and long tidy ones made from them (`export_tables`)
DIR/README.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interplay.atomic import write_text
from interplay.errors import InterplayError
from interplay.exports.tables import OPTIONAL, all_tables, optional_tables, readme, write_table
from interplay.store.conditions import step_name
from interplay.store.reader import RunReader

if TYPE_CHECKING:
    from interplay.exports.figures.catalogue import Tables

FORMATS = ("svg", "pdf", "png")
TABLES = ("csv", "parquet")


@dataclass(frozen=True)
class ExportResult:
    """How much was written, and what the run did not have, one sentence each."""

    figures: int
    tables: int
    missing: tuple[str, ...]


def export_run(run: RunReader, out: Path, format: str | Sequence[str], tables: str | Sequence[str]) -> ExportResult:
    """Write the figures in these formats, the tables in those, and the README. Files of the same names are replaced, whole.

    Raises InterplayError for a format that is not known, a folder that is not a finished run, an `out` inside it, and one that
    cannot be written.
    """
    formats, kinds = chosen(format, FORMATS, "--format"), chosen(tables, TABLES, "--tables")
    if not formats and not kinds:
        raise InterplayError("--format none and --tables none leave nothing to export: drop one of them")
    if formats:
        from interplay.exports.figures import require

        require()
    run.require_finished()
    with run.intact():
        return _export(run, out, formats, kinds)


def chosen(given: str | Sequence[str], known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Names, in a sequence or with commas, each among the known ones; `none` is none of them.

    >>> chosen("pdf, svg", ("svg", "pdf"), "--format"), chosen("none", ("svg",), "--format"), chosen(["svg"], ("svg",), "--format")
    (('pdf', 'svg'), (), ('svg',))
    """
    names = [part.strip().lower() for part in (given.split(",") if isinstance(given, str) else given) if part.strip()]
    if names in ([], ["none"]):
        return ()
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None:
        raise InterplayError(f"{option} has {wrong!r}, expected {', '.join(known)} or none")
    return tuple(dict.fromkeys(names))


def _export(run: RunReader, out: Path, formats: Sequence[str], kinds: Sequence[str]) -> ExportResult:
    inside, path = out.resolve(), run.path.resolve()
    if inside == path or path in inside.parents:
        raise InterplayError(f"--out {str(out)!r} lies in the run folder, which holds the run alone: choose another")
    missing = [f"{name}.parquet: {why}, left out" for name, why in OPTIONAL.items() if not run.has(f"{name}.parquet")]
    tables = all_tables(run) if kinds else []
    for table in tables:
        for kind in kinds:
            write_table(table, out / "tables", kind)
    figures, absent = draw_figures(run, out / "figures", formats) if formats else ([], [])
    missing += [f"figure {name}: its measure is not in this run, left out" for name in absent]
    write_text(out / "README.md", readme(run.settings.name, tables, figures, formats, kinds), folders=None)
    return ExportResult(len(figures), len(tables), tuple(missing))


def figure_tables(run: RunReader) -> "Tables":
    """What the figures of a run are drawn from."""
    from interplay.exports.figures.catalogue import Tables

    track = run.trajectory
    main = {step_name(step): step for step in track.steps}
    units = run.units[run.units["condition"].isin(list(main))]
    controls = run.json("controls.json") if run.has("controls.json") else {}
    return Tables(
        steps=track.steps,
        reference=track.reference,
        ratio=run.settings.dynamics.ratio,
        summary=track.summary,
        units=units.assign(step=units["condition"].map(main)),
        task=run.task,
        more=optional_tables(run),
        titles={view["name"]: view["title"] for view in controls.get("views", [])},
        kept=run.recorded["step"],
    )


def draw_figures(run: RunReader, folder: Path, formats: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the figures written, and of those whose measure is absent."""
    from interplay.exports.figures.catalogue import figures_of
    from interplay.exports.figures.style import save, styled

    tables = figure_tables(run)
    written, absent = [], []
    with styled():
        for name, make in figures_of(tables):
            figure = make()
            if figure is None:
                absent.append(name)
                continue
            for kind in formats:
                save(figure, folder / f"{name}.{kind}")
            written.append(name)
    return written, absent
