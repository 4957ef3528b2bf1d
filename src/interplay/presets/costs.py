"""What a model costs by arithmetic: weights, floating-point operations and bytes, from the shape of its layers.

Plain numbers in, plain numbers out; imports nothing heavy and measures nothing. Which preset needs what is `needs.py`; the
tables of docs/scale.md are drawn by `benchmarks/scale.py` from the same functions.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Shape(NamedTuple):
    """A decoder-only LLM: `hidden`, `inner` (feed-forward), layers, query and key-value heads of size `head`, vocabulary.

    `tied`: the head is the embedding. `beside`: weights that text does not pass (a vision tower).
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool = False
    beside: int = 0


class Device(NamedTuple):
    """Dense peaks of a data sheet in operations a second; `memory` in bytes. Sheets are not measurements."""

    name: str
    float32: float
    bfloat16: float
    memory: float


# Data sheets: H100 SXM5 80 GB, without sparsity; float32 is the plain cores' figure, no TF32.
H100 = Device("H100", 67e12, 989e12, 80e9)
UTILISATION = 0.4  # of the peak, an assumption: what large matrix products in transformers commonly reach

# The package on one thread of the CPU of docs/benchmarks.md: CPU seconds for all 2^10 coalitions of one prompt on
# SmolLM2-135M in float32, by prompt length (column "trie + oneDNN s").
MEASURED = {60: 17.4, 200: 35.2}
SMOLLM2 = Shape(576, 1536, 30, 9, 3, 64, 49152, tied=True)

PASS_TOKENS = 16_384  # in one forward pass on a GPU (scoring.batch_tokens)
LOGITS = 1 << 29  # bytes of logits of one pass at most


def linear_weights(shape: Shape) -> int:
    """Weights of the linear layers, the head apart.

    >>> linear_weights(Shape(hidden=4, inner=8, layers=1, heads=2, kv_heads=1, head=2, vocabulary=10))
    144
    """
    attention = 2 * shape.hidden * shape.head * (shape.heads + shape.kv_heads)
    return shape.layers * (attention + 3 * shape.hidden * shape.inner)


def parameters(shape: Shape) -> int:
    """All weights but norms and biases.

    >>> parameters(Shape(4, 8, 1, 2, 1, 2, 10)), parameters(Shape(4, 8, 1, 2, 1, 2, 10, tied=True))
    (224, 184)
    """
    return linear_weights(shape) + shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + shape.beside


def adapter_parameters(shape: Shape, rank: int) -> int:
    """Weights of LoRA on all linear layers: rank x (inputs + outputs) of each.

    >>> adapter_parameters(Shape(4, 8, 1, 2, 1, 2, 10), rank=1)
    64
    """
    q, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    attention = 2 * (shape.hidden + q) + 2 * (shape.hidden + kv)
    return rank * shape.layers * (attention + 3 * (shape.hidden + shape.inner))


def level_sizes(first: float, between: float, last: float, n: int) -> list[float]:
    """Tokens of a trie's n + 1 levels: before the first word, from each word to the next, from the last word to the end.

    >>> level_sizes(20, 4, 8, n=3)
    [20, 4, 4, 8]
    """
    return [first, *[between] * (n - 1), last]


def trie_tokens(sizes: Sequence[float]) -> float:
    """Tokens that all 2^n coalitions of a prompt need when shared beginnings are run once: sum_i 2^i s_i.

    >>> trie_tokens([20, 4, 4, 8])          # 20 + 2 x 4 + 4 x 4 + 8 x 8
    108
    """
    return sum(size * (1 << i) for i, size in enumerate(sizes))


def plain_tokens(sizes: Sequence[float]) -> float:
    """Tokens of 2^n whole prompts.

    >>> plain_tokens([20, 4, 4, 8])         # 8 x 36
    288
    """
    return sum(sizes) * (1 << (len(sizes) - 1))


def scoring_operations(shape: Shape, sizes: Sequence[float], plain: bool = False) -> float:
    """Floating-point operations for all 2^n coalitions: two per weight and token, the head once a coalition, attention.

    `plain`: 2^n whole prompts, the head at their last token only.
    """
    leaves = 1 << (len(sizes) - 1)
    tokens, pairs, before = 0.0, 0.0, 0.0
    for i, size in enumerate(sizes):
        rows = leaves if plain else 1 << i
        tokens += rows * size
        pairs += rows * size * (before + (size + 1) / 2)  # every token looks at those before it, and itself
        before += size
    attention = 4.0 * pairs * shape.heads * shape.head * shape.layers
    return 2.0 * tokens * linear_weights(shape) + 2.0 * leaves * shape.vocabulary * shape.hidden + attention


def training_operations(shape: Shape, tokens: float) -> float:
    """Of LoRA on so many tokens: forward, and backward to the activations; the adapters' own are left out as small.

    >>> training_operations(Shape(4, 8, 1, 2, 1, 2, 10), tokens=1)      # 4 x (144 + 40)
    736.0
    """
    return 4.0 * tokens * (linear_weights(shape) + shape.vocabulary * shape.hidden)


def pass_bytes(shape: Shape, tokens: float, width: int = 4) -> float:
    """Beyond the weights in a forward pass of the trie: keys and values of all layers, one layer's activations, logits."""
    keys = 2 * shape.layers * shape.kv_heads * shape.head * width
    activations = (4 * shape.hidden + 3 * shape.inner) * 4
    return tokens * (keys + activations) + LOGITS


def training_bytes(shape: Shape, tokens: float, rank: int) -> float:
    """Of LoRA under bfloat16 autocast without gradient checkpointing: float32 base, adapters with Adam, activations, logits.

    `tokens` in one micro-step, padding included. A layer keeps about 14 x hidden + 4 x inner 2-byte values a token (norms,
    projections and the gated product), the loss three float32 arrays over the vocabulary: an estimate [ours].
    """
    kept = 2 * shape.layers * (14 * shape.hidden + 4 * shape.inner) + 12 * shape.vocabulary
    return 4 * parameters(shape) + 16 * adapter_parameters(shape, rank) + tokens * kept


def benchmark_sizes(length: int, n: int = 10) -> list[float]:
    """Levels of the prompts of docs/benchmarks.md: words of one token from the first third to 8 tokens from the end.

    >>> benchmark_sizes(60, 3)
    [20, 16, 16, 8]
    """
    first, last = length // 3, length - 8
    starts = [round(first + (last - first) * i / (n - 1)) for i in range(n)]
    return [first, *(b - a for a, b in pairwise(starts)), length - last]


def cpu_speed(length: int) -> float:
    """Useful operations a second that the package reaches on one thread of the CPU of docs/benchmarks.md."""
    return scoring_operations(SMOLLM2, benchmark_sizes(length)) / MEASURED[length]
