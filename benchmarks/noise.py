"""What the precision of an evaluation does to an explanation: noise of v, and how much of the strongest effects is left.

One real LLM in float32 is the reference. The same weights are evaluated with products in fewer digits, and with the residual
stream rounded as well, as a 16-bit model does it. TF32 is the arithmetic of a GPU: where there is none, its rounding (10 bits of
mantissa in the operands, sums in float32) is emulated, which gives its noise and not its speed.

    python -m benchmarks.noise [--quick] [--injected]
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.section import Section

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
TOP = 20


def round_tf32(x):
    """float32 with 10 bits of mantissa, to nearest, ties to even.

    >>> import torch
    >>> float(round_tf32(torch.tensor([1.0 + 2**-11 + 2**-20]))), float(round_tf32(torch.tensor([1.0 + 2**-12])))
    (1.0009765625, 1.0)
    """
    import torch

    bits = x.float().view(torch.int32)
    bits = (bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF
    return bits.view(torch.float32)


def product_tf32(x, weight, bias):
    from torch.nn.functional import linear

    return linear(round_tf32(x), round_tf32(weight), None if bias is None else bias.float())


def product_in(dtype) -> Callable[..., Any]:
    """Operands rounded to a 16-bit type, sums and results in float32."""
    from torch.nn.functional import linear

    def product(x, weight, bias):
        return linear(x.to(dtype).float(), weight.to(dtype).float(), None if bias is None else bias.float())

    return product


def prompts(count: int, n: int) -> list[Any]:
    """Prompts of the demo, ready to score, n words each."""
    from interplay.config.loading import load_settings
    from interplay.models.loading import load_tokenizer
    from interplay.pipeline.extraction import preparing
    from interplay.pipeline.inputs import read_inputs
    from interplay.presets import preset_path

    settings = load_settings(
        preset_path("demo"), [f"prompts.n={n}", f"prompts.count={count}", "scoring.target_tokens=first"]
    )
    prepared = preparing(settings, load_tokenizer(NAME), settings.template())
    return [prepared(sample) for sample in read_inputs(settings, usable=prepared).prompts]


def evaluations(model) -> dict[str, Callable[[Any], np.ndarray]]:
    """Name -> scores of all coalitions of a prepared prompt under one way to evaluate the model's weights."""
    import torch

    from interplay.scoring.logodds import Question
    from interplay.scoring.precision import fast_products, wide_residual
    from interplay.scoring.trie import score_trie

    def scores(m, prepared, product=None):
        words = (prepared.input_ids, prepared.spans, prepared.absence.fills[0], Question(prepared.target_ids))
        with fast_products(m) if product is None else wide_residual(m, product):
            return score_trie(m, *words)

    found = {
        "float32": lambda p: scores(model, p),
        "TF32 products (emulated)": lambda p: scores(model, p, product_tf32),
        "float16 products, float32 residual": lambda p: scores(model, p, product_in(torch.float16)),
        "bfloat16 products, float32 residual": lambda p: scores(model, p, product_in(torch.bfloat16)),
    }
    for dtype in (torch.float16, torch.bfloat16):
        # The weights of this model are no 16-bit numbers to begin with: rounding them is a part of what is measured.
        narrow = copy.deepcopy(model).to(dtype)
        found[f"{str(dtype).removeprefix('torch.')}, stock"] = lambda p, m=narrow: scores(m, p)
    return found


def strongest(effects: Any, count: int = TOP) -> set[int]:
    """Indices of the strongest effects in the flattened [2, 2^n] table, orders 1 and up."""
    flat = np.abs(effects.effects).ravel()
    return set(np.argsort(-flat, kind="stable")[:count].tolist())


def compare(values: np.ndarray, reference: np.ndarray, sigma: float) -> dict[str, float]:
    """One evaluation of one prompt against the reference: L1 optima and how many of the strongest effects are kept.

    `sigma`: noise of `values`. Both are split once with tolerance 0 and once as a run would, within
    delta.
    """
    from interplay.effects import extract
    from interplay.effects.interactions import paper_tolerance

    total = reference[-1] - reference[0]
    exact, found = extract(reference, 0.0), extract(values, 0.0)
    exact_within, found_within = (
        extract(reference, paper_tolerance(total)),
        extract(values, paper_tolerance(total, sigma)),
    )
    return {
        "noise of v (nats)": sigma,
        "noise / sd(v)": sigma / float(np.std(reference)),
        "L1 / L1 of float32": float(found.objective / exact.objective),
        f"top {TOP} kept": len(strongest(exact) & strongest(found)),
        "L1 / L1, within delta": float(found_within.objective / exact_within.objective),
        f"top {TOP} kept, within delta": len(strongest(exact_within) & strongest(found_within)),
    }


