"""Held-out rows by likelihood: nats of each response, and the likeliest label. No generation, no sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interplay.data.prompts import Encoded, encode, render
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import SkipSample
from interplay.models.length import length_of
from interplay.scoring.forward import Done
from interplay.scoring.targets import find_answers
from interplay.task.passes import scored_batches

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class EvalSet:
    """Tokenised held-out rows, with the tokens of every label that can be encoded; `rows` are those in `encoded`."""

    encoded: tuple[Encoded, ...]
    gold: tuple[int, ...] | None  # index into label_ids of each row's label
    label_ids: tuple[tuple[int, ...], ...] | None
    skipped: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, eq=False)
class RowScores:
    nll: np.ndarray  # [rows] nats summed over the response (end of turn included)
    tokens: np.ndarray  # [rows] of the response
    predicted: np.ndarray | None  # [rows] index of the likeliest label; None where the data has no labels


def prepare_eval(rows: Sequence[Row], labels: Sequence[str] | None, tokenizer, template: PromptTemplate) -> EvalSet:
    """Tokenise eval rows; labels are tokenised behind the first usable row's prompt, those that cannot be are left out."""
    kept: list[tuple[Row, Encoded]] = []
    skipped: list[tuple[str, str]] = []
    found = find_answers(rows, labels, lambda row: render(row, tokenizer, template), tokenizer).labels if rows else {}
    names, longest = list(found), max((len(label.target_ids) for label in found.values()), default=0)
    for row in rows:
        try:
            item = encode(render(row, tokenizer, template), tokenizer)
            length_of(tokenizer).refuse(len(item.input_ids) + max(len(item.target_ids), longest))
        except SkipSample as reason:
            skipped.append((row.id, str(reason)))
            continue
        if labels and row.label not in found:
            skipped.append((row.id, f"its label {row.label!r} is not among the labels of the training data"))
        else:
            kept.append((row, item))
    used, encoded = zip(*kept, strict=True) if kept else ((), ())
    gold = tuple(names.index(str(row.label)) for row in used) if labels else None
    label_ids = tuple(label.target_ids for label in found.values()) or None
    return EvalSet(tuple(encoded), gold, label_ids, tuple(skipped), tuple(used))


def score_eval(
    model,
    data: EvalSet,
    *,
    batch_tokens: int | None = None,
    progress: Done = None,
    seen: "Callable[[int, torch.Tensor], None] | None" = None,
) -> RowScores:
    """Likelihood of every row's own response, and the likeliest label.

    Where all labels start with different tokens the first token decides, else each label's whole token sequence.
    `seen(row, logprobs)` gets the log-distribution [V] at the first response token of every row.
    """
    items = [(e.input_ids, e.target_ids) for e in data.encoded]
    nll, tokens = np.zeros(len(items)), np.array([len(target) for _, target in items], dtype=np.int64)
    labels = data.label_ids or ()
    predicted = np.zeros(len(items), dtype=np.int64) if labels else None
    firsts = [ids[0] for ids in labels]
    by_first_token = len(set(firsts)) == len(firsts)
    batches = scored_batches(model, items, firsts, batch_tokens=batch_tokens, progress=progress, seen=seen)
    for batch, scored in batches:
        nll[batch] = [-float(own.sum()) for own, _ in scored]
        if predicted is None:
            continue
        if by_first_token:
            predicted[batch] = [int(np.argmax(first)) for _, first in scored]
        else:
            pairs = [(items[i][0], ids) for i in batch for ids in labels]
            sums = np.empty(len(pairs))
            for part, parts in scored_batches(model, pairs, batch_tokens=batch_tokens):
                sums[part] = [own.sum() for own, _ in parts]
            predicted[batch] = sums.reshape(len(batch), len(labels)).argmax(axis=1)
    return RowScores(nll, tokens, predicted)
