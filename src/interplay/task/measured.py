"""What the task stage measures at each checkpoint."""

from dataclasses import dataclass

import numpy as np

from interplay.task.drift import Divergence, Windows
from interplay.task.labels import RowScores


@dataclass(frozen=True, eq=False)
class TaskRows:
    step: int  # of one checkpoint; the rest is None where not measured
    labels: RowScores | None = None  # of the eval rows
    ood: RowScores | None = None  # of the out-of-domain rows
    kl: Divergence | None = None  # to step 0
    retention: Windows | None = None
    exact: np.ndarray | None = None  # [generated rows] whether the answer matches
    rouge: np.ndarray | None = None  # [generated rows] ROUGE-L


@dataclass(frozen=True, eq=False)
class TaskMeasured:
    """All checkpoints in the order of their steps, and the label of each eval and out-of-domain row (None: no labels)."""

    checkpoints: tuple[TaskRows, ...]
    gold: tuple[int, ...] | None = None
    ood_gold: tuple[int, ...] | None = None