def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def noise_rows(quick: bool = False) -> Section:
    """One row an evaluation, means over prompts."""
    import torch

    from interplay.models.loading import load_model
    from interplay.scoring.forward import score_rows
    from interplay.scoring.logodds import Question
    from interplay.scoring.masking import masked_ids

    n, count = (7, 2) if quick else (10, 3)
    title = f"Noise: SmolLM2-135M, {count} prompts of {n} words, means"
    loaded = load_model(NAME, device="cpu").model
    assert next(loaded.parameters()).dtype == torch.float32
    chosen = prompts(count, n)
    ways = evaluations(loaded)
    references = [ways["float32"](p) for p in chosen]
    rows = []
    for name, evaluate in ways.items():
        per_prompt = []
        for prepared, reference in zip(chosen, references, strict=True):
            if name == "float32":  # its own noise: against plain passes, on part of the coalitions
                picks = np.linspace(0, len(reference) - 1, 32).round().astype(np.uint64)
                ids = masked_ids(prepared.input_ids, prepared.spans, prepared.absence.fills[0], picks)
                error = reference[picks] - score_rows(loaded, ids, Question(prepared.target_ids))
                values = reference
            else:
                values = evaluate(prepared)
                error = values - reference
            per_prompt.append(compare(values, reference, float(np.sqrt(np.mean(error**2)))))
        rows.append({"evaluation": name, **means(per_prompt)})
        print(rows[-1], flush=True)
    notes = [
        "float32 is the packed trie, its noise the difference to plain passes on 32 coalitions; the others are compared with it",
        "on all coalitions. Tolerance 0, then delta as in a run: 0.02 |v(N) - v(empty)|, at least 3 sigma.",
        "16-bit rows round the weights as well, which are float32 here (8-bit ones, widened): a part of their noise that another model may not have.",
    ]
    return Section(title, rows, notes)


def parts_rows(quick: bool = False) -> Section:
    """Activations in one bfloat16 number and as the sum of two, each against float32 products of the same bfloat16 weights."""
    import torch

    from interplay.models.loading import load_model
    from interplay.scoring.logodds import Question
    from interplay.scoring.precision import product_float32, product_in_two, product_of_weights, wide_residual
    from interplay.scoring.trie import score_trie

    n, count = (7, 1) if quick else (10, 3)
    model = load_model(NAME, device="cpu").model.to(torch.bfloat16)
    found: dict[str, list[dict[str, float]]] = {}
    for one in prompts(count, n):
        words = one.input_ids, one.spans, one.absence.fills[0], Question(one.target_ids)
        values = []
        for product in (product_float32, product_of_weights, product_in_two):
            with wide_residual(model, product):
                values.append(score_trie(model, *words))
        for name, v in zip(("bfloat16, float32 residual", "bfloat16x2"), values[1:], strict=True):
            sigma = float(np.sqrt(np.mean((v - values[0]) ** 2)))
            found.setdefault(name, []).append(compare(v, values[0], sigma))
    return Section(
        f"16 bits without their noise: SmolLM2-135M, {count} prompt(s) of {n} words, means",
        [{"evaluation": name, **means(rows)} for name, rows in found.items()],
        [
            "Against float32 products of the same weights, rounded to bfloat16. bfloat16x2 (model.dtype): the stream goes into each "
            "product as the sum of two bfloat16 numbers, sums in float32. Emulated on the CPU, whose seconds say nothing of a GPU: "
            "for its noise and speed-up there see the rows of the GPU."
        ],
    )


def injected(count: int = 4, n: int = 8) -> list[dict[str, float]]:
    """Gaussian noise of a known size put on real scores: from which share of sd(v) on effects are lost."""
    from interplay.models.loading import load_model

    evaluate = evaluations(load_model(NAME, device="cpu").model)["float32"]
    references = [evaluate(p) for p in prompts(count, n)]
    rng = np.random.default_rng(0)
    rows = []
    for share in (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4):
        found = []
        for reference in references:
            sigma = share * float(np.std(reference))
            for _ in range(4):
                found.append(compare(reference + sigma * rng.standard_normal(len(reference)), reference, sigma))
        rows.append(means(found))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--injected", action="store_true", help="Gaussian noise of known sizes instead")
    given = parser.parse_args()
    for row in injected() if given.injected else noise_rows(given.quick).rows:
        print({key: value if isinstance(value, str) else round(value, 4) for key, value in row.items()})
