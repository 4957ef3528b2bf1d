"""`interplay card`: a run as a section of a model card, printed, written or put into the card. See `runs.card`."""

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

    from interplay.atomic import write_bytes
    from interplay.cli.show import printable
    from interplay.runs.card import BEGIN, insert, is_section, section
    from interplay.runs.folder import RunFolder

    text = section(RunFolder(run_folder))
    if out is not None:
        if out.exists() and not is_section(_read(out)):
            raise InterplayError(
                f"{str(out)!r} exists and is not a section of ours: give it to --append, or another --out"
            )
        write_bytes(out, text.encode("utf-8"), folders=None)
        print(printable(str(out)))
    elif append is not None:
        before = _read(append)
        after = insert(before, text, repr(str(append)))
        if after != before:
            _replace(append, after)
        verb = "unchanged" if after == before else ("section replaced" if BEGIN.encode() in before else "section added")
        print(printable(f"{append}: {verb}"))
    else:
        sys.stdout.write(text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InterplayError(
            f"cannot read {str(path)!r} ({error.strerror}): give a card that exists, or write the section with --out"
        ) from error


def _replace(path: Path, data: bytes) -> None:
    """The file whole or not at all; a link stays one, and who may read it stays so."""
    from interplay.atomic import write_bytes

    target = path.resolve()
    if path.is_symlink() and target.suffix.lower() not in (
        ".md",
        ".markdown",
    ):  # a link in a folder of somebody's may lead to anything
        raise InterplayError(
            f"{str(path)!r} leads to {str(target)!r}, which is no Markdown by its name: give that card itself"
        )
    mode = target.stat().st_mode & 0o7777
    write_bytes(target, data)
    target.chmod(mode)
