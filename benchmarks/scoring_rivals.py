"""Scoring all coalitions of one prompt by roads that a good engineer would take with stock transformers, beside the packed trie.

Every road scores the same coalitions of the same model, under the same float32 product (`fast_products`), in a process of its own
that measures its CPU seconds, its peak memory beyond the model, and the operations of its linear layers: so a row tells a road
that computes less from one that uses the machine better. No road shares code with the package.

    python -m benchmarks.scoring_rivals --child SUBJECT N LENGTH ROAD FILE      (writes what it measured to FILE)
"""

import contextlib
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.memory import MB, peak_beyond
from benchmarks.scoring_rows import (
    FILLS,
    PART,
    SHAPE,
    SMALL,
    TARGET,
    VOCABULARY,
    Prompt,
    between,
    child_paths,
    limit_note,
    plain_scores,
    product_limits,
    product_used,
    prompt,
    random_model,
    smollm2,
    spread,
    tell,
)
from benchmarks.section import Section

TITLE = "The same scores by other roads that share work"


def log_odds(logits: Any) -> np.ndarray:
    """Log-odds of TARGET [rows] from logits [rows, V], which it changes."""
    logits = logits.double()
    target = logits[:, TARGET].clone()
    logits[:, TARGET] = float("-inf")
    return (target - logits.logsumexp(-1)).numpy()


def repeated(cache: Any, times: int) -> Any:
    """A cache whose every row stands `times` times; the given one stays as it is."""
    found = copy.copy(cache)
    found.layers = [copy.copy(layer) for layer in cache.layers]
    found.batch_repeat_interleave(times)
    return found


