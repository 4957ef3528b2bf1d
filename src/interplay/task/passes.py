"""Teacher-forced forward passes over (prompt, continuation) pairs in padded batches: log p of every continuation token."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from interplay.models.placement import input_device
from interplay.scoring.forward import Done, evaluating, last_logits, tokens_per_pass
from interplay.scoring.precision import fast_products

if TYPE_CHECKING:
    import torch

# Logits of one forward pass held at once (256 MB in float32): hundreds of tokens times a vocabulary of 262,144 would not fit.
MAX_LOGITS = 1 << 26

Item = tuple[Sequence[int], Sequence[int]]  # token ids of a prompt and of what follows it


def vocabulary(model) -> int:
    """Rows of the model's input embedding: the size that its logits are budgeted with."""
    return int(model.get_input_embeddings().weight.shape[0])


def budgets(model, batch_tokens: int | None = None) -> tuple[int, int]:
    """Tokens and positions with logits that one forward pass of this model may have."""
    device = input_device(model)
    return tokens_per_pass(device, batch_tokens), max(1, MAX_LOGITS // vocabulary(model))


def batches(items: Sequence[Item], batch_tokens: int, most_targets: int) -> list[list[int]]:
    """Indices of items, shortest first, in batches of at most `batch_tokens` tokens and `most_targets` positions with
    logits, padding included; an item too large for either stands alone.

    >>> batches([((1, 2, 3), (4,)), ((1,), (2,)), ((1, 2), (3,))], batch_tokens=6, most_targets=99)  # 2 + 3 tokens, then 4
    [[1, 2], [0]]
    """
    made: list[list[int]] = []
    length = targets = 0
    for i in sorted(range(len(items)), key=lambda i: len(items[i][0]) + len(items[i][1])):
        prompt, target = items[i]
        length, targets = max(length, len(prompt) + len(target)), max(targets, len(target) + 1)
        rows = len(made[-1]) + 1 if made else 0
        if not made or length * rows > batch_tokens or targets * rows > most_targets:
            made.append([])
            length, targets = len(prompt) + len(target), len(target) + 1
        made[-1].append(i)
    return made


def padded(sequences: Sequence[Sequence[int]], pad: int = 0) -> "tuple[torch.Tensor, torch.Tensor]":
    """Token ids [B, L] padded on the left, so that all end at the last position, and the mask [B, L] with 0 at padding.

    >>> ids, mask = padded([(5, 6), (7,)], pad=9)
    >>> ids.tolist(), mask.tolist()
    ([[5, 6], [9, 7]], [[1, 1], [0, 1]])
    """
    import torch

    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, longest - len(sequence) :] = torch.tensor([*sequence])
        mask[row, longest - len(sequence) :] = 1
    return ids, mask


def target_logprobs(
    model, items: Sequence[Item], firsts: Sequence[int] = (), seen: "Callable[[int, torch.Tensor], None] | None" = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """One forward pass. For each (prompt, target): log p of each target token [m] in nats, and of the tokens `firsts` at the
    first position behind the prompt.

    `seen(index, logprobs)` gets the whole log-distribution [V] at that first position.
    """
    import torch

    device = input_device(model)
    keep = max(len(t) for _, t in items) + 1
    ids, mask = padded([[*p, *t] for p, t in items])
    with evaluating(model), fast_products(model):
        logits = last_logits(model, ids.to(device), keep, mask=mask.to(device))
    result = []
    for row, (_, t) in enumerate(items):
        # One row at a time: a second array of the size of all logits is what runs out of memory first.
        used = logits[row, keep - 1 - len(t) : keep - 1]  # [m, V]
        logprobs = torch.log_softmax(used if used.dtype == torch.float64 else used.float(), dim=-1)
        own = logprobs[torch.arange(len(t)), torch.tensor(t)].cpu().double().numpy()
        result.append((own, logprobs[0, list(firsts)].cpu().double().numpy()))
        if seen is not None:
            seen(row, logprobs[0])
    return result


def scored_batches(
    model,
    items: Sequence[Item],
    firsts: Sequence[int] = (),
    *,
    batch_tokens: int | None = None,
    progress: Done = None,
    seen: "Callable[[int, torch.Tensor], None] | None" = None,
) -> Iterator[tuple[list[int], list[tuple[np.ndarray, np.ndarray]]]]:
    """`target_logprobs` of all items, batch by batch, with the indices of the batch's items; `seen` gets the index among all."""
    done = 0
    for batch in batches(items, *budgets(model, batch_tokens)):
        told = None if seen is None else lambda row, logprobs, batch=batch: seen(batch[row], logprobs)
        yield batch, target_logprobs(model, [items[i] for i in batch], firsts, told)
        done += len(batch)
        if progress is not None:
            progress(done, len(items))
