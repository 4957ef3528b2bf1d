"""`Comparison`: finished runs side by side, in Python. Its table, its tables as plain values, and its page."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from interplay import __version__
from interplay.analysis.summary import number
from interplay.atomic import write_text
from interplay.comparison import tables
from interplay.comparison.runs import ComparedRuns, group_runs, read_run, run_names, shared_prompts
from interplay.dynamics.sets import DEFINITIONS, MAIN_DEFINITION
from interplay.errors import InterplayError
from interplay.report.comparison import render
from interplay.report.rows import DECIDED
from interplay.report.text import cleaned


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ComparedRuns):
    """Two or more runs in the order given, and the groups they form; `str` of it is what the command prints."""

    @cached_property
    def notes(self) -> list[str]:
        """What makes the comparison weaker than it looks, in sentences."""

        def listed(values: Iterable[Any], sign: str = ", ") -> str:
            return sign.join(f"{run.name}: {value}" for run, value in zip(self.runs, values, strict=True))

        notes = []
        shared, sizes = len(shared_prompts(*self.runs)), [len(run.texts) for run in self.runs]
        references = [run.trajectory.reference for run in self.runs]
        baselines = [", ".join(baseline.name for baseline in run.settings.baseline) or "none" for run in self.runs]
        if set(sizes) != {shared}:
            notes.append(
                f"The runs were not measured on the same prompts and words: {shared} are shared by all ({listed(sizes)}). Curves are "
                "means over each run's own prompts; paired differences use the shared ones only."
            )
        if len(set(references)) > 1:
            notes.append(
                f"Removed, preserved and emerged are relative to different reference steps ({listed(references)})."
            )
        if len(set(baselines)) > 1:
            notes.append(f"gamma was measured against different baseline LLMs ({listed(baselines, '; ')}).")
        if len({run.settings.model.name for run in self.runs}) > 1:
            notes.append(
                "Different models: log-odds of one model are not those of another, so compare what is free of scale (shares, rho, "
                "gamma, strength over spread)."
            )
        if len({run.score for run in self.runs}) > 1:
            scores = listed(run.score for run in self.runs)
            notes.append(f"Targets are scored differently ({scores}), so compare what is free of scale.")
        for i, run in enumerate(self.runs):
            for other in self.runs[:i]:
                if other.trajectory.summary.equals(run.trajectory.summary):
                    same = f"{other.name} and {run.name} have the very same figures"
                    notes.append(f"{same}: copies of one run, or one seed twice.")
                    break
        return notes

    @cached_property
    def payload(self) -> dict[str, Any]:
        """Every table as plain values: what `--json` prints and the page shows (schema: `interplay.report.comparison`)."""
        curves = tables.curves(self)
        means = tables.group_curves(self, curves)
        runs = [
            {
                "name": run.name,
                "title": run.settings.name,
                "seed": run.seed,
                "recommended": run.recorded["step"],
                "recommended_x": run.x(run.recorded["step"], self.axis),
                "basis": run.recorded["basis"],
            }
            for run in self.runs
        ]
        frames = {
            "settings": tables.setting_table(self.runs),
            "overview": tables.overview(self),
            "curves": curves,
            "means": means,
            "spread": tables.seed_spread(means),
            "paired": tables.paired_differences(self),
        }
        return {
            "version": __version__,
            "definition": self.definition,
            "axis": self.axis,
            "runs": runs,
            "groups": [{"name": group.name, "runs": list(group.runs), "given": group.given} for group in self.groups],
            **{name: cleaned(frame.to_dict("records")) for name, frame in frames.items()},
            "paired_prompts": len(shared_prompts(*self.runs)),
            "notes": self.notes,
        }

    @cached_property
    def overview(self) -> pd.DataFrame:
        """One row a run: its group, the checkpoint recommended, the best by eval loss and by accuracy, and its last figures."""
        return pd.DataFrame(self.payload["overview"])

    def report(self, path: str | os.PathLike[str] = "comparison.html") -> Path:
        """Write the page; returns where it is."""
        write_text(Path(path), render(self.payload), folders=None)
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


def compare_runs(
    paths: Sequence[Path],
    groups: Mapping[str, Sequence[Path]] | None = None,
    axis: str = "steps",
    definition: str | None = None,
) -> Comparison:
    """Read the runs and group them; see `interplay.compare`. Runs in `groups` need not be among `paths`.

    Raises InterplayError for fewer than two runs, a run given twice, and a folder that is not a finished run.
    """
    definition = MAIN_DEFINITION if definition is None else definition
    for name, value, known in (("--axis", axis, ("steps", "epochs")), ("--definition", definition, DEFINITIONS)):
        if value not in known:
            raise InterplayError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    groups = groups or {}
    folders: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in folders:
            raise InterplayError(f"{str(path)!r} is given twice: name every run once")
        folders[path.resolve()] = path
    for path in (path for members in groups.values() for path in members):
        folders.setdefault(path.resolve(), path)
    if len(folders) < 2:
        raise InterplayError(f"{len(folders) or 'no'} run given, expected two or more run folders to compare")
    names = dict(zip(folders, run_names(list(folders)), strict=True))
    runs = tuple(read_run(path, names[key]) for key, path in folders.items())
    grouped = group_runs(runs, {name: [names[path.resolve()] for path in members] for name, members in groups.items()})
    for run in runs:
        run.x(0, axis)  # refuses an axis that some run cannot have
    return Comparison(runs, grouped, axis, definition)
