"""What the task stage measures: values of rows at each checkpoint."""

from dataclasses import dataclass

import numpy as np

from interplay.task.drift import Divergence, Windows
from interplay.task.labels import RowScores


@dataclass(frozen=True, eq=False)
class TaskRows:
    """One checkpoint: likelihoods of the eval and out-of-domain rows, KL to step 0, nats of the text's windows, and per
    generated row whether it matches and its ROUGE-L; None where that is not measured."""

    step: int
    labels: RowScores | None = None
    ood: RowScores | None = None
    kl: Divergence | None = None
    retention: Windows | None = None
    exact: np.ndarray | None = None
    rouge: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TaskMeasured:
    """All checkpoints in the order of their steps, and the label of each eval and out-of-domain row (None: no labels)."""

    checkpoints: tuple[TaskRows, ...]
    gold: tuple[int, ...] | None = None
    ood_gold: tuple[int, ...] | None = None
