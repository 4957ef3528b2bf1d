"""`RunComparison`: finished runs side by side, in Python. Its table, its tables as plain values, and its page."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from interplay.analysis.summary import number
from interplay.comparison.comparison import compare_runs
from interplay.comparison.tables import comparison_payload
from interplay.dynamics.sets import DEFINITIONS
from interplay.errors import InterplayError
from interplay.report.comparison import write
from interplay.report.rows import DECIDED


class RunComparison:
    """Two or more runs, compared; `str` of it is what the command prints.

    payload    every table as plain values, what `interplay compare --json` prints
    """

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self.payload = payload

    @property
    def notes(self) -> list[str]:
        """What makes the comparison weaker than it looks, in sentences."""
        return list(self.payload["notes"])

    @cached_property
    def overview(self) -> pd.DataFrame:
        """One row a run: its group, the checkpoint recommended, the best by eval loss and by accuracy, and its last figures."""
        return pd.DataFrame(self.payload["overview"])

    def report(self, path: str | os.PathLike[str] = "comparison.html") -> Path:
        """Write the page; returns where it is."""
        write(self.payload, Path(path))
        return Path(path)

    def table(self) -> list[str]:
        """The runs and where they end, as lines."""
        rows = [["run", "group", "keep", "eval loss", "accuracy", "cancelled/sd"]]
        for run in self.payload["overview"]:
            kept = f"{run['recommended']}" + ("" if run["basis"] in DECIDED else "*")
            last = ("last_eval_loss", 3), ("last_accuracy", 2), ("last_cancelled_per_sd", 1)
            rows.append([run["run"], run["group"], kept, *(number(run[key], digits) for key, digits in last)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        cells = [
            [row[0].ljust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:], widths[2:])] for row in rows
        ]
        return ["  ".join(line).rstrip() for line in cells]

    def findings(self) -> list[str]:
        """Which measures tell two groups apart at some checkpoint, a sentence a pair; and what a star in the table means."""
        lines = []
        if any(run["basis"] not in DECIDED for run in self.payload["overview"]):
            lines.append("* named for want of evidence")
        told: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for row in self.payload["paired"]:
            found = told.setdefault((row["first"], row["second"]), set())
            if row["distinguishable"]:
                found.add((row["measure"], row["set"]))
        for (first, second), found in told.items():
            names = ", ".join(m + ("" if s == "all" else f" {s}") for m, s in sorted(found)) or "none"
            lines.append(f"{second} minus {first}, distinguishable at some checkpoint: {names}")
        return lines

    def __str__(self) -> str:
        return "\n".join([*(f"note: {note}" for note in self.notes), *self.table(), *self.findings()])

    __repr__ = __str__


def compare_folders(
    paths: Sequence[Path], groups: Mapping[str, Sequence[Path]], axis: str, definition: str
) -> RunComparison:
    """Compare the runs in these folders; see `interplay.compare`."""
    for name, given, known in (("--axis", axis, ("steps", "epochs")), ("--definition", definition, DEFINITIONS)):
        if given not in known:
            raise InterplayError(f"{name} is {given!r}, expected one of {', '.join(known)}")
    return RunComparison(comparison_payload(compare_runs(paths, groups, axis), definition))
