"""What the terminal shows at the end of a run. Plain text on a pipe, bold on a terminal; control characters are replaced."""

import sys
from typing import TYPE_CHECKING

from interplay.text import folded, printable

if TYPE_CHECKING:
    from interplay.pipeline.pipeline import Unfinished
    from interplay.runfolder import Run


def say(text: str, *, bold: bool = False) -> None:
    """A paragraph on stdout: folded to a terminal's width, one line on a pipe."""
    text = folded(text) if sys.stdout.isatty() else printable(text)
    print(_bold(text) if bold else text)


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text


def show_run(run: "Run") -> None:
    """Notes, the table of steps with the churn floor under it, the recommendation, the audit and the path of the report."""
    for note in run.notes:
        say(f"note: {note}")
    if run.notes:
        print()
    summary, recorded = run.summary(), run.recorded
    recommended = str(recorded["step"])
    for line in summary.lines():
        print(_bold(line) if line.split(None, 1)[0] == recommended else line)
    print()
    say(summary.change)
    print()
    say(
        f"Means per prompt: number of interactions, their strength (sum of |I|, nats of log-odds of the target {run.score}), and rho, the "
        "fraction of it that does not cancel; change: sum of |I - I at the reference| over all interactions."
    )
    if summary.floor is not None:
        say(
            "floor: the same sets between two wordings of the prompt at the reference step, where nothing was learnt. "
            "Removed, emerged and change mean something above it."
        )
    print()
    say(recorded["sentence"], bold=True)
    print()
    if run.has("audit.json"):
        audit, again = run.audit, f"interplay audit {run.path} --fixes {run.path}-fixes --verify"
        print(f"{audit}\n")
        if audit.suspicious and run.settings.training:
            print(printable(f"To mend the rows, train again and compare: {again}"), end="\n\n")
    print(f"Report: {printable(str(run.path / 'report.html'))}")


def show(made: "Run | Unfinished") -> None:
    """Print the table of a finished run, or how much other shards have left to do."""
    from interplay.runfolder import Run

    if isinstance(made, Run):
        show_run(made)
        return
    say(
        f"Shard {made.shard} is done; {made.missing} units or task measurements of other shards are missing. The last shard to "
        "finish writes the report, and so does the same command without --shard. Shards in separate folders: copy them "
        "together first."
    )
    print(f"Run folder: {printable(str(made.folder))}")
