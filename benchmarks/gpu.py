"""Scoring on a GPU: random models of Qwen2.5-3B's and Llama-3-8B's shape and SmolLM2 itself, in six precisions.

Wall seconds, since a GPU has no CPU seconds. Every function takes the device, so that the same code runs on a CPU with a tiny
model in the tests; only `gpu_rows` asks for a GPU, and says so where there is none.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from benchmarks.scoring_rows import (
    FILLS,
    NAN,
    SMOLLM2,
    TARGET,
    Prompt,
    Subject,
    made,
    plain_scores,
    prompt,
    random_model,
    spread,
    tell,
    trie_flops,
)
from benchmarks.section import Section

QWEN_3B = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
LLAMA_8B = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
TITLE = "Scoring on a GPU"


class Sizes(NamedTuple):
    """How much is run: words, prompt lengths, rows of plain batches, tokens a pass of ours, coalitions timed, size of the peak's matrix."""

    n: int
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    budgets: tuple[int, ...]
    part: int
    matrix: int


FULL = Sizes(n=10, lengths=(60, 200), batches=(64, 256), budgets=(4096, 16384, 65536), part=256, matrix=8192)
QUICK = Sizes(n=8, lengths=(60,), batches=(64,), budgets=(16384,), part=64, matrix=4096)


class Precision(NamedTuple):
    """A way to evaluate the model. They come in this order, since a model made 16-bit is not made 32-bit again."""

    name: str
    weights: str
    matmul: str  # of torch.set_float32_matmul_precision
    product: str | None = None  # of `interplay.scoring.precision`, with a float32 residual stream around it


PRECISIONS = (
    Precision("float32", "float32", "highest"),
    Precision("TF32", "float32", "high"),
    Precision("float16, float32 residual", "float16", "highest", "product_of_weights"),
    Precision("float16, stock", "float16", "highest"),
    Precision("bfloat16, float32 residual", "bfloat16", "highest", "product_of_weights"),
    Precision("bfloat16x2: activations in two parts", "bfloat16", "highest", "product_in_two"),
)


def gpu_models(device: str, quick: bool) -> list[Subject]:
    """The models of the table, made on the device."""
    import torch

    def on_device(kind: str, shape: dict[str, Any]) -> Callable[[], Any]:
        def make() -> Any:
            with torch.device(device):
                return random_model(kind, shape)

        return make

    def real() -> Any:
        from interplay.models.loading import load_weights
        from interplay.models.placement import Placement

        return load_weights(SMOLLM2, Placement(device))

    wanted = [Subject("Qwen2.5-3B's shape, random", on_device("qwen2", QWEN_3B))]
    if not quick:
        wanted.append(Subject("Llama-3-8B's shape, random", on_device("llama", LLAMA_8B)))
        wanted.append(Subject("SmolLM2-135M", real))
    return wanted


def useful_flops(model: Any, asked: Prompt) -> float:
    """Floating-point operations that all coalitions of a prompt need when nothing shared is computed twice.

    Two per weight of the linear layers and token of the trie, the head at the leaves only, and attention to a token's own past.
    """
    config = model.config.get_text_config()
    cuts = [0, *(span[0] for span in asked.spans), len(asked.ids)]
    pairs = sum((1 << i) * sum(range(a + 1, b + 1)) for i, (a, b) in enumerate(pairwise(cuts)))
    attention = 4.0 * pairs * config.hidden_size * config.num_hidden_layers
    return trie_flops(model, asked) + attention


