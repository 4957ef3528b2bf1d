"""A run folder -> its trajectory, recommendation and tables. Everything comes from files of the run; no model is opened."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interplay.analysis.about import about
from interplay.analysis.measured import read_measured
from interplay.analysis.task_tables import correlation_frame, eval_rows, task_curves, task_frame
from interplay.analysis.views import make_controls, make_trajectory
from interplay.atomic import replacing
from interplay.config.settings import Settings
from interplay.dynamics import Trajectory
from interplay.dynamics.fidelity import Fitted, fidelity
from interplay.recommendation.result import Recommendation
from interplay.recommendation.rule import recommend
from interplay.store.conditions import Measured, Record, step_name
from interplay.store.files import write_json
from interplay.store.units import save_unit
from interplay.task.measured import TaskMeasured
from interplay.text import short


def analyse(folder: Path, settings: Settings, measured: Measured | None = None) -> Recommendation:
    """Write every table of a run, the recommendation, and what the page needs besides (`report.json`), from its units.

    measured: `read_measured`, if read already. Raises InterplayError where the folder lacks something that these settings need.
    """
    record = Record.read(folder)
    task = pd.read_parquet(folder / "task.parquet") if "logged" in record.task else None
    measured = measured or read_measured(folder, settings, record)
    for path, unit in measured.solved_again.items():
        save_unit(path, unit)
    _write_table(folder / "units.parquet", unit_table(measured, settings.dynamics.ratio))
    track = make_trajectory(settings, measured)  # after that table: both at once take more memory
    curves = task_curves(measured.task, settings.dynamics.resamples, settings.seed)
    task = task_frame(measured.task, record.losses, curves) if task is None else task
    asked = {"resamples": settings.dynamics.resamples, "seed": settings.seed}
    recommendation = recommend_of(settings, track, task, measured.task, record.saved)
    controls, said = make_controls(settings, measured, track, task)
    frames = {
        "task": task,
        "correlations": correlation_frame(track, measured.task, curves, task, measured.second_reference, **asked),
        "fidelity": fidelity_frame(track, measured),
        **controls,
    }
    for name, frame in frames.items():
        write_frame(folder / f"{name}.parquet", frame)
    track.save(folder)  # makes the folder where it is missing, so not as the first
    described = about(folder, settings, record, measured)
    for name, value in {"recommendation": recommendation.to_dict(), "controls": said, "report": described}.items():
        write_json(folder / f"{name}.json", value)
    return recommendation


def recommend_of(
    settings: Settings, track: Trajectory, task: pd.DataFrame, rows: TaskMeasured, existing: Collection[int] | None
) -> Recommendation:
    """The recommendation of a run among the `existing` steps (None: all), which says by which rows."""
    file = settings.data.file or settings.data.eval
    domain = "in-domain " if any(c.ood is not None for c in rows.checkpoints) else ""
    source = f"{domain}eval rows of {'the trainer' if file is None else short(Path(file).name)}"
    asked = {"resamples": settings.dynamics.resamples, "seed": settings.seed}
    return recommend(track, task, rows=eval_rows(rows), source=source, existing=existing, **asked)


def unit_table(measured: Measured, ratio: float) -> pa.Table:
    """One row per unit: its header, a few figures of its scores, and the arrays themselves as lists."""
    units = [u for condition in sorted(measured.units) for u in measured.units[condition] if u is not None]
    rows: list[dict[str, Any]] = []
    for unit in units:
        size = np.abs(unit.effects)
        tau = ratio * float(size.max())
        header = asdict(unit.header)
        del header["effects_key"]
        own = {
            "words": list(unit.header.words),
            "target_ids": list(unit.header.target_ids),
            "n": len(unit.header.words),
            "score_full": float(unit.scores[-1]),
            "score_empty": float(unit.scores[0]),
            "tau": tau,
            "salient": int((size > tau).sum()),
        }
        rows.append(header | own)
    table = pa.Table.from_pylist(rows)
    arrays = {
        "scores": [u.scores for u in units],
        "and_effects": [u.effects[0] for u in units],
        "or_effects": [u.effects[1] for u in units],
        "alternatives": [u.alternatives.reshape(-1) for u in units],
    }
    for name, found in arrays.items():
        ends = np.cumsum([0, *map(len, found)], dtype=np.int32)
        table = table.append_column(name, pa.ListArray.from_arrays(ends, np.concatenate(found)))
    return table


def fidelity_frame(track: Trajectory, measured: Measured) -> pd.DataFrame:
    """How well the interactions stand for the model at every step (`dynamics.fidelity`)."""
    samples = {}
    for step in track.steps:
        units = {unit.header.sample_id: unit for unit in measured.units[step_name(step)] if unit is not None}
        samples[step] = [
            Fitted(units[name].effects, units[name].scores, track.membership(name, step, "paper").all)
            for name in track.sample_ids
        ]
    return fidelity(samples, seed=int(track.settings["seed"]))


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """A table of a run."""
    _write_table(path, pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None))


def _write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
    pa.default_memory_pool().release_unused()