def started(model: Any, ids: np.ndarray) -> Any:
    """The key-value cache of the tokens ids [L] that all coalitions begin with."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    model(input_ids=torch.from_numpy(ids)[None], past_key_values=cache, logits_to_keep=1)
    return cache


def shared_prefix(model: Any, asked: Prompt, rows: np.ndarray, batch: int) -> np.ndarray:
    """The tokens before the first word once, the rest of every coalition in batches behind copies of their cache."""
    import torch

    past = asked.spans[0][0]
    cache, found = started(model, rows[0, :past]), []
    for start in range(0, len(rows), batch):
        ids = torch.from_numpy(rows[start : start + batch])
        behind = repeated(cache, len(ids))
        given: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "past_key_values": behind, "logits_to_keep": 1}
        found.append(log_odds(model(input_ids=ids[:, past:], **given).logits[:, -1]))
    return np.concatenate(found)


def cached_tree(model: Any, asked: Prompt, rows: np.ndarray, abreast: int) -> np.ndarray:
    """Depth first over the words with one cache, cropped on the way back; the last `abreast` words breadth first, in batches."""
    import torch

    n = len(asked.spans)
    cuts = [span[0] for span in asked.spans] + [len(asked.ids)]
    values = np.full(len(rows), np.nan)

    def run(cache: Any, level: int, codes: np.ndarray) -> None:
        """Coalitions `codes` of the words before word `level`, whose rows stand in the cache, and all that follow from them."""
        if level == n:
            return
        a, b = cuts[level], cuts[level + 1]
        both = np.stack([codes, codes | 1 << level], 1)
        steps = [both] if n - level <= abreast else [both[:, :1], both[:, 1:]]
        for step in steps:
            after, chosen = repeated(cache, step.shape[1]) if len(steps) == 1 else cache, step.reshape(-1)
            given: dict[str, Any] = {
                "attention_mask": torch.ones(len(chosen), b, dtype=torch.long),
                "past_key_values": after,
                "logits_to_keep": 1,
            }
            logits = model(input_ids=torch.from_numpy(rows[chosen, a:b]), **given).logits[:, -1]
            if level == n - 1:
                values[chosen] = log_odds(logits)
            run(after, level + 1, chosen)
            if after is cache:
                cache.crop(a - b)

    run(started(model, rows[0, : cuts[0]]), 0, np.zeros(1, dtype=np.int64))
    return values


def dense_tree(model: Any, asked: Prompt, rows: np.ndarray, leaves: int) -> np.ndarray:
    """A trie of `leaves` rows in one row of tokens, told by position ids and a dense 4-D mask, through stock attention."""
    import torch

    past = asked.spans[0][0]
    cache, values = started(model, rows[0, :past]), np.empty(len(rows))
    order = np.lexsort(rows.T[::-1])  # neighbours begin alike
    for start in range(0, len(rows), leaves):
        here = order[start : start + leaves]
        index: dict[tuple[int, int], int] = {}  # (parent, token) -> place in the packed row
        ends = []
        for row in rows[here, past:].tolist():
            at = -1
            for token in row:
                at = index.setdefault((at, token), len(index))
            ends.append(at)
        parents, tokens = np.array(list(index)).T
        depth, sees = np.zeros(len(index), dtype=np.int64), np.eye(len(index), dtype=bool)
        for i, parent in enumerate(parents):
            if parent >= 0:
                depth[i] = depth[parent] + 1
                sees[i] |= sees[parent]
        mask = torch.zeros(len(index), past + len(index))
        mask[:, past:].masked_fill_(~torch.from_numpy(sees), float("-inf"))
        logits = model(
            input_ids=torch.from_numpy(tokens)[None],
            position_ids=torch.from_numpy(past + depth)[None],
            attention_mask=mask[None, None],
            past_key_values=repeated(cache, 1),
            logits_to_keep=torch.tensor(ends),
        ).logits[0]
        values[here] = log_odds(logits)
    return values


def packed_trie(model: Any, asked: Prompt, rows: np.ndarray, budget: int) -> np.ndarray:
    """Ours."""
    from interplay.scoring.logodds import Question
    from interplay.scoring.trie import score_trie

    return score_trie(model, asked.ids, asked.spans, FILLS, Question((TARGET,)), budget=budget)


def plain_batches(model: Any, asked: Prompt, rows: np.ndarray, batch: int) -> np.ndarray:
    """Plain batches of whole prompts, logits of the last position only."""
    return plain_scores(model, rows, batch, last_only=True)


Road = Callable[[Any, Prompt, np.ndarray, int], np.ndarray]


class Way(NamedTuple):
    """A road with one setting; `part`: how many coalitions are run, and scaled, where all would take too long."""

    road: Road
    setting: int
    part: int | None = None


DENSE = "packed trie, dense 4-D mask through stock attention"
WAYS: dict[str, Way] = {
    "packed trie (ours)": Way(packed_trie, 2048),
    DENSE: Way(dense_tree, 32),
    "depth first with a KV cache, the last 6 words abreast": Way(cached_tree, 6),
    "shared-prefix KV cache, batches of 16": Way(shared_prefix, 16, PART),
    "plain batches of 16": Way(plain_batches, 16, PART),
}
THIN = SHAPE | {"num_hidden_layers": 3}
SUBJECTS: dict[str, Callable[[], Any]] = {
    "SmolLM2-135M": smollm2,
    "its shape with 3 of 30 layers, random": lambda: random_model("llama", THIN),
    "260 K, random": lambda: random_model("llama", SMALL),
}
REAL, FEW, TINY = SUBJECTS


class Found(NamedTuple):
    """What a road took: CPU seconds, bytes beyond the model, operations of the linear layers; and scores of the rows `picks`."""

    seconds: float
    peak: float
    flops: float
    picks: np.ndarray
    values: np.ndarray


@contextlib.contextmanager
def counted_flops(model: Any) -> Generator[list[float]]:
    """A list that holds the operations of the linear layers at its end."""
    import torch

    counts: list[float] = []

    def count(module: Any, given: Any, _: Any) -> None:
        counts.append(2.0 * given[0].numel() * module.out_features)

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def take(model: Any, asked: Prompt, way: Way) -> Found:
    """Score all coalitions of a prompt by one road, or a part of them."""
    import torch

    from interplay.scoring.masking import masked_ids
    from interplay.scoring.precision import fast_products

    rows = masked_ids(asked.ids, asked.spans, FILLS)
    picks = spread(len(rows), way.part or len(rows))
    spent: list[float] = []
    values: list[np.ndarray] = []

    def call() -> None:
        start = time.process_time()
        values.append(way.road(model, asked, rows[picks], way.setting))
        spent.append(time.process_time() - start)

    with torch.no_grad(), fast_products(model), counted_flops(model) as counts:
        plain_scores(model, rows[:2], 2, True)  # the first pass of a process pays for what later ones find done
        counts.clear()
        peak = peak_beyond(call)
    scale = len(rows) / len(picks)
    return Found(spent[0] * scale, peak, sum(counts) * scale, picks, values[0])


def ask_child(subject: str, n: int, length: int, way: str) -> Found:
    """`take` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "found.npz")
        asked = [sys.executable, "-m", "benchmarks.scoring_rivals", "--child", subject, str(n), str(length), way, file]
        subprocess.run(asked, env=os.environ | child_paths(), check=True)
        with np.load(file) as kept:
            return Found(*(float(kept[name]) for name in Found._fields[:3]), kept["picks"], kept["values"])


