"""Units and task metrics -> trajectory, verdict, tables and the report of a run folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interplay.atomic import replacing
from interplay.dynamics import Trajectory, trajectory
from interplay.errors import InterplayError
from interplay.runs.files import read_json, write_json
from interplay.runs.settings import Settings
from interplay.runs.units import Unit
from interplay.verdict import Recommendation, recommend


@dataclass(frozen=True)
class Measured:
    """What the measuring stages leave for the tables: units by condition (None where a probe has none), task metrics."""

    steps: tuple[int, ...]
    reference: int
    units: dict[str, list[Unit | None]]
    task: tuple[dict[str, Any], ...]


def step_name(step: int) -> str:
    """Condition name of a checkpoint.

    >>> step_name(40)
    'step-000040'
    """
    return f"step-{step:06d}"


def rephrased_name(step: int) -> str:
    """Condition name of a checkpoint under the rephrased template."""
    return f"{step_name(step)}-rephrased"


def make_trajectory(settings: Settings, measured: Measured) -> Trajectory:
    """The trajectory of all units of a run."""
    per_step = [measured.units[step_name(step)] for step in measured.steps]
    samples = list(zip(*per_step, strict=True))
    if any(unit is None for units in samples for unit in units):
        raise InterplayError("a unit is missing from the run: run the same command again to compute it")

    def effects_of(condition: str) -> list[np.ndarray | None] | None:
        units = measured.units.get(condition)
        return None if units is None else [None if u is None else u.effects for u in units]

    def sigma(unit: Unit) -> float:
        return float("nan") if unit.header.noise_sigma is None else unit.header.noise_sigma

    return trajectory(
        steps=measured.steps,
        effects=[np.stack([u.effects for u in units]) for units in samples],
        scores=[np.stack([u.scores for u in units]) for units in samples],
        sample_ids=[units[0].header.sample_id for units in samples],
        reference=measured.reference,
        rephrased=effects_of(rephrased_name(measured.reference)),
        baseline=effects_of("baseline"),
        noise_sigma=[np.array([sigma(u) for u in units]) for units in samples],
        ratio=settings.effects.ratio,
        draws=settings.dynamics.draws,
        resamples=settings.dynamics.resamples,
        seed=settings.seed,
    )


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
    settings: Settings, folder: Path, measured: Measured, about: dict[str, Any]
) -> tuple[Trajectory, Recommendation]:
    """Write every table, the recommendation and what the report needs besides them (`report.json`)."""
    track = make_trajectory(settings, measured)
    track.save(folder)
    _write_table(folder / "units.parquet", unit_table(measured, settings.effects.ratio))
    task = task_frame(folder, measured)
    _write_table(
        folder / "task.parquet", pa.Table.from_pandas(task, preserve_index=False).replace_schema_metadata(None)
    )
    verdict = recommend(track, task, resamples=settings.dynamics.resamples, seed=settings.seed)
    write_json(folder / "recommendation.json", verdict.to_dict())
    write_json(folder / "report.json", about)
    return track, verdict


def _write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def task_frame(folder: Path, measured: Measured) -> pd.DataFrame:
    """Eval loss, accuracy with its interval, and train loss (mean of the steps since the last checkpoint), per step."""
    rows: dict[int, dict[str, Any]] = {step: {"step": step} for step in measured.steps}
    for entry in measured.task:
        rows[entry["step"]] |= entry
    log = folder / "checkpoints" / "training_log.json"
    losses = {entry["step"]: entry["loss"] for entry in read_json(log)} if log.exists() else {}
    before = 0
    for step in measured.steps:
        since = [loss for s, loss in losses.items() if before < s <= step]
        rows[step]["train_loss"] = float(np.mean(since)) if since else None
        before = step
    columns = ["step", "eval_loss", "train_loss", "accuracy", "accuracy_lo", "accuracy_hi", "rows"]
    frame = pd.DataFrame([rows[step] for step in measured.steps]).reindex(columns=columns)
    return frame.astype(dict.fromkeys(columns[1:], "float64"))


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
