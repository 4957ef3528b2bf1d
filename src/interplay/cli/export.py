"""`interplay export`: every figure of a run as a vector file and every number as a table."""

from pathlib import Path
from typing import Annotated

import typer

from interplay import verbs
from interplay.cli.options import RunFolder
from interplay.cli.show import printable
from interplay.process import tell


def export(
    run: RunFolder,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for figures/, tables/ and README.md.")
    ],
    format: Annotated[
        str, typer.Option("--format", help="Formats of the figures, separated by commas: svg, pdf, png; or none.")
    ] = "svg,pdf",
    tables: Annotated[
        str, typer.Option("--tables", help="Formats of the tables: csv, parquet; or none.")
    ] = "csv,parquet",
) -> None:
    """Write every figure of a run for a paper, and every number behind it."""
    done = verbs.export(run, out, format=format, tables=tables)
    for text in done.missing:
        tell(printable(f"interplay: {text}"))
    print(printable(f"{done.figures} figures and {done.tables} tables in {out}"))
