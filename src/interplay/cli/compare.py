"""`interplay compare`: the page of a comparison, and its table on the terminal."""

import json
from pathlib import Path
from typing import Annotated

import typer

from interplay import verbs
from interplay.cli.show import printable, say
from interplay.errors import InterplayError


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
    definition: Annotated[str, typer.Option(help="Definition of the sets: paper, signed or fixed-tau.")] = "paper",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every table as JSON; the page is then only written with --out.")
    ] = False,
) -> None:
    """Compare two or more runs on one page with shared axes: LoRA against full fine-tuning, seeds, models."""
    groups = read_groups(group or [])
    if out is not None and out.is_dir():
        raise InterplayError(f"--out {str(out)!r} is a folder, expected the name of a page: end it in a file name")

    page = out or (None if as_json else Path("comparison.html"))
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
