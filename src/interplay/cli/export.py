"""`interplay export`: every figure of a run as a vector file and every number as a table. Options only; see `runs.export`."""

from pathlib import Path
from typing import Annotated

import typer

from interplay.errors import InterplayError

FORMATS = ("svg", "pdf", "png")
TABLES = ("csv", "parquet")


def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for figures/, tables/ and README.md.")
    ],
    figures: Annotated[
        str, typer.Option("--format", help="Formats of the figures with commas: svg, pdf, png; or none.")
    ] = "svg,pdf",
    tables: Annotated[
        str, typer.Option("--tables", help="Formats of the tables: csv, parquet; or none.")
    ] = "csv,parquet",
) -> None:
    """Write every figure of a run for a paper, and every number behind it."""
    formats, kinds = chosen(figures, FORMATS, "--format"), chosen(tables, TABLES, "--tables")
    if not formats and not kinds:
        raise InterplayError("--format none and --tables none leave nothing to export: drop one of them")
    if formats:
        from interplay.figures import require

        require()

    import sys

    from interplay.cli.show import printable
    from interplay.runs.export import export_run

    done = export_run(run_folder, out, formats, kinds)
    for text in done.missing:
        print(printable(f"interplay: {text}"), file=sys.stderr)
    print(printable(f"{done.figures} figures and {done.tables} tables in {out}"))


def chosen(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Names with commas, each among the known ones; `none` is none of them.

    >>> chosen("pdf, svg", ("svg", "pdf"), "--format"), chosen("none", ("svg",), "--format")
    (('pdf', 'svg'), ())
    """
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    if names in ([], ["none"]):
        return ()
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None:
        raise InterplayError(f"{option} has {wrong!r}, expected {', '.join(known)} or none")
    return tuple(dict.fromkeys(names))