def wall_seconds(call: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Wall seconds of one call that has ended on the device, and what it gave."""
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    wait()
    start = time.perf_counter()
    result = call()
    wait()
    return time.perf_counter() - start, result


def matrix_peak(device: str, size: int, weights: str) -> float:
    """Measured floating-point operations a second of one large square matrix product, median of five."""
    import torch

    a = torch.randn(size, size, device=device, dtype=getattr(torch, weights))
    torch.mm(a, a)
    times = [wall_seconds(lambda: torch.mm(a, a), device)[0] for _ in range(5)]
    return 2.0 * size**3 / statistics.median(times)


@contextlib.contextmanager
def evaluated_in(model: Any, precision: Precision) -> Generator[None]:
    """The model under a precision; makes its weights 16-bit for good where that is asked, puts torch's setting back."""
    import torch

    from interplay.scoring import precision as ways

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision.matmul)
    model.to(getattr(torch, precision.weights))
    try:
        product = precision.product and getattr(ways, precision.product)
        with ways.wide_residual(model, product) if product else contextlib.nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def best_of(settings: Sequence[int], call: Callable[[int], Any], device: str) -> tuple[float, int | None, Any]:
    """(wall seconds, setting, result) of the fastest setting; those the device has no memory for are passed over."""
    import torch

    best: tuple[float, int | None, Any] = (NAN, None, None)
    for setting in settings:
        try:
            seconds, result = wall_seconds(lambda s=setting: call(s), device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        if best[1] is None or seconds < best[0]:
            best = (seconds, setting, result)
    return best


def measure_model(name: str, model: Any, device: str, sizes: Sizes) -> list[dict]:
    """Rows of one model: every precision x prompt length. The model is bfloat16 afterwards."""
    from interplay.scoring.logodds import Question
    from interplay.scoring.masking import masked_ids
    from interplay.scoring.trie import score_trie

    rows, references, first = [], {}, {}
    model.bfloat16().half().float()  # so that all precisions evaluate the same weights
    for precision in PRECISIONS:
        with evaluated_in(model, precision):
            peak = matrix_peak(device, sizes.matrix, precision.weights)
            for length in sizes.lengths:
                asked = prompt(length, sizes.n, model.config.get_text_config().vocab_size)
                ids = masked_ids(asked.ids, asked.spans, FILLS)
                picks = spread(len(ids), sizes.part)
                part = ids[picks]

                def ours(budget: int, asked: Prompt = asked, spans: Any = asked.spans) -> np.ndarray:
                    return score_trie(model, asked.ids, spans, FILLS, Question((TARGET,)), budget=budget)

                def plain(batch: int, part: np.ndarray = part) -> np.ndarray:
                    return plain_scores(model, part, batch, last_only=True)

                plain_scores(model, part[:1], 1, last_only=True)
                score_trie(model, asked.ids, asked.spans[-4:], FILLS, Question((TARGET,)), budget=min(sizes.budgets))
                naive, batch, theirs = best_of(sizes.batches, plain, device)
                seconds, budget, values = best_of(sizes.budgets, ours, device)
                if precision.name == "float32":
                    references[length], first[length] = theirs, seconds
                reference = references[length]
                both = values is not None and reference is not None
                difference = values[picks] - reference if both else np.array([NAN])
                naive *= len(ids) / len(picks)
                rows.append(
                    {
                        "model": name,
                        "tokens": length,
                        "n": sizes.n,
                        "precision": precision.name,
                        "plain s": naive,
                        "rows a batch": NAN if batch is None else batch,
                        "ours s": seconds,
                        "tokens a pass": NAN if budget is None else budget,
                        "plain / ours": naive / seconds,
                        "float32 / ours": first[length] / seconds,
                        "coalitions a s": len(ids) / seconds,
                        "share of matrix peak": useful_flops(model, asked) / seconds / peak,
                        "peak, TFLOP/s": peak / 1e12,
                        "sigma, nats": float(np.sqrt(np.mean(difference**2))),
                        "sd of v": NAN if values is None else float(np.std(values)),
                    }
                )
    return rows


def gpu_rows(quick: bool, say: Callable[[str], None] = tell) -> list[Section]:
    """The GPU table, or a note where no GPU is at hand."""
    import torch

    if not torch.cuda.is_available():
        names = ", ".join(precision.name for precision in PRECISIONS)
        return [Section(TITLE, [], [f"Not run: no GPU at hand. Rows wait for one, noise and seconds each: {names}."])]
    return device_rows("cuda", gpu_models("cuda", quick), QUICK if quick else FULL, torch.cuda.get_device_name(), say)


def device_rows(
    device: str, models: list[Subject], sizes: Sizes, machine: str, say: Callable[[str], None] = tell
) -> list[Section]:
    """The table on any device."""
    rows: list[dict] = []
    notes: list[str] = []
    for subject, model in made(models, notes):
        rows += measure_model(subject.name, model, device, sizes)
        say(f"{subject.name}: measured in {len(PRECISIONS)} precisions")
    notes += [
        f"{machine}, wall seconds for all 2^{sizes.n} coalitions, the best of the given rows a batch and tokens a pass. Plain: "
        f"stock forward passes in the same precision, logits of the last position only, timed on {sizes.part} coalitions and "
        "scaled.",
        "Share of matrix peak: the operations all coalitions need when nothing shared is computed twice, a second, over those of "
        f"a {sizes.matrix} x {sizes.matrix} matrix product measured here in the same precision. Sigma: root mean square "
        f"difference of ours to plain float32 passes of the same weights (numbers of both float16 and bfloat16) on {sizes.part} "
        "coalitions; sd of v beside it.",
    ]
    return [Section(TITLE, rows, notes)]
