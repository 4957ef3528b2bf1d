"""All 2^n masked prompts of one sample in one packed forward pass: a prefix trie instead of 2^n copies of the prompt.

Two coalitions that agree on the first i words share every token before word i + 1. Cut the prompt at the words: level 0 is
what stands before the first word, level i is word i with the background behind it. Level i has 2^i branches (each parent
once with the word masked, once kept), so the trie holds sum_i 2^i s_i tokens where plain batches hold 2^n L.

Nothing is sampled, so every token of the trie is known beforehand: all branches are laid out in one row of tokens with
their own position ids, and a registered attention function lets each token see its own path only. The model is the stock
one (peft adapters too); its attention setting is put back afterwards. Tries larger than the budget are cut into subtrees by
fixing the first decisions, which bounds memory.
"""

import contextlib
import copy
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from interplay.scoring.forward import evaluating
from interplay.scoring.logodds import log_odds

if TYPE_CHECKING:
    import torch

NAME = "interplay_trie"
LOGIT_BYTES = 1 << 29  # of the leaves of one pass: a vocabulary of 262 K makes 1 MB of logits a leaf [ours]


@dataclass(frozen=True)
class Level:
    """One level of a trie: `path[b, :]` are the packed indices of branch b's tokens from level 0 to this level's end."""

    first: int  # packed index of this level's first token
    rows: int  # branches
    size: int  # tokens per branch
    path: np.ndarray  # [rows, tokens from level 0 on] int64


@dataclass(frozen=True)
class Plan:
    """A packed trie: token ids and positions [T], its levels, and the packed index of each leaf's predicting tokens.

    `leaves[r]` belongs to the r-th leaf in packed order, `coalitions[r]` says which coalition that is.
    """

    ids: np.ndarray
    positions: np.ndarray
    levels: tuple[Level, ...]
    leaves: np.ndarray  # [leaves, m]
    coalitions: np.ndarray  # [leaves]
    prefix: int  # tokens that stand before level 0, in the cache


def make_plan(
    input_ids: Sequence[int],
    spans: Sequence[Sequence[int]],
    mask_id: int,
    forced: Sequence[int] = (),
    *,
    prefix: int = 0,
    fixed: Sequence[bool] = (),
) -> Plan:
    """Lay out the trie of one prompt.

    Args:
        input_ids: prompt tokens [L]; `forced` are target tokens to append (all but the last one scored).
        spans: token positions of each word, words in the order of the prompt.
        prefix: so many leading tokens are left out, they stand in a cache.
        fixed: kept (True) or masked (False) for the first words: the subtree below these decisions.

    >>> plan = make_plan([1, 2, 3], [(1,), (2,)], mask_id=0)
    >>> plan.ids.tolist()                    # level 0 | word 1 masked, kept | word 2 masked, kept, under either
    [1, 0, 2, 0, 3, 0, 3]
    >>> plan.positions.tolist(), plan.coalitions.tolist()     # bit 0 = word 1, bit 1 = word 2
    ([0, 1, 1, 2, 2, 2, 2], [0, 2, 1, 3])
    """
    tokens = np.asarray([*input_ids, *forced], dtype=np.int64)
    n = len(spans)
    cuts = [prefix, *(span[0] for span in spans[len(fixed) :]), len(tokens)]
    base = tokens.copy()
    for span, kept in zip(spans, fixed, strict=False):
        if not kept:
            base[list(span)] = mask_id
    levels: list[Level] = []
    packed_ids, packed_positions = [], []
    total = 0
    path = np.empty((1, 0), dtype=np.int64)
    for depth in range(n - len(fixed) + 1):
        a, b = cuts[depth], cuts[depth + 1]
        if depth == 0:
            block = base[None, a:b]
        else:
            masked = base[a:b].copy()
            masked[np.asarray(spans[len(fixed) + depth - 1]) - a] = mask_id
            # Children of branch b are 2b (word masked) and 2b + 1 (kept), so descendants stay next to each other.
            block = np.tile(np.stack([masked, base[a:b]]), (1 << (depth - 1), 1))
            path = np.repeat(path, 2, axis=0)
        rows, size = block.shape
        own = total + np.arange(rows * size, dtype=np.int64).reshape(rows, size)
        path = np.concatenate([path, own], axis=1)
        levels.append(Level(total, rows, size, path))
        packed_ids.append(block.ravel())
        packed_positions.append(np.tile(np.arange(a, b), rows))
        total += rows * size
    free = n - len(fixed)
    leaf = np.arange(1 << free)
    coalitions = np.zeros_like(leaf)
    for i in range(free):
        coalitions |= ((leaf >> (free - 1 - i)) & 1) << (len(fixed) + i)
    coalitions |= sum(1 << i for i, kept in enumerate(fixed) if kept)
    m = len(forced) + 1
    return Plan(
        ids=np.concatenate(packed_ids),
        positions=np.concatenate(packed_positions),
        levels=tuple(level for level in levels if level.size),
        leaves=path[:, -m:],
        coalitions=coalitions,
        prefix=prefix,
    )


