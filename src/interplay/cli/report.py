"""`interplay report`: write the page of a run once more, and open it in a browser if asked. Options only."""

from pathlib import Path
from typing import Annotated

import typer

from interplay.errors import InterplayError


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write the page; default RUN/report.html.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the default browser.")] = False,
) -> None:
    """Rebuild the page of a run from its tables."""
    from interplay.cli.show import printable
    from interplay.report import write
    from interplay.runs.folder import RunFolder
    from interplay.runs.payload import build_payload

    folder = RunFolder(run_folder)
    path = out or run_folder / "report.html"
    write(build_payload(folder), path)
    if out is None and folder.manifest.exists():
        folder.write_manifest()  # a newer Interplay draws another page
    print(printable(str(path)))
    if open_page:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            raise InterplayError(f"no browser could be opened: open {str(path)!r} in one yourself")