def prompt_rows(
    subject: str, n: int, length: int, ways: Sequence[str], ask: Callable[[str, int, int, str], Found] = ask_child
) -> list[dict]:
    """The rows of one prompt: every road, held against plain float32 passes, which come last."""
    found = {way: ask(subject, n, length, way) for way in ways}
    ours, plain = found[ways[0]], found[ways[-1]]
    limit = product_limits()[product_used()]
    rows = []
    for name, one in found.items():
        both = np.intersect1d(one.picks, plain.picks)
        difference = one.values[np.isin(one.picks, both)] - plain.values[np.isin(plain.picks, both)]
        rows.append(
            {
                "model": subject,
                "tokens": length,
                "n": n,
                "road": name,
                "CPU s": one.seconds,
                "times ours": one.seconds / ours.seconds,
                "linear layers, TFLOP": one.flops / 1e12,
                "% of the limit": 100 * one.flops / one.seconds / limit,
                "peak beyond the model, MB": one.peak / MB,
                "max difference, nats": float(np.abs(difference).max()),
            }
        )
    return rows


ASKED = ((REAL, 10, 60), (REAL, 10, 200), (REAL, 12, 60))
QUICK = ((FEW, 10, 60), (FEW, 10, 200), (FEW, 12, 60))


def road_rows(quick: bool, asked: Sequence[tuple[str, int, int]] | None = None) -> Section:
    """All roads over all prompts."""
    rows = []
    for subject, n, length in asked or (QUICK if quick else ASKED):
        tell(f"{subject}, n = {n}, {length} tokens: {len(WAYS)} roads")
        rows += prompt_rows(subject, n, length, list(WAYS))
    return road_section(rows)


def road_section(rows: list[dict]) -> Section:
    """The table and what it says."""
    dense = [row["times ours"] for row in rows if row["road"] == DENSE]
    return Section(
        TITLE,
        rows,
        [
            f"CPU seconds for all 2^n coalitions, one thread, float32, the product of `fast_products` for every road, each in a process "
            f"of its own. Roads that would take too long are timed on {PART} coalitions and scaled, operations too; their peak is that "
            "of the part. Differences are to the plain passes. The other roads share no code with ours.",
            f"Stock attention with a dense mask takes {between(dense)} times as long as ours: the trie is the gain, not our attention. "
            "A road that computes as little as the trie stands at about its operations; what is left is how well it uses the machine.",
            limit_note(product_limits()),
        ],
    )


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    _, _, model_, n_, length_, way_, file_ = sys.argv
    made_ = SUBJECTS[model_]()
    one_ = take(made_, prompt(int(length_), int(n_), min(VOCABULARY, made_.config.vocab_size)), WAYS[way_])
    np.savez(file_, **one_._asdict())
