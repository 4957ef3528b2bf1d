"""Units and task metrics -> trajectory, verdict, tables and the report of a run folder."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interplay.analysis.task_tables import correlation_frame, task_frame
from interplay.analysis.views import make_controls, make_trajectory
from interplay.atomic import replacing
from interplay.config.settings import Settings
from interplay.dynamics import Trajectory
from interplay.dynamics.fidelity import Fitted, fidelity
from interplay.recommendation import Recommendation, recommend
from interplay.store.conditions import Measured, step_name
from interplay.store.files import write_json


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


def fidelity_frame(track: Trajectory, measured: Measured) -> pd.DataFrame:
    """How well the interactions stand for the model at every step (`dynamics.fidelity`)."""
    samples = {}
    for step in track.steps:
        units = {unit.header.sample_id: unit for unit in measured.units[step_name(step)] if unit is not None}
        samples[step] = [
            Fitted(units[name].effects, units[name].scores, track.membership(name, step).all)
            for name in track.sample_ids
        ]
    return fidelity(samples, resamples=int(track.settings["resamples"]), seed=int(track.settings["seed"]))


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
    fidelity = pa.Table.from_pandas(fidelity_frame(track, measured), preserve_index=False)
    _write_table(folder / "fidelity.parquet", fidelity.replace_schema_metadata(None))
    verdict = _verdict(settings, track, task, existing)
    write_json(folder / "recommendation.json", verdict.to_dict())
    controls, said = make_controls(settings, measured, track, task)
    for name, frame in controls.items():
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        _write_table(folder / f"{name}.parquet", table)
    write_json(folder / "controls.json", said)
    write_json(folder / "report.json", about)
    return track, verdict


def _verdict(
    settings: Settings, track: Trajectory, task: pd.DataFrame, existing: Collection[int] | None
) -> Recommendation:
    return recommend(track, task, existing=existing, resamples=settings.dynamics.resamples, seed=settings.seed)


def _write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
