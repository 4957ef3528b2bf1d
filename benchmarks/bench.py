"""Speed of the two hot parts on this machine: scoring all coalitions, and solving for the sparsest split.

Every figure is measured by this script in one run; what cannot be measured is said. CPU seconds (all threads), medians.
Plain batches are timed on a part of the coalitions and scaled, since they cost the same each.

    python benchmarks/bench.py [--quick] [--write docs/benchmarks.md]
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

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


def table(title: str, rows: list[dict]) -> list[str]:
    """A Markdown section; NaN is a figure that was not measured."""
    cells = [[_cell(v) for v in row.values()] for row in rows]
    lines = [f"## {title}", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return [*lines, *("| " + " | ".join(row) + " |" for row in cells), ""]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "not measured" if np.isnan(value) else f"{value:.3g}"
    return str(value)


def processor() -> str:
    """What the machine calls its processor."""
    import torch

    return str(torch.cpu.get_capabilities().get("cpu_name", "unknown processor"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="n = 8 and one model: about a minute")
    parser.add_argument("--write", type=Path, help="write the tables to this Markdown file as well")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    import torch

    from interplay.errors import InterplayError
    from interplay.scoring.models import load_model

    torch.set_num_threads(1)  # CPU seconds of one thread: two that wait for each other would count their waiting
    highs(np.arange(4.0))  # imports scipy outside the timing
    n = 8 if given.quick else 10
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` in one run: one thread of {processor()}, torch {torch.__version__}, CPU seconds. Plain batches",
        "are timed on 64 of the coalitions, at the better of 16 and 64 rows a batch, and scaled. No GPU rows: not measured.",
        "",
    ]
    sizes = (7, 8) if given.quick else (7, 8, 10, 12)
    lines += table("Solving to a certified gap of 1e-3, seconds a sample (batch of 8)", [solving_row(m) for m in sizes])
    print("\n".join(lines), flush=True)
    models = [("llama, random", lambda: random_model("llama"))]
    if not given.quick:
        models.append(("qwen2, random", lambda: random_model("qwen2")))
        models.append(("SmolLM2-135M", lambda: load_model("HuggingFaceTB/SmolLM2-135M-Instruct").model))
    rows, missing = [], []
    for name, make in models:
        try:
            model = make()
        except InterplayError as error:
            missing.append(f"Not measured: {name}: {error}")
            continue
        for length in (60,) if given.quick else (60, 200):
            rows.append(scoring_row(name, model, length, n))
            print(", ".join(f"{k} {_cell(v)}" for k, v in rows[-1].items()), flush=True)
    scoring = [*table(f"Scoring all 2^{n} coalitions of one prompt, seconds", rows), *missing]
    print("\n".join(["", *scoring]))
    if given.write is not None:
        given.write.write_text("\n".join([*lines, *scoring]).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
