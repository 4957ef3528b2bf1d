"""Scoring all coalitions of one prompt: the packed trie against plain batches as one would write them with transformers.

Knows how to make the models and the prompt, and the plain forward pass it is held against, which shares no code with the
package. Memory, other packages and GPUs stand in modules of their own.
"""

import contextlib
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.section import Section

TARGET = 7  # the token whose log-odds are scored
MASK = 0
FILLS = ((MASK,),) * 64  # what stands in the place of each word
PART = 64  # coalitions that plain batches are timed on
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
SHAPE = {  # SmolLM2-135M
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
SMALL = {  # 260 K parameters
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "initializer_range": 0.3,  # the usual 0.02 makes scores of a model this small flat
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VOCABULARY = 40_000  # token ids are below this, clear of the special tokens at the end
NAN = float("nan")


class Subject(NamedTuple):
    """A model to be measured: its name on the page, and how it is made. `make` raises InterplayError where it is missing."""

    name: str
    make: Callable[[], Any]


class Prompt(NamedTuple):
    """Token ids, and the positions of each word's tokens."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]


class Plain(NamedTuple):
    """Plain batches: CPU seconds for all 2^n by setting, the best setting, and the values of the part that was run."""

    seconds: dict[str, float]
    best: str
    picks: np.ndarray
    values: np.ndarray
    one_dnn: float  # the best setting again, with the products of the package


def random_model(kind: str, shape: dict[str, Any] = SHAPE, **more: Any) -> Any:
    """A model of the given shape with random weights, the same on every machine; Qwen2 has biases."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    torch.manual_seed(0)
    config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[kind](**shape, **more)
    return AutoModelForCausalLM.from_config(config).eval()


def smollm2() -> Any:
    """SmolLM2-135M-Instruct itself, in float32."""
    from interplay.models.loading import load_weights
    from interplay.models.placement import Placement

    return load_weights(SMOLLM2, Placement("cpu"))


def subjects(quick: bool) -> list[Subject]:
    """The models of the main table."""
    llama = Subject("Llama, random", lambda: random_model("llama"))
    if quick:
        return [llama]
    return [llama, Subject("Qwen2, random", lambda: random_model("qwen2")), Subject("SmolLM2-135M", smollm2)]


def prompt(length: int, n: int, vocabulary: int = VOCABULARY) -> Prompt:
    """A random prompt, no token twice where the vocabulary allows, n words of one token from its first third to 8 from its end.

    >>> prompt(60, 3).spans
    ((20,), (36,), (52,))
    """
    rng = np.random.default_rng(0)
    ids = rng.choice(np.arange(10, vocabulary), length, replace=length > vocabulary - 10)
    starts = np.linspace(length // 3, length - 8, n).round().astype(int)
    return Prompt(tuple(map(int, ids)), tuple((int(s),) for s in starts))


@functools.cache
def product_limits(size: int = 2048) -> dict[str, float]:
    """Float32 operations a CPU second of one thread in a large matrix product, by MKL and by oneDNN: the best of five, in turn.

    NaN where PyTorch has none. Measured once a process.
    """
    import torch

    x, weight = torch.randn(2, size, size)
    dnn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    ways: dict[str, Callable[[], Any] | None] = {
        "MKL": lambda: torch.mm(x, weight),
        "oneDNN": dnn and (lambda: dnn(x, weight, None, "none", [], "")),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.no_grad():
        for _ in range(5):
            for name, way in ways.items():
                if way is not None:
                    start = time.process_time()
                    way()
                    times[name].append(time.process_time() - start)
    return {name: 2.0 * size**3 / min(spent, default=NAN) for name, spent in times.items()}


def product_used() -> str:
    """What `fast_products` takes on this machine."""
    import torch

    from interplay.scoring.precision import fast_products

    with fast_products(torch.nn.Linear(1, 1)) as on:
        return "oneDNN" if on else "MKL"


def trie_flops(model: Any, asked: Prompt) -> float:
    """Operations of the linear layers that all coalitions of a prompt need: two a weight and token of the trie, the head at its leaves."""
    import torch

    head = model.get_output_embeddings()
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    cuts = [0, *(span[0] for span in asked.spans), len(asked.ids)]
    tokens = sum((1 << i) * (b - a) for i, (a, b) in enumerate(pairwise(cuts)))
    return 2.0 * tokens * weights + 2.0 * (1 << len(asked.spans)) * head.weight.numel()


def limit_note(limits: dict[str, float]) -> str:
    """What the limit is, and what it was here."""
    said = ", ".join(f"{name} {x / 1e9:.0f}" for name, x in limits.items() if not np.isnan(x))
    return (
        "The limit: float32 operations a CPU second of one thread in a product of two 2048 x 2048 matrices, the best of five in the "
        f"same run, in GFLOP/s: {said}; `fast_products` takes {product_used()} here. Against it stand the operations of the model's linear layers alone, so attention, norms and copies count "
        "as time lost."
    )


def spread(count: int, wanted: int) -> np.ndarray:
    """`wanted` of `count` coalitions, evenly from none to all words kept.

    >>> spread(8, 4), spread(2, 64)
    (array([0, 2, 5, 7]), array([0, 1]))
    """
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))


def tell(text: str) -> None:
    """Progress goes to stderr: stdout is for the tables."""
    print(text, file=sys.stderr, flush=True)


def between(values: list[float]) -> str:
    """
    >>> between([1.234, 1.5]), between([2.0])
    ('1.23 to 1.5', '2')
    """
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def child_paths() -> dict[str, str]:
    """The variable with which a child process finds this folder and the package, wherever it is started."""
    root = Path(__file__).resolve().parents[1]
    own = [str(root), str(root / "src")]
    return {"PYTHONPATH": os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, all threads, and what it gave: of one call, or the median of five where one takes under a second."""
    times: list[float] = []
    while len(times) < (1 if times and times[0] > 1 else 5):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return statistics.median(times), result


def plain_scores(model: Any, ids: np.ndarray, batch: int, last_only: bool) -> np.ndarray:
    """Log-odds of TARGET behind each row [rows] by stock forward passes: what one writes without a package for it.

    Args:
        last_only: ask the model for the logits of the last position only and for no key-value cache; else its defaults.
    """
    import torch

    options: dict[str, Any] = {"logits_to_keep": 1, "use_cache": False} if last_only else {}
    device = next(model.parameters()).device
    values = []
    with torch.no_grad():
        for start in range(0, len(ids), batch):
            rows = torch.from_numpy(ids[start : start + batch]).to(device)
            logits = model(input_ids=rows, attention_mask=torch.ones_like(rows), **options).logits[:, -1].double()
            target = logits[:, TARGET].clone()
            logits[:, TARGET] = float("-inf")
            values.append((target - logits.logsumexp(-1)).cpu().numpy())
    return np.concatenate(values)


def time_plain(model: Any, rows: np.ndarray, batches: tuple[int, ...] = (16, 64)) -> Plain:
    """CPU seconds for all rows [2^n, L] by setting: each timed once, on two batches (of PART rows at most), and scaled."""
    from interplay.scoring.precision import fast_products

    def run(batch: int, last_only: bool) -> tuple[float, np.ndarray, np.ndarray]:
        picks = spread(len(rows), min(2 * batch, PART))
        seconds, values = timed(lambda: plain_scores(model, rows[picks], batch, last_only))
        return seconds * len(rows) / len(picks), picks, values

    plain_scores(model, rows[:2], 2, True)  # the first pass of a process pays for what later ones find done
    settings = {
        f"{'last' if last_only else 'all'} logits, {batch} rows": (batch, last_only)
        for last_only in (False, True)
        for batch in batches
    }
    found = {name: run(*setting) for name, setting in settings.items()}
    seconds = {name: spent for name, (spent, _, _) in found.items()}
    best = min(seconds, key=lambda name: seconds[name])
    with fast_products(model) as on:
        plain_scores(model, rows[:2], 2, True)
        one_dnn = run(*settings[best])[0] if on else NAN
    _, picks, values = found[list(settings)[-1]]  # the largest batch: the most coalitions
    return Plain(seconds, best, picks, values, one_dnn)


def time_trie(model: Any, asked: Prompt, products: bool) -> tuple[float, np.ndarray]:
    """CPU seconds of `score_trie` on all 2^n coalitions, planning included, and the values; NaN without oneDNN here."""
    from interplay.scoring.logodds import Question
    from interplay.scoring.precision import fast_products
    from interplay.scoring.trie import score_trie

    with fast_products(model) if products else contextlib.nullcontext(True) as on:
        if not on:
            return NAN, np.empty(0)
        few = Prompt(asked.ids, asked.spans[-2:])
        score_trie(model, few.ids, few.spans, FILLS, Question((TARGET,)))
        return timed(lambda: score_trie(model, asked.ids, asked.spans, FILLS, Question((TARGET,))))


_trie: dict[tuple[str, int, int], tuple[float, float, np.ndarray]] = {}  # of this process: ours is measured once


def time_ours(name: str, model: Any, length: int, n: int) -> tuple[float, float, np.ndarray]:
    """CPU seconds of ours without and with oneDNN (NaN where there is none), and its values; measured once a process."""
    key = (name, length, n)
    if key not in _trie:
        asked = prompt(length, n, min(VOCABULARY, model.config.vocab_size))
        alone, values = time_trie(model, asked, products=False)
        fast, fast_values = time_trie(model, asked, products=True)
        _trie[key] = (alone, fast, values if np.isnan(fast) else fast_values)
    return _trie[key]


def measure(name: str, model: Any, length: int, n: int, batches: tuple[int, ...]) -> tuple[dict, dict]:
    """The row of the main table and the row of plain settings for one model and prompt."""
    from interplay.scoring.masking import masked_ids

    asked = prompt(length, n, min(VOCABULARY, model.config.vocab_size))
    rows = masked_ids(asked.ids, asked.spans, FILLS)
    plain = time_plain(model, rows, batches)
    alone, fast, values = time_ours(name, model, length, n)
    ours = alone if np.isnan(fast) else fast
    naive = plain.seconds[plain.best]
    limits, flops = product_limits(), trie_flops(model, asked)
    row = {
        "plain s": naive,
        "plain + oneDNN s": plain.one_dnn,
        "trie s": alone,
        "trie + oneDNN s": fast,
        "trie, % of MKL's limit": 100 * flops / alone / limits["MKL"],
        "trie + oneDNN, % of its limit": 100 * flops / fast / limits["oneDNN"],
        "plain / ours": naive / ours,
        "plain / trie alone": naive / alone,
        "coalitions a CPU-s": len(rows) / ours,
        "max difference, nats": float(np.abs(values[plain.picks] - plain.values).max()),
        "coalitions compared": len(plain.picks),
    }
    return row, {**plain.seconds, "best": plain.best}


def scoring_rows(quick: bool, say: Callable[[str], None] = tell) -> list[Section]:
    """The main table and the settings of the plain batches, over models and prompt lengths."""
    n = 8 if quick else 10
    lengths, batches = ((60,), (16,)) if quick else ((60, 200), (16, 64))
    rows, settings, notes = [], [], []
    for subject, model in made(subjects(quick), notes):
        for length in lengths:
            head = {"model": subject.name, "tokens": length, "n": n}
            row, setting = measure(subject.name, model, length, n, batches)
            rows.append({**head, **row})
            settings.append({**head, **setting})
            say(f"{subject.name}, {length} tokens: {row['plain / ours']:.1f} times as fast as plain batches")
    notes += [
        f"CPU seconds for all 2^{n} coalitions of one prompt, one thread, float32. Ours is `score_trie` on the stock model, "
        "all coalitions, planning included, timed once after a warm-up. Words of one token stand from the first third of "
        "the prompt to 8 tokens from its end.",
        f"Plain: stock transformers forward passes, the best of the settings of the next table, timed on two batches "
        f"({PART} coalitions at most) and scaled; no code of the package. The difference is the largest over these coalitions.",
    ]
    limits = product_limits()
    notes.append(limit_note(limits))
    if fast := [row for row in rows if not np.isnan(row["trie + oneDNN s"])]:
        gain = between([row["trie s"] / row["trie + oneDNN s"] for row in fast])
        left = between([row["plain + oneDNN s"] / row["trie + oneDNN s"] for row in fast])
        notes.append(
            f"On this processor `fast_products` sends products to oneDNN instead of MKL: that alone is a factor of {gain} of ours. "
            f"Plain batches with the same product, which stock torch does not give them, would leave a factor of {left}."
        )
    return [
        Section(f"Scoring all 2^{n} coalitions of one prompt", rows, notes),
        Section(
            "Plain batches by setting",
            settings,
            ["CPU seconds, timed on two batches, of 64 rows on one, and scaled to all coalitions."],
        ),
    ]


def large_rows(quick: bool) -> list[Section]:
    """n = 12 and 14 to the end, on a model of 260 K random parameters."""
    model, rows = random_model("llama", SMALL), []
    for n in (9,) if quick else (12, 14):
        row, setting = measure("260 K", model, 60, n, (16, 64))
        rows.append({"n": n, "coalitions": 1 << n, **row, "plain setting": setting["best"]})
    return [
        Section(
            "More words: a Llama of 260 K random parameters, 60 tokens",
            rows,
            ["As above: all 2^n coalitions are scored by ours, plain batches are timed on a part of them and scaled."],
        )
    ]


def made(wanted: list[Subject], notes: list[str]) -> Iterator[tuple[Subject, Any]]:
    """Each model in turn, one in memory at a time; what is not at hand goes to the notes."""
    from interplay.errors import InterplayError

    for subject in wanted:
        try:
            model = subject.make()
        except InterplayError as error:
            notes.append(f"Not measured: {subject.name}: {error}")
            continue
        yield subject, model
        del model
