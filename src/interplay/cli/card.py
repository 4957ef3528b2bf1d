"""`interplay card`: a run as a section of a model card, printed, written to a file or put into the card."""

from pathlib import Path
from typing import Annotated

import typer

from interplay import verbs
from interplay.cli.options import RunFolder
from interplay.cli.show import printable
from interplay.errors import InterplayError


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
