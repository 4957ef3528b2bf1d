"""Drift from the base model: KL divergence at the first response token, and perplexity of a retention text.

KL divergence from the base on the task's prompts predicts forgetting [arXiv 2509.04259, of whole responses].
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from interplay.data.prompts import _leading_ids, _tokenise
from interplay.errors import InterplayError
from interplay.scoring.forward import Done
from interplay.task.passes import MAX_LOGITS, Item, scored_batches, vocabulary

if TYPE_CHECKING:
    import torch

# The base's distributions stay in memory during a run: in float32 up to 256 MB, then in float16, at most 512 MB; of more rows
# (1,766 at a vocabulary of 151,936) only the first are compared [ours].
SINGLE_BYTES, MOST_BYTES = 1 << 28, 1 << 29
WINDOW = 512  # tokens of a retention window at most [ours]
CHARACTERS_A_TOKEN = 64  # more of the retention text than this many times its tokens is not read


class Divergence(NamedTuple):
    """KL divergences in nats of each row [rows], NaN where the row is not compared."""

    forward: np.ndarray  # KL(base || model)
    reverse: np.ndarray  # KL(model || base)


class BaseDistributions:
    """log p of the base model at the first response token, [rows, V]; `collect` is for `labels.score_eval(seen=...)`."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._logprobs: np.ndarray | None = None

    def collect(self, row: int, logprobs: "torch.Tensor") -> None:
        if self._logprobs is None:
            size = logprobs.shape[0]
            narrow = self.rows * size * 4 > SINGLE_BYTES
            rows = min(self.rows, max(1, MOST_BYTES // (2 * size))) if narrow else self.rows
            self._logprobs = np.empty((rows, size), np.float16 if narrow else np.float32)
        if row < len(self._logprobs):
            lowest = np.finfo(self._logprobs.dtype).min  # float16 ends at -65,504, and -inf would be no number there
            self._logprobs[row] = np.maximum(logprobs.float().cpu().numpy(), lowest)

    def against(self) -> "Comparison":
        """A comparison of another model with what was collected."""
        assert self._logprobs is not None
        return Comparison(self._logprobs, Divergence(*np.full((2, self.rows), np.nan)))


class Comparison(NamedTuple):
    """KL divergences of one model to the base, filled row by row through `seen`."""

    base: np.ndarray
    found: Divergence

    def seen(self, row: int, logprobs: "torch.Tensor") -> None:
        if row < len(self.base):
            own = logprobs.cpu().double().numpy()
            if len(own) != self.base.shape[1]:
                sizes = f"this checkpoint has {len(own)} tokens in its head and step 0 has {self.base.shape[1]}"
                raise InterplayError(f"{sizes}, so there is no KL divergence between them: set task.kl to false")
            self.found.forward[row], self.found.reverse[row] = divergences(self.base[row], own)


def divergences(base: np.ndarray, model: np.ndarray) -> tuple[float, float]:
    """KL(base || model) and KL(model || base) in nats, from two log-distributions [V], normalised first against rounding.

    >>> [round(float(x), 4) for x in divergences(np.log([0.5, 0.5]), np.log([0.25, 0.75]))]  # ln 2 - ln(3)/2, 3/4 ln 3 - ln 2
    [0.1438, 0.1308]
    """
    import torch

    def kl(a: torch.Tensor, b: torch.Tensor) -> float:
        p = a.exp()
        return max(0.0, float(torch.where(p > 0, p * (a - b), 0.0).sum()))  # below zero only by rounding

    one, other = (torch.from_numpy(x).double().log_softmax(-1) for x in (base, model))
    return kl(one, other), kl(other, one)


class Windows(NamedTuple):
    """Nats summed over the `tokens` [windows] that each window of a text predicts, `nll` [windows]."""

    nll: np.ndarray
    tokens: np.ndarray


def retention_windows(text: str, model, tokenizer, tokens: int) -> tuple[tuple[int, ...], ...]:
    """The first `tokens` tokens of a text in windows that do not overlap, each behind the tokenizer's BOS if it has one.

    A window has at most 512 tokens, or as many as the model has positions for or fit the budget of logits at once.
    """
    ids = _tokenise(tokenizer, text[: tokens * CHARACTERS_A_TOKEN])[0][:tokens]
    lead = _leading_ids(tokenizer)
    if ids[: len(lead)] == lead:  # a text that spells it
        ids = ids[len(lead) :]
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None) or WINDOW
    length = max(2, min(WINDOW, positions, MAX_LOGITS // vocabulary(model)) - len(lead))
    parts = [lead + ids[a : a + length] for a in range(0, len(ids), length)]
    windows = tuple(part for part in parts if len(part) >= 2)
    if not windows:
        raise InterplayError(f"task.retention holds {len(ids)} tokens, perplexity needs two: give a longer text")
    return windows


def score_windows(
    model, windows: Sequence[Sequence[int]], *, batch_tokens: int | None = None, progress: Done = None
) -> Windows:
    """Nats of every token of a window but its first, each given those before it in the window."""
    items: list[Item] = [(w[:1], w[1:]) for w in windows]
    nll = np.zeros(len(items))
    for batch, scored in scored_batches(model, items, batch_tokens=batch_tokens, progress=progress):
        nll[batch] = [-float(own.sum()) for own, _ in scored]
    return Windows(nll, np.array([len(t) for _, t in items]))
