"""What the terminal shows at the end of a run. Plain text on a pipe, colour on a terminal; data cannot write escapes."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interplay.runs.pipeline import RunResult


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


def show_result(result: "RunResult") -> None:
    """The table of steps, the verdict and the path of the report, on stdout; notes come first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for note in result.notes:
        console.print(f"note: {printable(note)}")
    if result.omitted:
        console.print(f"note: {result.omitted} rows or probes were left out; the report names them")
    table = Table(box=None, padding=(0, 1), header_style="bold")
    columns = (
        "step",
        "removed",
        "preserved",
        "emerged",
        "strength R/P/E",
        "rho R/P/E",
        "rho all",
        "eval loss",
        "accuracy",
    )
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.table:
        sets = ("removed", "preserved", "emerged")
        table.add_row(
            str(row["step"]),
            *(number(row[f"{s} count"], 1) for s in sets),
            " / ".join(number(row[f"{s} strength"], 1) for s in sets),
            " / ".join(number(row[f"{s} rho"]) for s in sets),
            number(row["rho"]),
            number(row["eval_loss"], 3),
            number(row["accuracy"]),
            style="bold" if row["step"] == result.recommendation.step else "",
        )
    console.print()
    console.print("Interactions per probe prompt: counts, strength in nats, uncancelled ratio rho (means over probes)")
    # A narrow pipe must not fold the table: it is data.
    Console(highlight=False, markup=False, width=max(console.width, 112)).print(table)
    console.print()
    console.print(Text(f"Keep step {result.recommendation.step}", style="bold"))
    console.print(printable(result.recommendation.sentence))
    console.print()
    console.print(f"Report: {result.report}")
