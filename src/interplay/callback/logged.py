"""The trainer's own numbers as the task table of a run folder."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interplay.task.metrics import COLUMNS, METRICS


def task_table(history: Sequence[Mapping[str, Any]], steps: Sequence[int]) -> pd.DataFrame:
    """What the trainer logged, one row a measured step: the mean train loss since the step before, and what it evaluated.

    >>> log = [{"step": 5, "loss": 3.0}, {"step": 10, "loss": 1.0}, {"step": 10, "eval_loss": 2.5}]
    >>> task_table(log, [0, 10])[["step", "train_loss", "eval_loss"]].values.tolist()
    [[0.0, nan, nan], [10.0, 2.0, 2.5]]
    """
    columns: dict[str, Any] = {"step": np.array(steps, dtype=np.int64)}
    for column, key in ((m.key, m.logged) for m in METRICS.values() if m.logged is not None):
        at = {entry["step"]: x for entry in history if (x := _number(entry.get(key))) is not None and "step" in entry}
        columns[column] = np.array([at.get(step, math.nan) for step in steps])
    losses, before = [], 0
    for step in steps:
        since = [x for e in history if (x := _number(e.get("loss"))) is not None and before < e.get("step", 0) <= step]
        losses.append(float(np.mean(since)) if since else math.nan)
        before = step
    columns["train_loss"] = np.array(losses)
    frame = pd.DataFrame(columns).reindex(columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(COLUMNS[1:], "float64"))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
