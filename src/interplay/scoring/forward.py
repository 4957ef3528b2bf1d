"""Scores of masked prompts by plain forward passes of a causal LM, sharing the common prefix.

The tokens before the first word are run once and their key-value cache is repeated. Only the positions that predict target
tokens reach the head (`logits_to_keep`). A model without such a cache or option is run without it, to the same scores.
"""

import contextlib
import copy
import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np

from interplay.models.placement import input_device, unwrapped
from interplay.scoring.logodds import Question, Questions
from interplay.scoring.masking import LEFT_OUT

if TYPE_CHECKING:
    import torch


# On a CPU larger passes are no faster and take more memory (docs/evidence/benchmarks.md). The GPU's is a guess  [ours]
TOKENS_ON_CPU, TOKENS_ELSEWHERE = 2048, 16384
Done = Callable[[int, int], None] | None  # what is told how many of how many are done


def tokens_per_pass(device: "torch.device", wanted: int | None = None) -> int:
    """Tokens in one forward pass: `wanted`, or what suits the device."""
    return wanted or (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ELSEWHERE)


@contextlib.contextmanager
def evaluating(model) -> Generator[None]:
    """Evaluation mode without gradients or a trainer's autocast; the mode of every submodule comes back."""
    import torch

    device = input_device(model).type
    with contextlib.ExitStack() as restored, torch.no_grad(), torch.autocast(device, enabled=False):
        training = [module for module in model.modules() if module.training]
        if training:  # to set what is set costs as much as a small pass
            restored.callback(lambda: [setattr(module, "training", True) for module in training])
            model.eval()
        yield


def _accepts(model, name: str) -> bool:
    """Whether the forward of the model's class names this argument; a trainer may have wrapped the object's forward."""
    return name in inspect.signature(type(unwrapped(model)).forward).parameters


def last_logits(
    model, ids: "torch.Tensor", keep: int, *, mask: "torch.Tensor | None" = None, cache=None, past: int = 0
) -> "torch.Tensor":
    """Logits [B, keep, V] at the last `keep` positions of ids [B, L].

    `mask` [B, L] has 0 at padding, which must stand on the left. `cache`: keys and values of the `past` tokens before ids, which
    it grows by; not together with a mask.
    """
    import torch

    rows, length = ids.shape
    if mask is None:
        # Ones, not None: without a mask transformers may take the positions behind a cache for packed sequences.
        mask = torch.ones(rows, past + length, dtype=torch.long, device=ids.device)
        positions = torch.arange(past, past + length, device=ids.device).expand(rows, -1)
    else:
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
    options = dict(position_ids=positions, past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep)
    options = {name: value for name, value in options.items() if _accepts(model, name)}
    return model(input_ids=ids, attention_mask=mask, **options).logits[:, -keep:]


def _prefix_cache(model, ids: "torch.Tensor"):
    """A key-value cache of ids [1, L], or None for a model whose state is not keys and values (Mamba and its hybrids)."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if not _accepts(model, "past_key_values"):
        return None
    cache = DynamicCache(config=model.config.get_text_config())
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return None  # hybrids of attention and a recurrent state are subclasses of these: the exact types
    last_logits(model, ids, 1, cache=cache)
    return cache if cache.get_seq_length() == ids.shape[1] else None


def score_rows(
    model,
    ids: np.ndarray,
    question: Question | Questions,
    *,
    shared: int = 0,
    batch_tokens: int | None = None,
    progress: Done = None,
) -> np.ndarray:
    """Log-odds of the target, [rows] float64 in nats, or [rows, questions] of several, after each row of prompt ids [rows, L].

    The first `shared` tokens are equal in all rows and are run once; LEFT_OUT stands for no token. Each label that does not begin
    another one takes a pass, of `batch_tokens` at most (None: `tokens_per_pass`). `progress` is called with (rows done, in all).
    """
    import torch

    present = ids != LEFT_OUT
    lengths = present.sum(1)
    order = np.argsort(lengths, kind="stable")
    packed = np.zeros(
        (len(ids), int(lengths.max())), dtype=np.int64
    )  # behind a shorter row token 0, seen by none of its own
    packed[np.arange(packed.shape[1]) < lengths[:, None]] = ids[present]
    shared = max(0, min(shared, int(lengths.min()) - 1))  # at least one prompt token must produce logits in every row
    device = input_device(model)
    most = tokens_per_pass(device, batch_tokens)
    values, done = [], 0
    with evaluating(model):
        cache = _prefix_cache(model, torch.from_numpy(packed[:1, :shared]).to(device)) if shared else None
        past = 0 if cache is None else shared
        while done < len(ids):
            batch = order[done : done + _fitting(lengths[order[done:]] - past, most, len(question.prefixes[-1]))]
            tail = torch.from_numpy(packed[batch, past : lengths[batch[-1]]]).to(device)
            logits = _behind(model, tail, lengths[batch] - past, question, cache, past)
            values.append(question.answer(logits).double().cpu().numpy())
            done += len(batch)
            if progress is not None:
                progress(done, len(ids))
    return np.concatenate(values)[np.argsort(order)]


def _fitting(lengths: np.ndarray, most: int, forced: int) -> int:
    """How many of the rows, by ascending length, one pass takes: `most` tokens with `forced` more each, little padding among them.

    A pass of a few tokens costs about as much as a hundred tokens of a large one, so as much padding is better than one more
    pass (docs/evidence/log.md) [ours].

    >>> _fitting(np.array([8, 8, 9, 24]), most=64, forced=0), _fitting(np.array([8, 8, 9, 24]), most=1024, forced=0)
    (3, 4)
    """
    rows = np.arange(1, len(lengths) + 1)
    padding = lengths * rows - np.cumsum(lengths)
    fits = (padding <= most // 16) & ((lengths + forced) * rows <= most)
    return max(1, len(fits) if fits.all() else int(fits.argmin()))


def _behind(
    model, batch: "torch.Tensor", lengths: np.ndarray, question: Question | Questions, cache, past: int
) -> "torch.Tensor":
    """Logits [rows, prefixes, V] behind the first `lengths` tokens of the rows and each prefix of the question."""
    import torch

    rows, width = batch.shape
    row, last = torch.arange(rows)[:, None], torch.from_numpy(lengths)[:, None]
    found: dict[tuple[int, ...], torch.Tensor] = {}
    for prefix in reversed(question.prefixes):  # longest first: one pass answers for all beginnings of a prefix too
        if prefix in found:
            continue
        size = len(prefix)
        ids = torch.cat([batch, batch.new_zeros(rows, size)], 1)
        ids[row, last + torch.arange(size)] = torch.tensor(prefix, dtype=ids.dtype, device=ids.device)
        repeated = copy.deepcopy(cache)  # a forward pass appends to it
        if repeated is not None:
            repeated.batch_repeat_interleave(rows)
        first = int(lengths.min()) - 1  # the earliest place whose logits are asked for
        logits = last_logits(model, ids, width + size - first, cache=repeated, past=past)
        if first + 1 < width:
            logits = logits[row, last - 1 - first + torch.arange(size + 1)]
        for i in range(size + 1):
            found.setdefault(prefix[:i], logits[:, i])
    return torch.stack([found[prefix] for prefix in question.prefixes], 1)