def plan_tokens(length: int, starts: Sequence[int], prefix: int) -> int:
    """Tokens in the whole trie of a prompt of `length` tokens whose words start at `starts`.

    >>> plan_tokens(3, [1, 2], 0)       # 1 + 2 + 4, where plain batches have 4 x 3
    7
    """
    cuts = [prefix, *starts, length]
    return sum((1 << i) * (b - a) for i, (a, b) in enumerate(pairwise(cuts)))


_current: ContextVar["_Masks | None"] = ContextVar("interplay_trie", default=None)


class _Masks:
    """A plan on a device, with the visibility mask of each level per sliding window."""

    def __init__(self, plan: Plan, device: Any) -> None:
        import torch

        self.plan = plan
        self.device = device
        self.paths = [torch.from_numpy(level.path).to(device) for level in plan.levels]
        self._visible: dict[tuple[int, int | None, int], torch.Tensor] = {}

    def visible(self, index: int, window: int | None, cached: int) -> "torch.Tensor":
        """[size, cached + path length] True where a token of this level may look: back, and within the window."""
        import torch

        key = (index, window, cached)
        if key not in self._visible:
            level = self.plan.levels[index]
            length = level.path.shape[1]
            keys = torch.arange(-cached, length, device=self.device)
            queries = torch.arange(length - level.size, length, device=self.device)[:, None]
            seen = keys <= queries
            if window is not None:
                seen &= queries - keys < window
            self._visible[key] = seen
        return self._visible[key]


def _attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, sliding_window=None, softcap=None, **kwargs
):
    """Attention over a packed trie: query [1, H, T, D], key and value [1, Hkv, cached + T, D]. No dropout: scoring only."""
    import torch

    masks = _current.get()
    assert masks is not None, "the trie attention runs only inside score_trie"
    plan = masks.plan
    heads, total = query.shape[1], query.shape[2]
    cached = key.shape[2] - total  # a sliding layer keeps only the end of the prefix
    output = torch.empty_like(query)
    for index, level in enumerate(plan.levels):
        rows, size = level.rows, level.size
        q = query[0, :, level.first : level.first + rows * size].reshape(heads, rows, size, -1).transpose(0, 1)
        k = _along(key, masks.paths[index], cached)
        v = _along(value, masks.paths[index], cached)
        seen = masks.visible(index, sliding_window, cached)
        out = _attend(q, k, v, seen, scaling, softcap)
        output[0, :, level.first : level.first + rows * size] = out.transpose(0, 1).reshape(heads, rows * size, -1)
    return output.transpose(1, 2).contiguous(), None


def _along(states: "torch.Tensor", path: "torch.Tensor", cached: int) -> "torch.Tensor":
    """[rows, Hkv, cached + path length, D]: the states of each branch's own past."""
    import torch

    rows, length = path.shape
    own = states[0].index_select(1, (path + cached).reshape(-1))
    own = own.reshape(states.shape[1], rows, length, -1).transpose(0, 1)
    if not cached:
        return own
    before = states[:, :, :cached].expand(rows, -1, -1, -1)
    return torch.cat([before, own], dim=2)


