"""The section of docs/evidence/scale.md about models larger than a device: memory measured by ways to place them, and reckoned for others.

Measured in processes of their own, as the memory beyond one that has loaded the libraries and no model; Linux only. Reckoned
by the formula that is held against those figures. What a pass costs in time is `scale.py`.

    python -m benchmarks.large                              (the section)
    python -m benchmarks.large --way WAY MODEL N LENGTH     (a child: prints one JSON object)
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.memory import MB, peak_beyond, status_bytes, trim
from benchmarks.needs import PASS_TOKENS, Shape, linear_weights, parameters
from benchmarks.operations import H100
from benchmarks.scoring_rows import (
    FILLS,
    SMALL,
    SMOLLM2,
    TARGET,
    VOCABULARY,
    child_paths,
    prompt,
    random_model,
    tell,
)
from benchmarks.section import Section

GEMMA = "google/gemma-3-270m"
TOKENS = 2048  # a pass on a CPU
COPIES = 4  # of a pass's logits at the same time: themselves, without the target, and what logsumexp makes of them


class Way(NamedTuple):
    """A way to hold a model: `dtype` and `device_map` of `load_weights`."""

    name: str
    dtype: str
    device_map: str | None


WAYS = (
    Way("float32", "float32", None),
    Way("float16, float32 residual", "float16", None),
    Way("float32, layers on disk", "float32", "disk"),
)


def leaves_of(n: int, length: int, tokens: int = TOKENS, vocabulary: int = 0) -> tuple[int, int]:
    """(tokens, leaves) of the largest pass that the trie of a benchmark prompt is cut into; `vocabulary` bounds the leaves.

    >>> leaves_of(10, 60)                                 # an eighth of the coalitions: a quarter takes over 2,048
    (1497, 128)
    """
    from interplay.scoring.plan import branch_order, cut, kept_words, level_bounds, plan_tokens
    from interplay.scoring.trie import LOGIT_BYTES

    asked = prompt(length, n)
    _, fresh = branch_order(kept_words(np.arange(1 << n, dtype=np.uint64), n))
    sizes = [b - a for a, b in level_bounds(asked.spans, length, asked.spans[0][0])]
    most = LOGIT_BYTES // (4 * vocabulary) if vocabulary else 1 << n
    runs = [(plan_tokens(fresh[run], sizes), run.stop - run.start) for run in cut(fresh, sizes, tokens, most)]
    return max(runs)


def child_way(name: str, way: Way, n: int, length: int) -> dict[str, float]:
    """In the child: bytes beyond an empty process once the model is there, and at the most while it is scored as a run does."""
    import torch
    from transformers import AutoModelForCausalLM  # noqa: F401  (so that its memory is not the model's)

    import interplay.scoring.trie  # noqa: F401
    from interplay.models.loading import load_weights
    from interplay.models.placement import Placement
    from interplay.scoring.scores import score_prepared

    torch.set_num_threads(1)
    score_prepared(
        random_model("llama", SMALL), question(24, 2, SMALL["vocab_size"])
    )  # what libraries load and set aside on first use
    trim()
    empty = status_bytes("VmRSS")
    prepared = question(length, n)
    model = load_weights(name, Placement(device_map=way.device_map), dtype=way.dtype)
    score_prepared(
        model, prepared, coalitions=np.arange(2, dtype=np.uint64)
    )  # mapped weights count once they are touched
    trim()
    held = status_bytes("VmRSS") - empty
    peak = held + peak_beyond(lambda: score_prepared(model, prepared, batch_tokens=TOKENS))
    shape = model.config.get_text_config()
    head, inner = model.get_output_embeddings().weight, shape.intermediate_size
    layers = model.get_submodule(
        next(n for n, m in model.named_modules() if type(m).__name__ in model._no_split_modules)
    )
    size = {"float32": 4, "float16": 2}[way.dtype]
    whole = sum(p.numel() for p in model.parameters())
    one = sum(p.numel() for p in layers.parameters())
    return {
        "weights": size * whole,
        "layer": size * one,
        "layers": shape.num_hidden_layers,
        "head": 4 * head.numel(),
        "vocabulary": head.shape[0],
        "token": 4.0 * (4 * shape.hidden_size + 3 * inner)
        + 8.0 * shape.num_hidden_layers * shape.num_key_value_heads * getattr(shape, "head_dim", 0),
        "held": held,
        "peak": peak,
    }


def question(length: int, n: int, vocabulary: int = VOCABULARY) -> Any:
    """A benchmark prompt as scoring takes it."""
    from interplay.data.rows import Message, Row, Sample, Word
    from interplay.scoring.absence import Absence
    from interplay.scoring.scores import Prepared

    asked = prompt(length, n, vocabulary)
    row = Row("row", (Message("user", "w" * n),), "", "w" * n, 0)
    words = tuple(Word("w", i, i + 1) for i in range(n))
    absence = Absence((FILLS[:n],), "", vocabulary)
    return Prepared(Sample(row, words), asked.ids, asked.spans, (TARGET,), "", absence, None, "")


def expected_bytes(way: Way, found: dict[str, float], n: int, length: int) -> float:
    """What the formula of docs/evidence/scale.md says the peak is: the weights that are there, and one pass."""
    tokens, leaves = leaves_of(n, length)
    weights = found["weights"]
    if way.device_map == "disk":
        weights -= (found["layers"] - 1) * found["layer"]
    passing = tokens * found["token"] + COPIES * 4.0 * leaves * found["vocabulary"]
    return weights + max(passing, found["head"] if way.dtype == "float16" else 0.0)


def large_rows(say: Callable[[str], None] = tell) -> list[Section]:
    """Peak memory of loading and scoring two real models by every way that a machine without a GPU can take."""
    title = "Large models: memory, measured"
    if not Path("/proc/self/clear_refs").exists():
        return [Section(title, [], ["Not measured: needs Linux (/proc/self/clear_refs)."])]
    rows, notes = [], []
    n, length = 8, 60
    for label, name in (("SmolLM2-135M", SMOLLM2), ("Gemma-3-270M", GEMMA)):
        for i, way in enumerate(WAYS):
            found = ask_way(i, name, n, length)
            if "missing" in found:
                notes.append(f"Not measured: {label}, {way.name}: {found['missing']}")
                continue
            expected = expected_bytes(way, found, n, length)
            rows.append(
                {
                    "model": label,
                    "way": way.name,
                    "weights, MB": found["weights"] / MB,
                    "held before scoring, MB": found["held"] / MB,
                    "peak, MB": found["peak"] / MB,
                    "formula, MB": expected / MB,
                    "peak / formula": found["peak"] / expected,
                }
            )
            say(f"{label}, {way.name}: peak {found['peak'] / MB:.0f} MB, formula {expected / MB:.0f} MB")
    notes.append(
        f"Resident memory of a process of its own beyond the libraries, all 2^{n} coalitions of a prompt of {length} tokens in passes "
        f"of {TOKENS:,} tokens, noise measured as in a run. Layers on disk are views of the mapped file, whose pages count and can "
        "be given up at any time."
    )
    return [Section(title, rows, notes)]


def ask_way(index: int, name: str, n: int, length: int) -> dict[str, Any]:
    """What the child of a way measured, or {"missing": the reason}."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.large", "--way", str(index), name, str(n), str(length)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | child_paths() | {"OMP_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not found:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        own = [line for line in said if line.startswith("interplay: ")]
        return {"missing": (own or said or [f"status {done.returncode}"])[-1].removeprefix("interplay: ")}
    return found[-1]


# ---- reckoned --------------------------------------------------------------------------------------------------------

GB = 1e9
SHAPES = {
    "1B (Llama-3.2-1B)": Shape(2048, 8192, 16, 32, 8, 64, 128_256, tied=True),
    "7B (Qwen2.5-7B)": Shape(3584, 18944, 28, 28, 4, 128, 152_064),
    "14B (Qwen2.5-14B)": Shape(5120, 13824, 48, 40, 8, 128, 152_064),
    "70B (Llama-3.1-70B)": Shape(8192, 28672, 80, 64, 8, 128, 128_256),
}


def pass_peak(shape: Shape, tokens: int, leaves: int) -> float:
    """Bytes of one pass beyond the weights, all of it float32: keys and values of all layers, one layer's activations, logits.

    >>> pass_peak(Shape(hidden=4, inner=8, layers=1, heads=2, kv_heads=1, head=2, vocabulary=10), tokens=3, leaves=2)
    848.0

    That is 3 tokens x 4 bytes x (2 x 2 keys and values + 4 x 4 + 3 x 8 activations) + 4 copies x 2 leaves x 10 x 4 bytes.
    """
    keys = 2 * shape.layers * shape.kv_heads * shape.head
    return tokens * 4.0 * (keys + 4 * shape.hidden + 3 * shape.inner) + COPIES * 4.0 * leaves * shape.vocabulary


def devices(weights: float, beyond: float, layer: float) -> int:
    """GPUs of 80 GB over which a device_map can spread the layers, a pass on each and no layer cut in two.

    >>> devices(weights=100e9, beyond=10e9, layer=1e9), devices(10e9, 10e9, 1e9)
    (2, 1)
    """
    if weights + beyond <= H100.memory:
        return 1
    return int(-(-weights // (H100.memory - beyond - layer)))


def reckoned(shape: Shape) -> dict[str, float]:
    """Bytes by ways: on a GPU, and for the last way in memory or on disk beside it."""
    tokens, leaves = leaves_of(10, 60, PASS_TOKENS, shape.vocabulary)
    beyond, head = pass_peak(shape, tokens, leaves), 4.0 * shape.vocabulary * shape.hidden
    layer = linear_weights(shape) / shape.layers
    weights = parameters(shape)
    half = max(beyond, head)
    return {
        "float32": 4 * weights + beyond,
        "float16": 2 * weights + half,
        "gpus float32": devices(4 * weights, beyond, 4 * layer),
        "gpus float16": devices(2 * weights, half, 2 * layer),
        "apart": 4 * (weights - (shape.layers - 1) * layer) + beyond,
        "beside": 4 * shape.layers * layer,
        "pass": beyond,
    }


def reckoned_section() -> Section:
    """The table of models that were not at hand."""
    rows = []
    for name, shape in SHAPES.items():
        found = reckoned(shape)
        rows.append(
            {
                "model": name,
                "a pass, GB": found["pass"] / GB,
                "one GPU, float32, GB": found["float32"] / GB,
                "one GPU, float16, GB": found["float16"] / GB,
                "device_map, float32, GPUs of 80 GB": int(found["gpus float32"]),
                "device_map, float16, GPUs of 80 GB": int(found["gpus float16"]),
                "layers elsewhere, float32, GB on the GPU": found["apart"] / GB,
                "and GB in memory or on disk": found["beside"] / GB,
            }
        )
    notes = [
        "**Computed, not measured**: the formula above, a whole pass counted on every device, with the shapes of these models, a pass of all 2^10 coalitions of a prompt of "
        f"60 tokens within {PASS_TOKENS:,} tokens (`scoring.batch_tokens`). Leave 20 % more free. A checkpoint of full fine-tuning "
        "stands beside the base while it is scored: count its weights twice; adapters cost what they weigh.",
    ]
    return Section("Large models: memory, computed", rows, notes)


TEXT = """## Large models

A model that is larger than a device can be held in four ways. Offloading gives the scores of the plain one bit for bit. They are
arguments of `load_model`, and settings of a run (`model.dtype`, `model.device_map`, `model.max_memory`).

| way | arguments | on each device |
|---|---|---|
| one GPU, float32 | `device="cuda"` | 4 P + pass |
| float16 weights and products, float32 residual stream | `dtype="float16"` | 2 P + max(pass, 4 V H): measuring the noise widens one weight at a time, the head last |
| layers spread over k GPUs | `device_map="auto"` or `"balanced"`, `"sequential"`, with `max_memory` | 4 P / k + pass, and a layer more where they do not divide |
| layers in memory or on disk | `device_map="cpu"`, `"disk"`, or `auto` where GPUs are full | embeddings, head and one layer + pass; the rest there |

P weights, V vocabulary, H hidden size, I inner size. pass = 4 T (2 x layers x key-value heads x head size + 4 H + 3 I) + 16 V x leaves, for
T tokens of which `leaves` end a coalition: keys and values of all layers, one layer's activations, and the logits four times. It does not
grow with 2^n; `scoring.batch_tokens` halves it where it is halved.

What is known of each:

- **float16** holds 16-bit operands and nothing else: sums, norms, attention and logits are float32 (docs/design/scoring.md). Its noise is measured on
  every unit, and a run whose noise is too large is refused before it trains. Numbers above 65504 overflow within a product; the
  score is then not finite and the error says so. bfloat16 does not overflow and is eight times noisier;
  bfloat16x2 does neither, for twice the products (docs/design/scoring.md).
- **device_map** goes through transformers and accelerate. `auto` fills GPUs to 90 % of what is free when there is one, and gives several an
  equal share; scoring needs room for a pass, so set `max_memory` to what a device has less a pass. Devices that `max_memory` does
  not name hold nothing. GPUs work one after the other, so k of them give memory and no speed.
- **disk**: layers are read from the model's own files on every pass, so a pass costs a reading of the whole model. Experts of a mixture are
  written to a temporary folder first, which goes with the model.
- **LoRA and IA3** go on a base that is offloaded; DoRA and modules saved along need the base's own weights and are refused there, in one
  line. Hashes are those of the whole weights by every way.

Of this, loading, hashing, scoring, adapters and full checkpoints are tested without a GPU: layers on disk and behind accelerate's hooks in
memory. **No machine with several GPUs was at hand**: that a model spread over them scores as one on one GPU is read from the code, not run.
"""


def main(arguments: list[str]) -> None:
    """One of the two calls of the module's docstring."""
    if arguments[:1] == ["--way"]:
        print(json.dumps(child_way(arguments[2], WAYS[int(arguments[1])], *map(int, arguments[3:]))))
        return
    from benchmarks.bench import lines_of

    print(TEXT)
    for section in [*large_rows(), reckoned_section()]:
        print("\n".join(lines_of(section)))


if __name__ == "__main__":
    from interplay.errors import InterplayError

    try:
        main(sys.argv[1:])
    except InterplayError as error:
        sys.exit(f"interplay: {error}")
