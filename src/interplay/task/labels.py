"""Eval loss, accuracy and macro-F1 of held-out rows, by likelihood. No generation, no sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interplay.data.prompts import Encoded, encode, render
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.dynamics.stats import Figure, percentile, resample_counts, wilson
from interplay.errors import SkipSample
from interplay.task.intervals import macro_f1, macro_f1_of
from interplay.task.passes import batches, budgets, target_logprobs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class EvalSet:
    """Held-out rows tokenised once, with every label's tokens where the data has labels; `rows` are those in `encoded`."""

    encoded: tuple[Encoded, ...]
    gold: tuple[int, ...] | None  # index into label_ids of each row's label
    label_ids: tuple[tuple[int, ...], ...] | None
    skipped: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, eq=False)
class RowScores:
    """What one model says to each row: `nll` [rows] nats summed over the `tokens` [rows] of its response (end of turn
    included, as training has it), and the `predicted` [rows] label's index; None where the data has no labels."""

    nll: np.ndarray
    tokens: np.ndarray
    predicted: np.ndarray | None


@dataclass(frozen=True)
class TaskMetrics:
    """Eval loss in nats per response token, accuracy and macro-F1 in 0..1 (None without labels), rows measured."""

    eval_loss: float
    accuracy: float | None
    accuracy_lo: float | None
    accuracy_hi: float | None
    macro_f1: float | None
    macro_f1_lo: float | None
    macro_f1_hi: float | None
    rows: int


def prepare_eval(rows: Sequence[Row], labels: Sequence[str] | None, tokenizer, template: PromptTemplate) -> EvalSet:
    """Tokenise eval rows; labels are tokenised behind the first usable row's prompt."""
    encoded, gold, kept, skipped = [], [], [], []
    label_ids = None
    for row in rows:
        try:
            item = encode(render(row, tokenizer, template), tokenizer)
            if labels and label_ids is None:
                label_ids = tuple(
                    tuple(
                        encode(
                            render(replace(row, target=label, label=label), tokenizer, template), tokenizer
                        ).target_ids
                    )
                    for label in labels
                )
        except SkipSample as reason:
            skipped.append((row.id, str(reason)))
            continue
        if labels and row.label not in labels:
            skipped.append((row.id, f"its label {row.label!r} is not among the labels of the training data"))
            continue
        encoded.append(item)
        kept.append(row)
        if labels:
            gold.append(labels.index(row.label))
    return EvalSet(tuple(encoded), tuple(gold) if labels else None, label_ids, tuple(skipped), tuple(kept))


def score_eval(
    model,
    data: EvalSet,
    *,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    seen: "Callable[[int, torch.Tensor], None] | None" = None,
) -> RowScores:
    """Likelihood of every row's own response, and the likeliest label.

    Where all labels start with different tokens the first token decides; otherwise each label's whole token sequence is
    scored. `seen(row, logprobs)` gets the log-distribution [V] at the first response token of every row, from the same
    forward pass (`drift`). `progress` is called with (rows done, in all).
    """
    nll, tokens = np.zeros(len(data.encoded)), np.zeros(len(data.encoded), dtype=np.int64)
    labels = data.label_ids or ()
    predicted = np.zeros(len(data.encoded), dtype=np.int64) if labels else None
    firsts = [ids[0] for ids in labels]
    by_first_token = len(set(firsts)) == len(firsts)
    items = [(e.input_ids, e.target_ids) for e in data.encoded]
    limits = budgets(model, batch_tokens)
    done = 0
    for batch in batches(items, *limits):

        def hand_on(index: int, logprobs: "torch.Tensor", batch: list[int] = batch) -> None:
            if seen is not None:
                seen(batch[index], logprobs)

        scored = target_logprobs(model, [items[i] for i in batch], firsts, hand_on)
        for i, (own, first) in zip(batch, scored, strict=True):
            nll[i], tokens[i] = -float(own.sum()), len(own)
            if predicted is not None and by_first_token:
                predicted[i] = int(np.argmax(first))
        if predicted is not None and not by_first_token:
            pairs = [(items[i][0], ids) for i in batch for ids in labels]
            sums = np.empty(len(pairs))
            for part in batches(pairs, *limits):
                sums[part] = [own.sum() for own, _ in target_logprobs(model, [pairs[k] for k in part])]
            predicted[batch] = sums.reshape(len(batch), len(labels)).argmax(axis=1)
        done += len(batch)
        if progress is not None:
            progress(done, len(items))
    return RowScores(nll, tokens, predicted)


def loss(scores: RowScores) -> float:
    """Mean of nats over response tokens: tokens are weighted equally, not rows. NaN where there are none.

    >>> loss(RowScores(np.array([6.0, 1.0]), np.array([3, 1]), None))  # 7 nats over 4 tokens
    1.75
    """
    return float(scores.nll.sum() / scores.tokens.sum()) if scores.tokens.sum() else float("nan")


def accuracy(scores: RowScores, gold: Sequence[int]) -> Figure:
    """Share of rows whose likeliest label is theirs, with Wilson's interval.

    >>> accuracy(RowScores(np.zeros(4), np.ones(4), np.array([0, 1, 1, 1])), [0, 1, 1, 0]).value
    0.75
    """
    assert scores.predicted is not None
    return Figure(*wilson(int((scores.predicted == np.asarray(gold)).sum()), len(gold)))


def f1(scores: RowScores, gold: Sequence[int], counts: np.ndarray) -> Figure:
    """Macro-F1 over the labels that occur as gold or as prediction; percentile bootstrap over rows, `counts` [R, rows].

    >>> got = f1(RowScores(np.zeros(2), np.ones(2), np.array([0, 0])), [0, 1], np.array([[2, 0], [0, 2], [1, 1]]))
    >>> round(got.value, 4)  # F1 of label 0 is 2/3, of label 1 it is 0
    0.3333
    """
    assert scores.predicted is not None
    known = np.asarray(gold)
    return percentile(macro_f1(known, scores.predicted), macro_f1_of(known, scores.predicted, counts))


def evaluate(
    model,
    data: EvalSet,
    *,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> TaskMetrics:
    """Eval loss and label accuracy of a model in one call: `score_eval`, summed up."""
    scores = score_eval(model, data, batch_tokens=batch_tokens, progress=progress)
    rows = len(data.encoded)
    if not data.gold:
        return TaskMetrics(loss(scores), None, None, None, None, None, None, rows)
    counts = resample_counts(rows, resamples, np.random.default_rng(seed))
    return TaskMetrics(loss(scores), *accuracy(scores, data.gold), *f1(scores, data.gold, counts), rows)
