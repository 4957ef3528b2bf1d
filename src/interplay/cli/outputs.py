"""`interplay report`, `card`, `export` and `compare`: what is made of runs that are there, and measures nothing."""

import json
from pathlib import Path
from typing import Annotated

import typer

from interplay import verbs
from interplay.cli.options import RunFolder
from interplay.cli.show import printable, say
from interplay.errors import InterplayError
from interplay.pipeline.progress import SOON, Progress
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

    with Progress(after=SOON).phase("writing the page") as advance:
        path = Run(run_folder).report(out, overrides or (), progress=advance)
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
    with Progress(after=SOON).phase("drawing figures and writing tables") as advance:
        done = verbs.export(run, out, format=format, tables=tables, progress=advance)
    for text in done.missing:
        tell(printable(f"interplay: {text}"))
    print(printable(f"{done.figures} figures and {done.tables} tables in {out}"))


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN RUN...", help="Finished run folders, two or more.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write the page; default comparison.html.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="NAME=RUN,RUN",
            help="Show these runs as one line, their mean; repeat for several groups. Runs that differ only in training.seed "
            "form a group without it.",
        ),
    ] = None,
    axis: Annotated[str, typer.Option(help="steps, or epochs if every run knows its training rows.")] = "steps",
    definition: Annotated[
        str | None, typer.Option(help="Definition of the sets: common (default), paper, signed.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every table as JSON; the page is then only written with --out.")
    ] = False,
) -> None:
    """Compare two or more runs on one page with shared axes: LoRA against full fine-tuning, seeds, models."""
    groups = read_groups(group or [])
    if out is not None and out.is_dir():
        raise InterplayError(f"--out {str(out)!r} is a folder, expected the name of a page: end it in a file name")

    page = out or (None if as_json else Path("comparison.html"))
    with Progress(after=SOON).phase("comparing the runs"):
        found = verbs.compare(runs or [], out=page, group=groups, axis=axis, definition=definition)
    if as_json:
        print(json.dumps(found.payload, indent=1, allow_nan=False))
        return
    for note in found.notes:
        say(f"note: {note}")
    for line in found.table():
        print(printable(line))
    for line in found.findings():
        say(line)
    print(f"Comparison: {printable(str(page))}")


def read_groups(given: list[str]) -> dict[str, list[Path]]:
    """`NAME=RUN,RUN` as name -> run folders.

    >>> read_groups(["LoRA=runs/a,runs/b"])
    {'LoRA': [PosixPath('runs/a'), PosixPath('runs/b')]}
    """
    groups: dict[str, list[Path]] = {}
    for text in given:
        name, equals, members = text.partition("=")
        paths = [Path(part.strip()) for part in members.split(",") if part.strip()]
        if not equals or not name.strip() or not paths:
            raise InterplayError(f"--group {text!r}: write it as NAME=RUN,RUN")
        if name.strip() in groups:
            raise InterplayError(f"--group {name.strip()!r} is given twice: name every group once")
        groups[name.strip()] = paths
    return groups
