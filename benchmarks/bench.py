"""Speed of the two hot parts on this machine: scoring all coalitions, and solving for the sparsest split.

Every figure is measured by this script in one run; what cannot be measured is said. CPU seconds (all threads), medians.
Plain batches are timed on a part of the coalitions and scaled, since they cost the same each.

    python benchmarks/bench.py [--quick]
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np


def cpu_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Median CPU seconds of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def random_model(kind: str):
    """A model of SmolLM2-135M's shape with random weights; Qwen2 has biases and no tied head."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    shape = {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    }
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config({"llama": LlamaConfig, "qwen2": Qwen2Config}[kind](**shape)).eval()


def prompt(length: int, n: int, vocabulary: int = 40_000):
    """A random prompt with n words spread over its second two thirds."""
    rng = np.random.default_rng(0)
    ids = tuple(int(i) for i in rng.integers(10, vocabulary, length))
    starts = np.linspace(length // 3, length - 8, n).round().astype(int)
    return ids, tuple((int(s),) for s in starts)


def scoring_row(name: str, model, length: int, n: int) -> dict:
    """CPU seconds for all 2^n coalitions: plain batches (the better of 16 and 64 rows), shared prefix, trie, trie + oneDNN."""
    from interplay.scoring.forward import score_rows
    from interplay.scoring.masking import masked_ids
    from interplay.scoring.products import fast_products
    from interplay.scoring.trie import score_trie

    ids, spans = prompt(length, n)
    rows = masked_ids(ids, spans, 0)
    part = rows[np.linspace(0, len(rows) - 1, 64).round().astype(int)]
    scale = len(rows) / len(part)
    plain = (
        min(cpu_seconds(lambda b=b: score_rows(model, part, (7,), batch_tokens=b * length), 1) for b in (16, 64))
        * scale
    )
    shared = cpu_seconds(lambda: score_rows(model, part, (7,), shared=spans[0][0]), 1) * scale
    trie = cpu_seconds(lambda: score_trie(model, ids, spans, 0, (7,)), 1)
    with fast_products(model) as on:
        fast = cpu_seconds(lambda: score_trie(model, ids, spans, 0, (7,)), 1)
        values = score_trie(model, ids, spans, 0, (7,))
    picks = np.linspace(0, len(rows) - 1, 16).round().astype(int)
    difference = np.abs(values[picks] - score_rows(model, rows[picks], (7,), batch_tokens=1)).max()
    return {
        "model": name,
        "tokens": length,
        "n": n,
        "plain": plain,
        "shared prefix": shared,
        "trie": trie,
        "trie + oneDNN": fast if on else float("nan"),
        "speed-up": plain / fast,
        "max difference": difference,
    }


def solving_row(n: int, samples: int = 8) -> dict:
    """CPU seconds a sample for a certified gap of 1e-3, without and with a tolerance; HiGHS on the same programme to n = 10."""
    from interplay.effects import extract

    rng = np.random.default_rng(n)
    scores = np.cumsum(rng.normal(size=(samples, 1 << n)), axis=1) / (1 << (n // 2))
    row = {"n": n}
    row["delta 0"] = cpu_seconds(lambda: extract(scores)) / samples
    delta = 0.02 * np.abs(scores[:, -1] - scores[:, 0]).mean()
    row["delta 0.02"] = cpu_seconds(lambda: extract(scores, tolerance=delta)) / samples
    row["HiGHS"] = cpu_seconds(lambda: highs(scores[0]), 1) if n <= 8 else float("nan")
    result = extract(scores)
    row["worst gap"] = float(result.gap.max())
    return row


def highs(v: np.ndarray) -> float:
    """The same linear programme by scipy's HiGHS: min 1'(c+ + c-) with Phi (c+ - c-) = v - v(empty)."""
    from scipy.optimize import linprog

    size = len(v)
    s = np.arange(size)
    conj = (s[:, None] & s[None, 1:]) == s[None, 1:]
    several = s[np.array([bin(i).count("1") > 1 for i in s])]
    disj = (s[:, None] & several[None]) != 0
    phi = np.concatenate([conj, disj], axis=1).astype(float)
    found = linprog(np.ones(2 * phi.shape[1]), A_eq=np.hstack([phi, -phi])[1:], b_eq=(v - v[0])[1:], method="highs")
    return float(found.fun)


def show(title: str, rows: list[dict]) -> None:
    """A Markdown table on stdout."""
    print(f"\n{title}\n")
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print(
            "| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()) + " |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="n = 8 and one model: under two minutes")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    import torch

    from interplay.errors import InterplayError
    from interplay.scoring.models import load_model

    torch.set_num_threads(1)  # CPU seconds of one thread: two that wait for each other would count their waiting
    n = 8 if quick else 10
    print(f"one thread, torch {torch.__version__}, CPU seconds")
    show(
        "Solving to a certified gap of 1e-3, seconds a sample",
        [solving_row(m) for m in ((7, 8) if quick else (7, 8, 10, 12))],
    )
    models = [("llama, random", lambda: random_model("llama"))]
    if not quick:
        models.append(("qwen2, random", lambda: random_model("qwen2")))
        models.append(("SmolLM2-135M", lambda: load_model("HuggingFaceTB/SmolLM2-135M-Instruct").model))
    rows = []
    for name, make in models:
        try:
            model = make()
        except InterplayError as error:
            print(f"not measured: {name}: {error}")
            continue
        rows += [scoring_row(name, model, length, n) for length in ((60,) if quick else (60, 200))]
    show(f"Scoring all 2^{n} coalitions of one prompt", rows)


if __name__ == "__main__":
    main()
