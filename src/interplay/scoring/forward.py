"""Scores of all 2^n masked prompts of one sample by plain forward passes of a causal LM, sharing the common prefix.

The tokens before the first word are the same for every coalition: they are run once and their key-value cache is repeated.
Only the positions that predict target tokens reach the head (`logits_to_keep`). Everything is undone afterwards: mode,
gradients and random state of the user's model are as they were.
"""

import contextlib
import copy
import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from interplay.scoring.logodds import log_odds

if TYPE_CHECKING:
    import torch


@contextlib.contextmanager
def evaluating(model) -> Iterator[None]:
    """Evaluation mode without gradients; the mode of every submodule comes back, also after an exception."""
    import torch

    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _keeps_logits(model) -> bool:
    """Whether the model computes logits at the last positions only when asked (most causal LMs of transformers do)."""
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(core.forward).parameters


def _target_logits(model, ids: "torch.Tensor", m: int, cache=None, past: int = 0) -> "torch.Tensor":
    """Logits [B, m, V] at the last m positions of ids [B, L]; `cache` holds the `past` tokens that stand before ids."""
    import torch

    keep = {"logits_to_keep": m} if _keeps_logits(model) else {}
    length = ids.shape[1]
    out = model(
        input_ids=ids,
        attention_mask=torch.ones(ids.shape[0], past + length, dtype=torch.long, device=ids.device),
        position_ids=torch.arange(past, past + length, device=ids.device).expand(ids.shape[0], -1),
        past_key_values=cache,
        use_cache=cache is not None,
        **keep,
    )
    return out.logits[:, -m:]


def score_rows(
    model,
    ids: np.ndarray,
    target_ids: Sequence[int],
    *,
    among: Sequence[int] | None = None,
    shared: int = 0,
    batch_tokens: int = 4096,
) -> np.ndarray:
    """Log-odds of the target after each row of prompt ids.

    Args:
        ids: [rows, L] prompt token ids, one length for all (masking keeps length).
        target_ids: the m target tokens; with m > 1 they are teacher-forced behind every row.
        shared: the first `shared` tokens are equal in all rows and are run once.
        batch_tokens: upper bound of tokens in one forward pass (rows x tokens behind the shared prefix).

    Returns:
        [rows] float64 log-odds in nats.
    """
    import torch
    from transformers import DynamicCache

    rows, length = ids.shape
    m = len(target_ids)
    shared = max(0, min(shared, length - 1))  # at least one prompt token must produce logits in every row
    device = next(model.parameters()).device
    forced = np.tile(np.asarray(target_ids[:-1], dtype=np.int64), (rows, 1))
    tail = torch.from_numpy(np.concatenate([ids[:, shared:], forced], axis=1))
    step = max(1, batch_tokens // tail.shape[1])
    values = np.empty(rows, dtype=np.float64)
    with evaluating(model):
        cache = None
        if shared:
            cache = DynamicCache(config=model.config.get_text_config())
            _target_logits(model, torch.from_numpy(ids[:1, :shared]).to(device), 1, cache)
        for a in range(0, rows, step):
            batch = tail[a : a + step].to(device)
            repeated = None
            if cache is not None:
                repeated = copy.deepcopy(cache)
                repeated.batch_repeat_interleave(batch.shape[0])
            logits = _target_logits(model, batch, m, repeated, shared)
            values[a : a + step] = log_odds(logits, target_ids, among).double().cpu().numpy()
    return values
