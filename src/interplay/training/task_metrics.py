"""What the task says at a checkpoint: eval loss, and accuracy by label likelihood. No generation, no sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interplay.data.template import PromptTemplate
from interplay.data.prompts import Encoded, encode, render
from interplay.data.rows import Row
from interplay.errors import SkipSample
from interplay.scoring.forward import evaluating


@dataclass(frozen=True)
class EvalSet:
    """Held-out rows tokenised once, with every label's tokens where the data has labels."""

    encoded: tuple[Encoded, ...]
    gold: tuple[int, ...] | None  # index into label_ids of each row's label
    label_ids: tuple[tuple[int, ...], ...] | None
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TaskMetrics:
    """Eval loss in nats per response token (end of turn included, as training has it), accuracy in 0..1, rows measured."""

    eval_loss: float
    accuracy: float | None
    accuracy_lo: float | None
    accuracy_hi: float | None
    rows: int


def prepare_eval(rows: Sequence[Row], labels: Sequence[str] | None, tokenizer, template: PromptTemplate) -> EvalSet:
    """Tokenise eval rows; labels are tokenised behind the first usable row's prompt."""
    encoded, gold, skipped = [], [], []
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
        gold.append(labels.index(row.label) if labels and row.label is not None else -1)
    return EvalSet(tuple(encoded), tuple(gold) if labels else None, label_ids, tuple(skipped))


def evaluate(
    model, data: EvalSet, *, batch_tokens: int = 4096, progress: Callable[[int, int], None] | None = None
) -> TaskMetrics:
    """Eval loss and label accuracy of a model.

    The accuracy is that of the likeliest label. Where all labels start with different tokens the first token decides;
    otherwise each label's whole token sequence is scored. The interval is Wilson's at 95 %.
    """
    nll, tokens, hits = 0.0, 0, []
    firsts = [ids[0] for ids in data.label_ids] if data.label_ids else []
    by_first_token = bool(firsts) and len(set(firsts)) == len(firsts)
    order = sorted(range(len(data.encoded)), key=lambda i: len(data.encoded[i].input_ids))
    done = 0
    for batch in _batches(order, data, batch_tokens):
        items = [(data.encoded[i].input_ids, data.encoded[i].target_ids) for i in batch]
        logprobs = _target_logprobs(model, items)
        for i, (own, first) in zip(batch, logprobs, strict=True):
            nll -= float(own.sum())
            tokens += len(own)
            if by_first_token and data.gold is not None:
                hits.append(int(np.argmax(first[firsts])) == data.gold[i])
        if data.label_ids and not by_first_token and data.gold is not None:
            for i in batch:
                pairs = [(data.encoded[i].input_ids, ids) for ids in data.label_ids]
                sums = [float(own.sum()) for own, _ in _target_logprobs(model, pairs)]
                hits.append(int(np.argmax(sums)) == data.gold[i])
        done += len(batch)
        if progress is not None:
            progress(done, len(order))
    accuracy, low, high = wilson(sum(hits), len(hits)) if hits else (None, None, None)
    return TaskMetrics(nll / tokens if tokens else float("nan"), accuracy, low, high, len(order))


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float, float]:
    """Share and its Wilson interval.

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.8, 0.49, 0.943]
    """
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return share, float(max(0.0, centre - half)), float(min(1.0, centre + half))


def _batches(order: Sequence[int], data: EvalSet, batch_tokens: int) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    for i in order:
        longest = len(data.encoded[i].input_ids) + len(data.encoded[i].target_ids)
        if batches[-1] and longest * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(i)
    return [batch for batch in batches if batch]


def _target_logprobs(
    model, items: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each (prompt, target): log p of each target token, and the log-probabilities [V] of the first position.

    Left padding inside this function only (the tokenizer is not touched), so that all targets end at the last position and
    the head runs on the few positions that matter.
    """
    import torch

    device = next(model.parameters()).device
    longest = max(len(p) + len(t) for p, t in items)
    keep = max(len(t) for _, t in items) + 1
    ids = torch.zeros(len(items), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (p, t) in enumerate(items):
        ids[row, longest - len(p) - len(t) :] = torch.tensor([*p, *t])
        mask[row, longest - len(p) - len(t) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with evaluating(model):
        logits = model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            use_cache=False,
            logits_to_keep=keep,
        ).logits[:, -keep:]
        logprobs = torch.log_softmax(logits.float(), dim=-1).cpu()
    result = []
    for row, (_, t) in enumerate(items):
        at = torch.arange(keep - 1 - len(t), keep - 1)
        own = logprobs[row, at, torch.tensor(t)].double().numpy()
        result.append((own, logprobs[row, at[0]].double().numpy()))
    return result