def _attend(q, k, v, seen, scaling, softcap):
    import torch

    if softcap is None:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(~seen, float("-inf")).softmax(-1, dtype=torch.float32).to(q.dtype) @ v


@contextlib.contextmanager
def _trie_attention(model) -> Generator[None]:
    """The model with our attention function; its own comes back, also after an exception."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    before = [(c, c._attn_implementation) for c in configs.values() if hasattr(c, "_attn_implementation")]
    try:
        for config, _ in before:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in before:
            config._attn_implementation = name


# Architectures held against plain forward passes in the tests; others take the plain road until they are.
TESTED = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")


def supports_trie(model) -> bool:
    """Whether the model is one whose layers are known to go through transformers' attention interface, causally."""
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = core.config.get_text_config()
    return config.model_type in TESTED and not getattr(config, "use_bidirectional_attention", False)


def score_trie(
    model,
    input_ids: Sequence[int],
    spans: Sequence[Sequence[int]],
    mask_id: int,
    target_ids: Sequence[int],
    *,
    among: Sequence[int] | None = None,
    budget: int = 4096,
) -> np.ndarray:
    """Log-odds of the target under all 2^n coalitions, [2^n] float64 nats; bit i of the index = word i kept.

    Args:
        spans: token positions of each word, words in the order of the prompt.
        budget: packed tokens per forward pass; larger tries are cut into subtrees.
    """
    from transformers import DynamicCache

    n = len(spans)
    starts = [span[0] for span in spans]
    prefix = min(starts[0], len(input_ids) - 1)
    forced = tuple(target_ids[:-1])
    length = len(input_ids) + len(forced)
    device = next(model.parameters()).device
    logit_bytes = len(target_ids) * model.config.get_text_config().vocab_size * 4
    depth = 0
    while depth < n and (
        plan_tokens(length, starts[depth:], prefix) > budget or logit_bytes << (n - depth) > LOGIT_BYTES
    ):
        depth += 1
    values = np.empty(1 << n, dtype=np.float64)
    with evaluating(model), _trie_attention(model):
        cache = _prefix_cache(model, input_ids[:prefix], device, DynamicCache)
        for chunk in range(1 << depth):
            fixed = [bool(chunk >> (depth - 1 - i) & 1) for i in range(depth)]
            plan = make_plan(input_ids, spans, mask_id, forced, prefix=prefix, fixed=fixed)
            past = None if cache is None else copy.deepcopy(cache)
            _score_plan(model, plan, past, target_ids, among, values, device)
    return values


def _prefix_cache(model, ids: Sequence[int], device, cache_class):
    """Key-value cache of the tokens before the first word, or None when there are none."""
    import torch

    if not ids:
        return None
    cache = cache_class(config=model.config.get_text_config())
    plan = make_plan(ids, [], 0)
    token = _current.set(_Masks(plan, device))
    try:
        model(
            input_ids=torch.tensor([list(ids)], device=device),
            position_ids=torch.arange(len(ids), device=device)[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    finally:
        _current.reset(token)
    return cache


def _score_plan(model, plan: Plan, past, target_ids, among, values: np.ndarray, device) -> None:
    """One packed pass; the head runs on the leaves only. Fills the values of the plan's coalitions."""
    import torch

    token = _current.set(_Masks(plan, device))
    try:
        m = plan.leaves.shape[1]
        keep = torch.from_numpy(plan.leaves.reshape(-1)).to(device)
        logits = model(
            input_ids=torch.from_numpy(plan.ids)[None].to(device),
            position_ids=torch.from_numpy(plan.positions)[None].to(device),
            past_key_values=past,
            use_cache=past is not None,
            logits_to_keep=keep,
        ).logits[0]
    finally:
        _current.reset(token)
    values[plan.coalitions] = (
        log_odds(logits.reshape(-1, m, logits.shape[-1]), target_ids, among).double().cpu().numpy()
    )
