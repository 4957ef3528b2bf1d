"""Log-odds of target tokens from logits. Arrays only: knows neither models nor words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def log_odds(logits: "torch.Tensor", target_ids: Sequence[int], among: Sequence[int] | None = None) -> "torch.Tensor":
    """v = sum over the m target tokens of log p(y) - log(1 - p(y)), as logit_y - logsumexp(all other logits).

    Computed from logits, never through p, which saturates at 1 [paper eq 1; the form is ours].

    Args:
        logits: [..., m, V]; row i predicts target token i. Promoted to float32 if narrower, float64 stays.
        target_ids: the m target token ids.
        among: score against these token ids only instead of the whole vocabulary; they must hold the targets and one more.

    Returns:
        [...] log-odds in nats, in the promoted dtype.

    >>> import torch
    >>> round(float(log_odds(torch.tensor([[2.0, 0.0, 0.0]]), [0])), 4)   # 2 - log(e^0 + e^0)
    1.3069
    >>> round(float(log_odds(torch.tensor([[2.0, 0.0, 9.0]]), [0], among=[0, 1])), 4)   # 2 - log(e^0)
    2.0
    >>> round(float(log_odds(torch.tensor([[90.0, 0.0]]), [0])), 4)   # p rounds to 1, the log-odds does not
    90.0
    """
    import torch

    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    targets = torch.as_tensor(list(target_ids), device=logits.device)
    if among is not None:
        if not set(target_ids) <= set(among) or len(set(among)) < 2:
            raise ValueError(f"`among` must hold the targets {list(target_ids)} and another token, given {list(among)}")
        pool = torch.as_tensor(sorted(set(among)), device=logits.device)
        logits = logits.index_select(-1, pool)
        targets = torch.searchsorted(pool, targets)
    index = targets.view(*([1] * (logits.dim() - 2)), -1, 1).expand(*logits.shape[:-1], 1)
    picked = logits.gather(-1, index).squeeze(-1)
    rest = logits.scatter(-1, index, float("-inf")).logsumexp(-1)
    return (picked - rest).sum(-1)
