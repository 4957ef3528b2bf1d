"""Units and task metrics -> trajectory, verdict, tables and the report of a run folder."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interplay.atomic import replacing
from interplay.dynamics import Trajectory
from interplay.runs.conditions import Measured
from interplay.runs.files import write_json
from interplay.runs.folder import RunFolder
from interplay.runs.payload import read_table
from interplay.runs.settings import Settings
from interplay.runs.task_tables import correlation_frame, task_frame
from interplay.runs.views import make_controls, make_trajectory
from interplay.verdict import Recommendation, recommend


def unit_table(measured: Measured, ratio: float) -> pa.Table:
    """One row per unit: its header, a few figures of its scores, and the arrays themselves as lists."""
    rows = []
    for condition in sorted(measured.units):
        for unit in measured.units[condition]:
            if unit is None:
                continue
            size = np.abs(unit.effects)
            tau = ratio * float(size.max())
            row = asdict(unit.header) | {
                "words": list(unit.header.words),
                "target_ids": list(unit.header.target_ids),
                "n": len(unit.header.words),
                "score_full": float(unit.scores[-1]),
                "score_empty": float(unit.scores[0]),
                "tau": tau,
                "salient": int((size > tau).sum()),
                "scores": unit.scores,
                "and_effects": unit.effects[0],
                "or_effects": unit.effects[1],
            }
            rows.append(row)
    return pa.Table.from_pylist(rows)


def write_results(
    settings: Settings,
    folder: Path,
    measured: Measured,
    about: dict[str, Any],
    existing: Collection[int] | None = None,
    *,
    task: pd.DataFrame | None = None,
) -> tuple[Trajectory, Recommendation]:
    """Write every table, the recommendation and what the report needs besides them (`report.json`).

    existing: the steps whose weights are on disk, where that is not all of them; no other is recommended.
    task: one row a step with `task_tables.COLUMNS`, where somebody else measured the task; None: from `measured.task`.
    """
    track = make_trajectory(settings, measured)
    _write_table(folder / "units.parquet", unit_table(measured, settings.effects.ratio))
    track.save(folder)  # makes the folder where it is missing, so not as the first
    task = task_frame(folder, measured.task, settings) if task is None else task
    _write_table(
        folder / "task.parquet", pa.Table.from_pandas(task, preserve_index=False).replace_schema_metadata(None)
    )
    correlations = correlation_frame(track, measured.task, task, measured.second_reference, settings)
    _write_table(
        folder / "correlations.parquet",
        pa.Table.from_pandas(correlations, preserve_index=False).replace_schema_metadata(None),
    )
    verdict = _verdict(settings, track, task, existing)
    write_json(folder / "recommendation.json", verdict.to_dict())
    controls = make_controls(settings, measured, track, task)
    for name in ("views", "views_samples", "floors", "multiples", "baselines"):
        frame = getattr(controls, name)
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        _write_table(folder / f"{name}.parquet", table)
    write_json(folder / "controls.json", controls.about)
    write_json(folder / "report.json", about)
    return track, verdict


def recommend_among(folder: RunFolder, existing: Collection[int]) -> Recommendation:
    """The recommendation once more, from the tables of a finished run, among the steps whose weights still exist."""
    track, task = Trajectory.load(folder.path), read_table(folder, "task.parquet")
    return _verdict(folder.settings(), track, task, existing)


def _verdict(
    settings: Settings, track: Trajectory, task: pd.DataFrame, existing: Collection[int] | None
) -> Recommendation:
    return recommend(track, task, existing=existing, resamples=settings.dynamics.resamples, seed=settings.seed)


def _write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def summary_table(track: Trajectory, task: pd.DataFrame) -> list[dict[str, Any]]:
    """What the terminal shows: one dict per step."""
    rows = []
    by_step = task.set_index("step")
    for step in track.steps:
        row: dict[str, Any] = {"step": step}
        for name in ("removed", "preserved", "emerged"):
            for measure in ("count", "strength", "rho"):
                curve = track.get(measure, name)
                row[f"{name} {measure}"] = float(curve["value"][step]) if step in curve.index else float("nan")
        rho = track.get("rho", "all")
        row["rho"] = float(rho["value"][step]) if step in rho.index else float("nan")
        for measure in ("eval_loss", "accuracy"):
            row[measure] = float(by_step[measure][step])
        rows.append(row)
    return rows


def churn_floor(track: Trajectory) -> dict[str, float] | None:
    """Counts and strengths of the sets between the reference and its rewording, for the terminal; None without one."""
    floor = {}
    for name in ("removed", "preserved", "emerged"):
        for measure in ("count", "strength"):
            null = track.get(measure, name)["null"].dropna()
            if len(null):
                floor[f"{name} {measure}"] = float(null.iloc[-1])  # one transition: the same at every step
    return floor or None
