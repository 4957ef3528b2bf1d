"""`interplay merge`: shares of one run that were written to folders apart, put together and finished. Options only."""

from pathlib import Path
from typing import Annotated

import typer


def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="PART...", help="Run folders that shares were written to.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The whole run's folder: new, or one that holds a part already.")
    ],
    finish: Annotated[
        bool,
        typer.Option(
            "--finish/--no-finish", help="Compute what no part has, and write tables and report; or copy only."
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Put the folders of one run's shares together, each checked, and finish the run.

    Needed only where shares could not write to one folder. Damaged units are left behind and computed again.
    """
    from interplay.cli.show import printable, say, show_run
    from interplay.runs.merge import merge as merge_folders
    from interplay.runs.progress import Progress

    settings, merged = merge_folders(parts, out)
    progress = Progress(quiet=quiet)
    for file in merged.damaged:
        progress.say(f"warning: {file} is damaged and was left behind")
    progress.say(f"merged {len(parts)} folders: {merged.copied} files copied, {merged.found} were there already")
    if not finish:
        say(f"Merged into {out}. To finish the run: interplay merge {out} --out {out}")
        print(printable(str(out)))
        return
    from interplay.runfolder import Run
    from interplay.runs.pipeline import run

    show_run(Run(run(settings, out, progress).folder))
