"""The weights and bytes a model takes, by arithmetic from the shape of its layers.

Plain numbers in, plain numbers out; imports nothing heavy and measures nothing. What each preset needs is in `needs.py`.
"""

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
