"""All masked prompts of one sample in one packed forward pass: a prefix trie instead of 2^n copies of the prompt.

`plan.py` lays the trie out in one row of tokens with their own position ids; a registered attention function lets each token
see its own path only. The model is the stock one. Tries larger than the budget are cut into runs of leaves.
"""

import contextlib
import copy
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

import numpy as np

from interplay.models.placement import input_device, unwrapped
from interplay.scoring.forward import Done, evaluating, tokens_per_pass
from interplay.scoring.logodds import Question, Questions
from interplay.scoring.plan import Plan, branch_order, cut, kept_words, level_bounds, make_plan

if TYPE_CHECKING:
    import torch

NAME = "interplay_trie"
LOGIT_BYTES = 1 << 29  # of the leaves of one pass: a vocabulary of 262 K makes 1 MB of logits a leaf [ours]

_current: ContextVar["_Masks | None"] = ContextVar("interplay_trie", default=None)


class _Masks:
    """A plan on the devices of a model's layers: each level's path and visibility mask, made once each."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._made: dict[tuple, tuple[torch.Tensor, torch.Tensor]] = {}

    def of(
        self, index: int, window: int | None, cached: int, groups: int, device: "torch.device"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """`Level.path`, and `Plan.visible` for the query heads of a group one after the other [groups * size, ...]."""
        import torch

        key = (index, window, cached, groups, device)
        if key not in self._made:
            seen = np.tile(self.plan.visible(index, window, cached), (groups, 1))
            path = self.plan.levels[index].path
            self._made[key] = torch.from_numpy(path).to(device), torch.from_numpy(seen).to(device)
        return self._made[key]


def _attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, sliding_window=None, softcap=None, **kwargs
):
    """Attention over a packed trie: query [1, H, T, D], key and value [1, Hkv, cached + T, D]. No dropout: scoring only."""
    import torch

    masks = _current.get()
    assert masks is not None, "the trie attention runs only inside score_trie"
    heads, total, width = query.shape[1:]
    shared = key.shape[1]
    groups = heads // shared
    cached = key.shape[2] - total  # a sliding layer keeps only the end of the prefix
    output = torch.empty_like(query)
    for index, level in enumerate(masks.plan.levels):
        rows, size = level.rows, level.size
        here = slice(level.first, level.first + rows * size)
        # Query heads that share a key head stand one after the other, as if they were more tokens: no key is repeated.
        q = query[0, :, here].reshape(shared, groups, rows, size, width).permute(2, 0, 1, 3, 4)
        q = q.reshape(rows, shared, groups * size, width)
        path, seen = masks.of(index, sliding_window, cached, groups, query.device)
        k, v = _along(key, path, cached), _along(value, path, cached)
        out = _attend(q, k, v, seen, scaling, softcap)
        out = out.reshape(rows, shared, groups, size, width).permute(1, 2, 0, 3, 4)
        output[0, :, here] = out.reshape(heads, rows * size, width)
    return output.transpose(1, 2).contiguous(), None


def _along(states: "torch.Tensor", path: "torch.Tensor", cached: int) -> "torch.Tensor":
    """[rows, Hkv, cached + path length, D]: the states of each branch's own past."""
    import torch

    rows, length = path.shape
    own = states[0].index_select(1, (path + cached).reshape(-1))
    own = own.reshape(states.shape[1], rows, length, -1).transpose(0, 1)
    if not cached:
        return own
    return torch.cat([states[:, :, :cached].expand(rows, -1, -1, -1), own], dim=2)


def _attend(q, k, v, seen, scaling, softcap):
    import torch

    if softcap is None:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling)
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(~seen, float("-inf")).softmax(-1, dtype=torch.float32).to(q.dtype) @ v


