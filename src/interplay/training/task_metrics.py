"""What the task says at a checkpoint: eval loss, and accuracy by label likelihood. No generation, no sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interplay.data.prompts import Encoded, encode, render
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import SkipSample
from interplay.scoring.forward import evaluating, last_logits, tokens_per_pass
from interplay.scoring.products import fast_products

# Logits of one forward pass that are held at once, in numbers (256 MB in float32): a response of hundreds of tokens times a
# vocabulary of 262,144 (Gemma) would not fit otherwise [ours].
MAX_LOGITS = 1 << 26


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
        if labels:
            gold.append(labels.index(row.label))
    return EvalSet(tuple(encoded), tuple(gold) if labels else None, label_ids, tuple(skipped))


def evaluate(
    model, data: EvalSet, *, batch_tokens: int | None = None, progress: Callable[[int, int], None] | None = None
) -> TaskMetrics:
    """Eval loss and label accuracy of a model.

    The accuracy is that of the likeliest label. Where all labels start with different tokens the first token decides;
    otherwise each label's whole token sequence is scored. The interval is Wilson's at 95 %.
    """
    nll, tokens, hits, done = 0.0, 0, [], 0
    labels, gold = data.label_ids or (), data.gold or ()
    firsts = [ids[0] for ids in labels]
    by_first_token = len(set(firsts)) == len(firsts)
    items = [(e.input_ids, e.target_ids) for e in data.encoded]
    device = next(model.parameters()).device
    budgets = tokens_per_pass(device, batch_tokens), max(1, MAX_LOGITS // model.get_input_embeddings().weight.shape[0])
    for batch in _batches(items, *budgets):
        for i, (own, first) in zip(batch, _target_logprobs(model, [items[i] for i in batch], firsts), strict=True):
            nll -= float(own.sum())
            tokens += len(own)
            if labels and by_first_token:
                hits.append(int(np.argmax(first)) == gold[i])
        if labels and not by_first_token:
            pairs = [(items[i][0], ids) for i in batch for ids in labels]
            sums = np.empty(len(pairs))
            for part in _batches(pairs, *budgets):
                scored = _target_logprobs(model, [pairs[k] for k in part], ())
                sums[part] = [own.sum() for own, _ in scored]
            likeliest = sums.reshape(len(batch), len(labels)).argmax(axis=1)
            hits += [int(best) == gold[i] for i, best in zip(batch, likeliest, strict=True)]
        done += len(batch)
        if progress is not None:
            progress(done, len(items))
    accuracy, low, high = wilson(sum(hits), len(hits)) if hits else (None, None, None)
    return TaskMetrics(nll / tokens if tokens else float("nan"), accuracy, low, high, len(items))


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float, float]:
    """Share and its Wilson interval.

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.8, 0.49, 0.943]
    """
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # At 0 and at 1 an end is the share itself, but for rounding.
    return share, float(min(share, max(0.0, centre - half))), float(max(share, min(1.0, centre + half)))


Item = tuple[Sequence[int], Sequence[int]]  # token ids of a prompt and of what follows it


def _batches(items: Sequence[Item], batch_tokens: int, most_targets: int) -> list[list[int]]:
    """Indices of items, shortest first, in batches of at most `batch_tokens` tokens and `most_targets` positions with
    logits, padding included; an item too large for either stands alone."""
    batches: list[list[int]] = []
    length = targets = 0
    for i in sorted(range(len(items)), key=lambda i: len(items[i][0]) + len(items[i][1])):
        prompt, target = items[i]
        length, targets = max(length, len(prompt) + len(target)), max(targets, len(target) + 1)
        rows = len(batches[-1]) + 1 if batches else 0
        if not batches or length * rows > batch_tokens or targets * rows > most_targets:
            batches.append([])
            length, targets = len(prompt) + len(target), len(target) + 1
        batches[-1].append(i)
    return batches


def _target_logprobs(model, items: Sequence[Item], firsts: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each (prompt, target): log p of each target token [m], and of the tokens `firsts` at the first position.

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
    with evaluating(model), fast_products(model):
        logits = last_logits(model, ids.to(device), keep, mask=mask.to(device))
    result = []
    for row, (_, t) in enumerate(items):
        # One row at a time: a second array of the size of all logits is what runs out of memory first.
        used = logits[row, keep - 1 - len(t) : keep - 1]  # [m, V]
        logprobs = torch.log_softmax(used if used.dtype == torch.float64 else used.float(), dim=-1)
        own = logprobs[torch.arange(len(t)), torch.tensor(t)].double().cpu().numpy()
        result.append((own, logprobs[0, list(firsts)].double().cpu().numpy()))
    return result
