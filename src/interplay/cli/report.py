"""`interplay report`: write the page of a run once more, and open it in a browser if asked. Options only."""

from pathlib import Path
from typing import Annotated

import typer

from interplay.cli.show import printable
from interplay.errors import InterplayError


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
