"""Floating-point operations and tokens of scoring and training, by arithmetic from the shape of a model's layers.

The tables of docs/evidence/scale.md are drawn from these. Plain numbers in, plain numbers out; nothing here is measured.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmarks.needs import Shape, linear_weights


class Device(NamedTuple):
    """Dense peaks of a data sheet in operations a second; `memory` in bytes. Sheets are not measurements."""

    name: str
    float32: float
    bfloat16: float
    memory: float


# Data sheets: H100 SXM5 80 GB, without sparsity; float32 is the plain cores' figure, no TF32.
H100 = Device("H100", 67e12, 989e12, 80e9)
UTILISATION = 0.4  # of the peak, an assumption: what large matrix products in transformers commonly reach

SMOLLM2 = Shape(576, 1536, 30, 9, 3, 64, 49152, tied=True)


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


def benchmark_sizes(length: int, n: int = 10) -> list[float]:
    """Levels of the prompts of docs/evidence/benchmarks.md: words of one token from the first third to 8 tokens from the end.

    >>> benchmark_sizes(60, 3)
    [20, 16, 16, 8]
    """
    first, last = length // 3, length - 8
    starts = [round(first + (last - first) * i / (n - 1)) for i in range(n)]
    return [first, *(b - a for a, b in pairwise(starts)), length - last]
