"""The registry of task metrics: one row a metric, in the order of the columns of `task.parquet`.

Tables, page, figures, card and callback take names, units and directions from here. A new metric is one row here and its
computation in `analysis/task_tables.py`.

>>> METRICS["eval_loss"].label, METRICS["accuracy"].better
('eval loss (nats)', 'high')
>>> COLUMNS[:8]
('step', 'eval_loss', 'train_loss', 'accuracy', 'accuracy_lo', 'accuracy_hi', 'rows', 'macro_f1')
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd


class Metric(NamedTuple):
    key: str  # column of `task.parquet`; with an interval also `KEY_lo` and `KEY_hi`
    title: str  # name in pictures and tables that people read
    unit: str  # "" for fractions and scores from 0 to 1
    meaning: str  # for the notes of an export
    better: Literal["high", "low"]
    interval: Literal["wilson", "bootstrap"] | None = None  # Wilson's for a fraction of rows, or a bootstrap over rows
    log: bool = False  # whether its axis is logarithmic
    logged: str | None = None  # key of a Trainer's evaluation log that holds it

    @property
    def label(self) -> str:
        """Title with its unit, for an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def best(self, values: pd.Series) -> int:
        """Index of the best value, the first of ties; NaN is left out.

        >>> METRICS["accuracy"].best(pd.Series([0.5, 0.7, 0.7, float("nan")], index=[10, 20, 30, 40]))
        20
        """
        at: Any = values.idxmax() if self.better == "high" else values.idxmin()
        return int(at)


METRICS: dict[str, Metric] = {
    row.key: row
    for row in (
        Metric("eval_loss", "eval loss", "nats", "mean loss on held-out rows (nats)", "low", log=True, logged="eval_loss"),
        Metric("train_loss", "train loss", "nats", "mean training loss since the checkpoint before (nats)", "low", log=True),
        Metric("accuracy", "accuracy", "", "fraction of held-out rows whose label the model ranks first", "high", "wilson",
               logged="eval_accuracy"),
        Metric("macro_f1", "macro-F1", "", "F1, every label counting the same", "high", "bootstrap", logged="eval_macro_f1"),
        Metric("exact_match", "exact match", "", "fraction of freely generated answers that equal the gold one", "high", "wilson"),
        Metric("rouge_l", "ROUGE-L", "", "ROUGE-L of freely generated answers", "high", "bootstrap"),
        Metric("kl_base", "KL to step 0", "nats", "KL divergence from step 0 at the first response token (nats)", "low",
               "bootstrap"),
        Metric("kl_base_reverse", "reverse KL to step 0", "nats", "the same, the other way round", "low"),
        Metric("retention_ppl", "retention perplexity", "", "perplexity on plain text", "low", "bootstrap", log=True),
        Metric("ood_loss", "out-of-domain loss", "nats", "loss on out-of-domain rows (nats)", "low", log=True),
        Metric("ood_accuracy", "out-of-domain accuracy", "", "accuracy on them", "high", "wilson"),
        Metric("ood_macro_f1", "out-of-domain macro-F1", "", "macro-F1 on them", "high", "bootstrap"),
    )
}  # fmt: skip


def _columns() -> Iterator[str]:
    yield "step"
    for key, metric in METRICS.items():
        yield from [key, f"{key}_lo", f"{key}_hi"] if metric.interval else [key]
        if key == "accuracy":
            yield "rows"  # the number of rows behind it


COLUMNS = tuple(_columns())  # of `task.parquet`; behind them the losses of named eval sets that a trainer logged


def eval_set(key: str) -> str | None:
    """The name of the eval set whose loss a trainer logs under this key, None for other keys.

    >>> eval_set("eval_code_loss"), eval_set("eval_loss")
    ('code', None)
    """
    match = re.fullmatch(r"eval_(.+)_loss", key)
    return match[1] if match else None


def macro_f1(gold: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray) -> float:
    """F1 of each label that occurs as gold or as prediction, then their mean: `f1_score(average="macro")` of scikit-learn.

    >>> round(macro_f1([0, 0, 1, 1], [0, 1, 1, 2]), 4)  # F1 of the labels 0, 1, 2: 2/3, 1/2, 0
    0.3889
    """
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    labels, number = np.unique(np.concatenate([gold, predicted]), return_inverse=True)
    occurs = np.bincount(number)  # 2 tp + fp + fn
    hits = np.bincount(number[: len(gold)][gold == predicted], minlength=len(labels))
    return float(np.mean(2 * hits / occurs))


def macro_f1_of(gold: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`macro_f1` in each resample: [R] for gold, predicted [rows] and counts [R, rows].

    >>> macro_f1_of(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), np.array([[1, 1, 1, 1], [1, 0, 1, 0]])).round(4)
    array([0.3889, 1.    ])
    """
    total = np.zeros(len(counts))
    present = np.zeros(len(counts))
    for label in np.union1d(gold, predicted):
        is_gold, is_predicted = gold == label, predicted == label
        hits = counts @ (is_gold & is_predicted).astype(np.float64)
        size = counts @ (is_gold.astype(np.float64) + is_predicted)  # 2 tp + fp + fn
        occurs = size > 0
        total += np.divide(2 * hits, size, out=np.zeros_like(size), where=occurs)
        present += occurs
    return total / present
