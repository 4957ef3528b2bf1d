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
    from interplay.report import render, write
    from interplay.runs.folder import RunFolder
    from interplay.runs.payload import build_payload

    if serve and out is not None:
        raise InterplayError("--out and --serve exclude each other: give one of them")
    if port is not None and not serve:
        raise InterplayError("--port is for --serve: give both, or neither")
    folder = RunFolder(run_folder)
    if serve:
        from interplay.cli import serve as server

        server.serve_page(render(build_payload(folder)), port or 0)
        return
    path = out or run_folder / "report.html"
    write(build_payload(folder), path)
    if out is None and folder.manifest.exists():
        folder.write_manifest()  # a newer Interplay draws another page
    print(printable(str(path)))
