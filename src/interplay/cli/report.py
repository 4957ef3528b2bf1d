"""`interplay report`: the page of a run once more, into a file or to a browser of this machine. Options only."""

from pathlib import Path
from typing import Annotated

import typer

from interplay.errors import InterplayError


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write the page; default RUN/report.html.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Write nothing; show the page to browsers of this machine until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Of --serve; default a free one.")
    ] = None,
) -> None:
    """Rebuild the page of a run from its tables."""
    from interplay.cli.show import printable

    if serve and out is not None:
        raise InterplayError("--out and --serve exclude each other: give one of them")
    if port is not None and not serve:
        raise InterplayError("--port is for --serve: give both, or neither")
    if serve:
        from interplay.cli import serve as server
        from interplay.report import render
        from interplay.runs.folder import RunFolder
        from interplay.runs.payload import build_payload

        server.serve_page(render(build_payload(RunFolder(run_folder))), port or 0)
        return
    from interplay.runfolder import Run

    print(printable(str(Run(run_folder).report(out))))
