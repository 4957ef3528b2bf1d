"""What the terminal shows at the end of a run. Plain text on a pipe, bold on a terminal; data cannot write escapes."""

import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interplay.runs.pipeline import RunResult, Unfinished

SETS = ("removed", "preserved", "emerged")
_WIDEST = 100  # characters in a line of prose; longer ones are hard to read


def printable(text: str) -> str:
    r"""Text without control characters, so that no word of a data set can command the terminal.

    >>> printable("a\x1b[31mb\nc")
    'a�[31mb c'
    """
    return "".join(c if c.isprintable() else (" " if c in "\n\t\r" else "\ufffd") for c in text)


def number(value: float | None, digits: int = 2) -> str:
    """
    >>> number(3.14159), number(float("nan")), number(None)
    ('3.14', '–', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def say(text: str, *, bold: bool = False) -> None:
    """A paragraph on stdout: folded to a terminal's width, one line on a pipe."""
    text = printable(text)
    if sys.stdout.isatty():
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        text = textwrap.fill(text, width=max(width, 20), break_long_words=False, break_on_hyphens=False)
    print(_bold(text) if bold else text)


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text


def show_result(result: "RunResult") -> None:
    """The table of steps with the churn floor under it, the verdict and the path of the report; notes come first."""
    for note in result.notes:
        say(f"note: {note}")
    if result.omitted:
        say(f"note: {result.omitted} rows or probes were left out; the report names them")
    if result.notes or result.omitted:
        print()
    lines = table_lines(result.table, result.floor)
    kept = {str(result.recommendation.step)}
    for line in lines:
        print(_bold(line) if line.split(None, 1)[0] in kept else line)
    print()
    say(
        "Per probe prompt, means: count of interactions, their strength (sum of |I|, nats), and rho, the share of it "
        "that does not cancel."
    )
    if result.floor is not None:
        say(
            "floor: what the same sets hold between two wordings of the prompt at the reference step, where nothing was "
            "learnt. Removed and emerged mean something above it."
        )
    print()
    say(result.recommendation.sentence, bold=True)
    print()
    print(f"Report: {printable(str(result.report))}")


def show_unfinished(left: "Unfinished") -> None:
    """What a shard says that is done before the others are."""
    say(
        f"Shard {left.shard} is done; {left.missing} units or task measurements of other shards are missing. The last shard to "
        "finish writes the report, and so does the same command without --shard. Shards written to different folders: copy "
        "these together first."
    )
    print(f"Run folder: {printable(str(left.folder))}")


def table_lines(rows: Sequence[Mapping[str, Any]], floor: Mapping[str, Any] | None) -> list[str]:
    """The table of steps as lines of at most 80 characters, unless a figure needs more room.

    rows     one dict per step: `step`, `SET count|strength|rho` for each set, `rho`, `eval_loss`, `accuracy`
    floor    `SET count|strength` under the churn null, or None where it was not measured
    """
    heads = ["step", *("count", "nats", "rho") * len(SETS), "rho", "loss", "acc."]
    body = [_cells(row) for row in rows]
    if floor is not None:
        body.append(_cells({"step": "floor", **floor}))
    widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
    spans = [(1 + 3 * i, 4 + 3 * i) for i in range(len(SETS))]
    groups = [" " * widths[0]]
    for (start, stop), name in zip(spans, SETS, strict=True):
        groups.append(f" {name} ".center(sum(widths[start:stop]) + stop - start - 1, "─"))
    groups += ["all".rjust(widths[-3]), "eval".rjust(widths[-2]), "".rjust(widths[-1])]
    lines = ["  ".join(groups).rstrip()]
    for line in [heads, *body]:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        parts = [cells[0], *(" ".join(cells[start:stop]) for start, stop in spans), *cells[-3:]]
        lines.append("  ".join(parts).rstrip())
    return lines


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [str(row["step"])]
    for name in SETS:
        cells += [number(row.get(f"{name} count"), 1), number(row.get(f"{name} strength"), 1)]
        cells.append(number(row.get(f"{name} rho")))
    loss = row.get("eval_loss")
    digits = 3 if loss is None or not loss >= 10 else 2
    return [*cells, number(row.get("rho")), number(loss, digits), number(row.get("accuracy"))]
