"""`interplay card`: a run as a section of a model card, printed, written or put into the card. Options only."""

from pathlib import Path
from typing import Annotated

import typer

from interplay.errors import InterplayError


def card(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the section into this file of its own.")
    ] = None,
    append: Annotated[
        Path | None,
        typer.Option(
            "--append",
            metavar="README.md",
            help="Put it into this card, in the place of an earlier section or at the end; all else in it stays.",
        ),
    ] = None,
) -> None:
    """Write a "Training dynamics" section for a Hugging Face model card, from the files of a run alone."""
    if out is not None and append is not None:
        raise InterplayError("--out and --append exclude each other: give one of them")

    import sys

    from interplay import verbs
    from interplay.cli.show import printable
    from interplay.exports.card import append_section, write_section

    text = verbs.card(run_folder)
    if out is not None:
        write_section(out, text)
        print(printable(str(out)))
    elif append is not None:
        print(printable(f"{append}: {append_section(append, text)}"))
    else:
        sys.stdout.write(text)
