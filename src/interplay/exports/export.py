"""A finished run as a folder: figures/NAME.svg, tables/NAME.csv and .parquet, and a README that explains every column."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from interplay.atomic import write_text
from interplay.errors import InterplayError
from interplay.exports.figures import catalogue
from interplay.exports.figures.style import save, styled
from interplay.exports.tables import all_tables, readme, write_table
from interplay.extras import require
from interplay.store.reader import RunReader

FORMATS = ("svg", "pdf", "png")
TABLES = ("csv", "parquet")


class ExportResult(NamedTuple):
    """How much was written, and what the run did not have, one sentence each."""

    figures: int
    tables: int
    missing: tuple[str, ...]


def export_run(run: RunReader, out: Path, format: str | Sequence[str], tables: str | Sequence[str]) -> ExportResult:
    """Write the figures and tables in these formats, and the README. Files of the same names are replaced.

    Raises InterplayError for an unknown format, an unfinished run, and an `out` inside the run or that cannot be written.
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
        every = all_tables(run) if kinds else []
        for table in every:
            for kind in table.kinds(kinds):
                write_table(table, out / "tables", kind)
        figures, undrawn = draw_figures(run, out / "figures", formats) if formats else ([], [])
    missing = [f"figure {name}: its measure is not in this run, left out" for name in undrawn]
    write_text(out / "README.md", readme(run.settings.name, every, figures, formats, kinds), folders=None)
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


def draw_figures(run: RunReader, folder: Path, formats: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the figures written, and of those whose measure is absent."""
    written, absent = [], []
    with styled():
        for name, make in catalogue.figures_of(run):
            figure = make()
            if figure is None:
                absent.append(name)
                continue
            for kind in formats:
                save(figure, folder / f"{name}.{kind}")
            written.append(name)
    return written, absent