@contextlib.contextmanager
def _trie_attention(model) -> Generator[None]:
    """The model with our attention function; its own comes back, also after an exception."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    with contextlib.ExitStack() as restored:
        for config in (c for c in configs.values() if hasattr(c, "_attn_implementation")):
            restored.callback(setattr, config, "_attn_implementation", config._attn_implementation)
            config._attn_implementation = NAME
        yield


# Architectures that the tests compare with plain forward passes; others are scored in plain batches. A trie cannot carry
# attention sinks (gpt_oss), linear biases (bloom, mpt) or recurrent and convolutional states.
# fmt: off
TESTED = frozenset({
    "apertus", "arcee", "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4",
    "gpt2", "gpt_neox", "granite", "granitemoe", "helium", "hunyuan_v1_dense", "llama", "ministral", "mistral",
    "mixtral", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "opt", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe",
    "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2",
})
# fmt: on


def supports_trie(model) -> bool:
    """Whether the model is one whose layers are known to go through transformers' attention interface, causally."""
    config = unwrapped(model).config.get_text_config()
    return config.model_type in TESTED and not getattr(config, "use_bidirectional_attention", False)


def score_trie(
    model,
    input_ids: Sequence[int],
    spans: Sequence[Sequence[int]],
    fills: Sequence[Sequence[int]],
    question: Question | Questions,
    *,
    coalitions: np.ndarray | None = None,
    budget: int | None = None,
    progress: Done = None,
) -> np.ndarray:
    """Log-odds of the target under coalitions of words, [coalitions] float64 in nats, or [coalitions, questions] of several.

    Arguments as of `make_plan`; `coalitions` None: all 2^n in the order of their numbers. `budget`: packed tokens per forward
    pass, None: `tokens_per_pass`; larger tries are cut into runs of leaves. `progress` is called with (coalitions done, in all).
    """
    import torch
    from transformers import DynamicCache

    n, length = len(spans), len(input_ids)
    chosen = np.arange(1 << n, dtype=np.uint64) if coalitions is None else np.asarray(coalitions, dtype=np.uint64)
    prefix = min(spans[0][0], length - 1)
    device = input_device(model)
    order, fresh = branch_order(kept_words(chosen, n))
    leaves = LOGIT_BYTES // (4 * len(question.prefixes) * model.config.get_text_config().vocab_size)

    def runs_behind(prefix: int) -> list[slice]:
        sizes = [b - a for a, b in level_bounds(spans, length, prefix)]
        sizes[-1] += len(question.prefixes) - 1
        return cut(fresh, sizes, tokens_per_pass(device, budget), leaves)

    runs = runs_behind(0)
    if len(runs) == 1:
        prefix = 0  # all of it is one pass
    elif prefix:
        runs = runs_behind(prefix)
    found = []
    with evaluating(model), _trie_attention(model):
        cache = None
        if prefix:
            cache = DynamicCache(config=model.config.get_text_config())
            _logits(model, make_plan(input_ids[:prefix], [], [], np.zeros(1, dtype=np.uint64)), cache, 1, device)
        for run in runs:
            plan = make_plan(input_ids, spans, fills, chosen[order[run]], question.prefixes, prefix=prefix)
            keep = torch.from_numpy(plan.leaves.reshape(-1))  # on the CPU: it fits a head on any device
            logits = _logits(model, plan, copy.deepcopy(cache), keep, device)
            answers = question.answer(logits.reshape(*plan.leaves.shape, logits.shape[-1]))
            found.append(answers.double().cpu().numpy()[plan.leaf])
            if progress is not None:
                progress(run.stop, len(chosen))
    return np.concatenate(found)[np.argsort(order)]


def _logits(model, plan: Plan, cache, keep: "int | torch.Tensor", device) -> "torch.Tensor":
    """[kept, V] of one packed pass; `cache` holds the prefix and grows by the plan. The head runs on `keep` only."""
    import torch

    token = _current.set(_Masks(plan))
    try:
        return model(
            input_ids=torch.from_numpy(plan.ids)[None].to(device),
            position_ids=torch.from_numpy(plan.positions)[None].to(device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=keep,
        ).logits[0]
    finally:
        _current.reset(token)
