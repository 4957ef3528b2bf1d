"""`interplay report`, `card` and `export`: what is made of a run that is there, its page, a section of a model card, or a folder."""

from pathlib import Path
from typing import Annotated

import typer

from interplay import verbs
from interplay.cli.options import RunFolder
from interplay.cli.show import printable
from interplay.errors import InterplayError
from interplay.process import tell


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write the page; default RUN/report.html.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="A.B=C", help="Analyse again with dynamics.ratio=0.1, say; measures nothing. Repeatable."
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the default browser.")] = False,
) -> None:
    """Rebuild the page of a run from its tables; with --set analyse the run again first."""
    from interplay.runfolder import Run

    path = Run(run_folder).report(out, overrides or ())
    print(printable(str(path)))
    if open_page:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            raise InterplayError(f"no browser could be opened: open {str(path)!r} in one yourself")


def card(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the section into this file, alone.")
    ] = None,
    append: Annotated[
        Path | None,
        typer.Option(metavar="README.md", help="Model card to put the section into, replacing an earlier one."),
    ] = None,
) -> None:
    """Write a "Training dynamics" section for a Hugging Face model card."""
    from interplay.exports.card import append_section

    if out is not None and append is not None:
        raise InterplayError("--out and --append exclude each other: give one of them")
    text = verbs.card(run, out=out)
    if append is not None:
        print(printable(f"{append}: {append_section(append, text)}"))
    elif out is not None:
        print(printable(str(out)))
    else:
        print(text, end="")


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
