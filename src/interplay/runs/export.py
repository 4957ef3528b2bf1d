"""A finished run -> a folder of figures, tables and a README that says what every column is. Reads files, computes nothing new.

DIR/figures/NAME.svg, .pdf     see `interplay.figures`
DIR/tables/NAME.csv, .parquet  the run's own tables, and long tidy ones made from them (`export_tables`)
DIR/README.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from interplay.atomic import write_text
from interplay.dynamics import Trajectory
from interplay.errors import InterplayError
from interplay.runs.conditions import step_name
from interplay.runs.export_tables import all_tables, readme, write_table
from interplay.runs.files import read_json
from interplay.runs.folder import RunFolder
from interplay.runs.intact import reading
from interplay.runs.payload import read_table

OPTIONAL = {
    "views.parquet": "no other views of the trajectory",
    "views_samples.parquet": "no other views prompt by prompt",
    "floors.parquet": "no churn floors",
    "multiples.parquet": "no multiples of the churn floor",
    "baselines.parquet": "no table of baseline LLMs",
    "correlations.parquet": "no correlations with the task",
}


@dataclass(frozen=True)
class Done:
    """How much was written, and what the run did not have, one sentence each."""

    figures: int
    tables: int
    missing: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RunTables:
    """Everything of a run that is exported; `more` holds the optional tables by file name without its suffix."""

    name: str
    path: Path
    trajectory: Trajectory
    units: pd.DataFrame
    task: pd.DataFrame
    recommendation: Mapping
    probes: Sequence[Mapping]
    ratio: float
    more: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def read_run_tables(path: Path) -> RunTables:
    """All tables of a finished run; InterplayError in one line where it is none."""
    folder = RunFolder(path)
    settings = folder.settings()
    if not folder.manifest.exists():
        raise InterplayError(f"{str(path)!r} is an unfinished run: run the same command again to finish it")
    found = {Path(name).stem: read_table(folder, name) for name in OPTIONAL if (path / name).exists()}
    controls = read_json(path / "controls.json") if (path / "controls.json").exists() else {}
    return RunTables(
        name=settings.name,
        path=path,
        trajectory=Trajectory.load(path),
        units=read_table(folder, "units.parquet"),
        task=read_table(folder, "task.parquet"),
        recommendation=read_json(path / "recommendation.json"),
        probes=read_json(path / "inputs.json")["probes"],
        ratio=settings.effects.ratio,
        more=found,
        titles={view["name"]: view["title"] for view in controls.get("views", [])},
        missing=tuple(f"{name}: {why}, left out" for name, why in OPTIONAL.items() if Path(name).stem not in found),
    )


def export_run(path: Path, out: Path, formats: Sequence[str], kinds: Sequence[str]) -> Done:
    """Write the figures in `formats`, the tables in `kinds`, and the README. Files of the same names are replaced, whole.

    Raises InterplayError for a folder that is no finished run, an `out` inside it, and one that cannot be written.
    """
    with reading(path):
        return _export(read_run_tables(path), path, out, formats, kinds)


def _export(run: RunTables, path: Path, out: Path, formats: Sequence[str], kinds: Sequence[str]) -> Done:
    inside = out.resolve()
    if inside == path.resolve() or path.resolve() in inside.parents:
        raise InterplayError(f"--out {str(out)!r} lies in the run folder, which holds the run alone: choose another")
    missing = list(run.missing)
    tables = all_tables(run) if kinds else []
    for table in tables:
        for kind in kinds:
            write_table(table, out / "tables", kind)
    figures, absent = _figures(run, out / "figures", formats) if formats else ([], [])
    missing += [f"figure {name}: its measure is not in this run, left out" for name in absent]
    write_text(out / "README.md", readme(run.name, tables, figures, formats, kinds), folders=None)
    return Done(len(figures), len(tables), tuple(missing))


def _figures(run: RunTables, folder: Path, formats: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the figures written, and of those whose measure is absent."""
    from interplay.figures.catalogue import Tables, figures_of
    from interplay.figures.style import save, styled

    track = run.trajectory
    main = {step_name(step): step for step in track.steps}
    units = run.units[run.units["condition"].isin(list(main))]
    tables = Tables(
        steps=track.steps,
        reference=track.reference,
        ratio=run.ratio,
        summary=track.summary,
        units=units.assign(step=units["condition"].map(main)),
        task=run.task,
        more=run.more,
        titles=run.titles,
        kept=run.recommendation["step"],
    )
    written, absent = [], []
    with styled():
        for name, make in figures_of(tables):
            figure = make()
            if figure is None:
                absent.append(name)
                continue
            for kind in formats:
                save(figure, folder / f"{name}.{kind}")
            written.append(name)
    return written, absent
