"""Task metrics row by row -> one row a step (`task.parquet`), and correlations with the interactions (`correlations.parquet`)."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from interplay.dynamics import Trajectory
from interplay.dynamics.stats import mean_of, percentile, ratio_of, resampled, wilson
from interplay.models.layouts import read_training_log
from interplay.store.files import read_json
from interplay.task.correlation import Curve, correlate, curve_of_samples
from interplay.task.labels import RowScores
from interplay.task.measured import TaskMeasured, TaskRows
from interplay.task.metrics import COLUMNS, METRICS, eval_set, macro_f1, macro_f1_of

CORRELATIONS = ("interaction", "task", "span", "spearman", "lo", "hi", "checkpoints")
# Interaction measures that task measures are held beside: (measure, set) of the trajectory's main definition.
INTERACTIONS = (
    ("l1", "all"), ("sd", "all"), ("l1_per_sd", "all"), ("cancelled_per_sd", "all"), ("walsh_high", "all"),
    ("mean_order", "all"), ("rho", "all"), ("gamma", "all"), ("gamma", "preserved"), ("gamma", "emerged"),
    ("count", "all"), ("strength", "preserved"), ("strength", "emerged"),
)  # fmt: skip


def task_curves(task: TaskMeasured, resamples: int, seed: int) -> dict[str, Curve]:
    """Each measured task metric as a curve over the checkpoints, [T], with its bootstrap over rows [R, T].

    Metrics of the same rows share their resamples.
    """
    curves: dict[str, Curve] = {}

    def add(name: str, rows: int, stream: int, curve: Callable[[np.ndarray], np.ndarray], value: np.ndarray) -> None:
        curves[name] = Curve(value, resampled(curve, rows, resamples, np.random.default_rng([seed, stream])))

    def likelihoods(part: Callable[[TaskRows], RowScores | None], gold: tuple | None, prefix: str, stream: int) -> None:
        found = [scores for c in task.checkpoints if (scores := part(c)) is not None]
        if not found:
            return
        nll, tokens = np.stack([s.nll for s in found]), np.stack([s.tokens for s in found])
        rows = nll.shape[1]
        # A row that is no number makes the loss none: leaving it out would flatter.
        loss = "ood_loss" if prefix else "eval_loss"
        add(loss, rows, stream, lambda counts: ratio_of(nll, tokens, counts), nll.sum(1) / tokens.sum(1))
        if gold is None:
            return
        known, said = np.array(gold), np.stack([s.predicted for s in found])  # ty: ignore[no-matching-overload]
        hit = (said == known).astype(np.float64)
        add(f"{prefix}accuracy", rows, stream, lambda counts: mean_of(hit, counts), hit.mean(1))
        f1 = np.array([macro_f1(known, at) for at in said])

        def f1_of(counts: np.ndarray) -> np.ndarray:
            return np.stack([macro_f1_of(known, at, counts) for at in said], axis=1)

        add(f"{prefix}macro_f1", rows, stream, f1_of, f1)

    def means(name: str, part: Callable[[TaskRows], np.ndarray | None], stream: int) -> None:
        found = [rows for c in task.checkpoints if (rows := part(c)) is not None]
        if found:
            x = np.stack(found)
            add(name, x.shape[1], stream, lambda counts: mean_of(x, counts), mean_of(x, np.ones((1, x.shape[1])))[0])

    likelihoods(lambda c: c.labels, task.gold, "", 0)
    means("exact_match", lambda c: c.exact, 1)
    means("rouge_l", lambda c: c.rouge, 1)
    means("kl_base", lambda c: c.kl and c.kl.forward, 0)
    means("kl_base_reverse", lambda c: c.kl and c.kl.reverse, 0)
    if windows := [c.retention for c in task.checkpoints if c.retention is not None]:
        nll, tokens = np.stack([w.nll for w in windows]), np.stack([w.tokens for w in windows])
        with np.errstate(over="ignore"):
            value = np.exp(nll.sum(1) / tokens.sum(1))
            add("retention_ppl", nll.shape[1], 2, lambda counts: np.exp(ratio_of(nll, tokens, counts)), value)
    likelihoods(lambda c: c.ood, task.ood_gold, "ood_", 3)
    return curves


def task_frame(
    task: TaskMeasured, losses: Mapping[str, Sequence[float | None]], curves: Mapping[str, Curve]
) -> pd.DataFrame:
    """One row a step with every column of `task.parquet` (`COLUMNS`, then named eval sets), NaN where not measured.

    losses: of `logged_losses`; curves: of `task_curves`.
    """
    columns: dict[str, np.ndarray] = {"step": np.array([c.step for c in task.checkpoints])}
    for name, values in losses.items():
        columns[name] = np.array([math.nan if loss is None else loss for loss in values], dtype=np.float64)
    if any(c.labels is not None for c in task.checkpoints):
        columns["rows"] = np.array([len(c.labels.nll) for c in task.checkpoints if c.labels is not None])
    for name, curve in curves.items():
        columns[name] = np.where(np.isfinite(curve.value), curve.value, np.nan)
        if METRICS[name].interval is None or curve.resampled is None:
            continue
        if METRICS[name].interval == "wilson":
            first = task.checkpoints[0]
            rows = {"accuracy": first.labels, "ood_accuracy": first.ood}.get(name)
            trials = len(rows.nll) if rows is not None else len(first.exact)  # ty: ignore[invalid-argument-type]
            ends = [wilson(round(share * trials), trials) for share in curve.value]
        else:
            ends = [percentile(value, curve.resampled[:, t]) for t, value in enumerate(curve.value)]
        columns[f"{name}_lo"], columns[f"{name}_hi"] = (np.array([e[k] for e in ends]) for k in (1, 2))
    every = [*COLUMNS, *(name for name in losses if name not in COLUMNS)]
    return pd.DataFrame(columns).reindex(columns=every).astype(dict.fromkeys(every[1:], "float64"))


def eval_rows(task: TaskMeasured) -> dict[str, pd.DataFrame]:
    """Accuracy and eval loss row by row, [steps, eval rows] each, whose mean over rows is the metric; empty where not measured."""
    found = {c.step: c.labels for c in task.checkpoints if c.labels is not None}
    tables = {"eval_loss": {step: s.nll / s.tokens.mean() for step, s in found.items()}} if found else {}
    if task.gold is not None:
        tables["accuracy"] = {step: (s.predicted == np.array(task.gold)) * 1.0 for step, s in found.items()}
    return {name: pd.DataFrame.from_dict(rows, orient="index") for name, rows in tables.items()}


def logged_losses(folder: Path, steps: Sequence[int], outside: str | None) -> dict[str, tuple[float | None, ...]]:
    """`train_loss`, the mean since the step before, and the losses of named eval sets at the steps themselves, from our log
    or from the one that another training left in `outside`."""
    log = folder / "checkpoints" / "training_log.json"
    ours = read_json(log, list) if log.exists() else []
    entries = read_training_log(Path(outside)) if outside is not None else ours
    losses = {entry["step"]: entry["loss"] for entry in entries if entry["loss"] is not None}
    found: list[float | None] = []
    for before, step in itertools.pairwise((0, *steps)):
        since = [loss for s, loss in losses.items() if before < s <= step]
        mean = float(np.mean(since)) if since else math.nan
        found.append(mean if math.isfinite(mean) else None)
    named = sorted({key for entry in entries for key in entry if eval_set(key)})
    at = {entry["step"]: entry for entry in entries}
    evals = {key: tuple(at.get(step, {}).get(key) for step in steps) for key in named}
    return {"train_loss": tuple(found)} | {key: values for key, values in evals.items() if set(values) != {None}}


def correlation_frame(
    track: Trajectory,
    task: TaskMeasured,
    curves: Mapping[str, Curve],
    frame: pd.DataFrame,
    from_step: int | None,
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Spearman's rank correlation of every interaction measure with every task measure over the checkpoints.

    Args:
        curves: of `task_curves`; frame: of `task_frame`, for the train loss.
        from_step: adds the correlations over the checkpoints from the second reference on (`span` "after-format").

    Columns `CORRELATIONS`; NaN where under five checkpoints have both. `interaction` is "l1_per_sd" or, of a set, "emerged strength".
    """
    steps = np.array(track.steps)
    order = [c.step for c in task.checkpoints]
    at = [order.index(step) for step in track.steps]
    tasks = {
        name: Curve(c.value[at], None if c.resampled is None else c.resampled[:, at]) for name, c in curves.items()
    }
    if (train := frame.set_index("step")["train_loss"].reindex(steps)).notna().any():
        tasks["train_loss"] = Curve(train.to_numpy())
    spans = [("all", None)] + ([("after-format", from_step)] if from_step is not None else [])
    rows = []
    for measure, name in INTERACTIONS:
        samples = track.samples(measure, name).reindex(index=steps, columns=list(track.sample_ids))
        if samples.notna().to_numpy().sum() == 0:
            continue
        curve = curve_of_samples(samples.to_numpy().T, resamples, np.random.default_rng([seed, 9]))
        shown = measure if name == "all" else f"{name} {measure}"
        for column, other in tasks.items():
            for span, first in spans:
                found = correlate(curve, other, steps=steps, from_step=first)
                rows.append((shown, column, span, *found))
    made = pd.DataFrame(rows, columns=list(CORRELATIONS))
    return made.astype({"spearman": "float64", "lo": "float64", "hi": "float64", "checkpoints": "int64"})
