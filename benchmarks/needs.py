"""What a preset needs: weights to download and GPU memory, estimated from its settings and the shape of its models.

None of it was measured on a GPU. `interplay presets` prints the table that this writes:

    python -m benchmarks.needs --write src/interplay/presets/needs.json
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from interplay.config.loading import load_settings
from interplay.presets import preset_names, preset_path

WIDTHS = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
PASS_TOKENS = 16_384  # in one forward pass on a GPU (scoring.batch_tokens)
LOGITS = 1 << 29  # bytes of logits of one pass at most


class Shape(NamedTuple):
    """A decoder-only LLM: `hidden`, `inner` (feed-forward), layers, query and key-value heads of size `head`, vocabulary.

    `tied`: the head is the embedding. `other`: weights that text does not use (a vision tower).
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool = False
    other: int = 0


# By hub name; shapes as in the models' own configs.
SHAPES: dict[str, Shape] = {
    "Qwen/Qwen2.5-3B-Instruct": Shape(2048, 11008, 36, 16, 2, 128, 151_936, tied=True),
    "Qwen/Qwen2.5-7B-Instruct": Shape(3584, 18944, 28, 28, 4, 128, 152_064),
    "meta-llama/Llama-2-7b-chat-hf": Shape(4096, 11008, 32, 32, 32, 128, 32_000),
    "meta-llama/Meta-Llama-3-8B-Instruct": Shape(4096, 14336, 32, 32, 8, 128, 128_256),
    "google/gemma-3-4b-it": Shape(2560, 10240, 34, 8, 4, 256, 262_208, tied=True, other=417_000_000),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Shape(576, 1536, 30, 9, 3, 64, 49_152, tied=True),
    "google/gemma-3-270m": Shape(640, 2048, 18, 4, 1, 256, 262_144, tied=True),
}
GATED = ("meta-llama/", "google/")  # whose licences must be accepted on the hub
FILE_WIDTH = 2  # bytes per weight in the files of all of them

# Tokens of a typical training row, prompt and response. GoEmotions (28 labels in the prompt) and Dolly: means of 64 rows under
# SmolLM2's tokenizer. Unilaw is assumed: LawBench's questions at 1.6 characters a token, and 800 tokens of reasoned answer.
ROW_TOKENS = {"goemotions": 140, "dolly": 450, "unilaw": 930}
OTHER_ROW_TOKENS = 60


def linear_weights(shape: Shape) -> int:
    """Weights of the linear layers, the head apart."""
    attention = 2 * shape.hidden * shape.head * (shape.heads + shape.kv_heads)
    return shape.layers * (attention + 3 * shape.hidden * shape.inner)


def parameters(shape: Shape) -> int:
    """All weights but norms and biases.

    >>> parameters(Shape(4, 8, 1, 2, 1, 2, 10)), parameters(Shape(4, 8, 1, 2, 1, 2, 10, tied=True))
    (224, 184)
    """
    return linear_weights(shape) + shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + shape.other


def adapter_parameters(shape: Shape, rank: int) -> int:
    """Weights of LoRA on all linear layers: rank x (inputs + outputs) of each."""
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


class Needs(NamedTuple):
    """What one preset needs; download and memory in bytes."""

    preset: str
    title: str
    model: str
    data: str
    baselines: tuple[str, ...]
    gated: tuple[str, ...]
    download: float
    memory_training: float
    memory_scoring: float
    memory_without_baselines: float

    @property
    def memory(self) -> float:
        """The larger of training and scoring, which never run at the same time."""
        return max(self.memory_training, self.memory_scoring)


def needs(preset: str) -> Needs:
    """What a preset needs on one GPU, with full passes of `PASS_TOKENS` tokens. Raises InterplayError for an unknown one.

    >>> round(needs("demo").download / 1e9, 2)
    0.27
    """
    settings = load_settings(preset_path(preset))
    model, data, controls, training = settings.model, settings.data, settings.controls, settings.training
    names = (model.name, *(baseline.name for baseline in settings.baseline))
    width, sizes = WIDTHS[model.dtype], [parameters(SHAPES[name]) for name in names]
    # The model shares the GPU with its own copy in a second precision, later with each baseline LLM in turn: the largest counts.
    own = width * sizes[0]
    second = WIDTHS[controls.precision] * sizes[0] if controls.precision not in (None, model.dtype) else 0
    passes = [pass_bytes(SHAPES[name], PASS_TOKENS, width) for name in names]
    learnt = 0.0
    if training is not None:
        row = ROW_TOKENS.get(data.form.removesuffix("-answer"), OTHER_ROW_TOKENS)
        if model.name == "HuggingFaceTB/SmolLM2-135M-Instruct":
            row = OTHER_ROW_TOKENS
        learnt = training_bytes(SHAPES[model.name], training.batch_size * row, training.rank)
    return Needs(
        preset=preset,
        title=settings.name,
        model=model.name,
        data=data.file or data.train or data.prompts or "",
        baselines=names[1:],
        gated=tuple(name for name in names if name.startswith(GATED)),
        download=FILE_WIDTH * sum(sizes),
        memory_training=learnt,
        memory_scoring=own + max(second, *(width * size for size in (0, *sizes[1:]))) + max(passes),
        memory_without_baselines=max(learnt, own + second + passes[0]),
    )


def table() -> str:
    """The needs of every shipped preset, in the order of `preset_names`, as JSON with sizes in gigabytes."""
    records = []
    for name in preset_names():
        values = needs(name)._asdict().items()
        plain = {key: value for key, value in values if not isinstance(value, int | float)}
        sizes = {f"{key}_gb": round(value / 1e9, 3) for key, value in values if isinstance(value, int | float)}
        records.append({**plain, **sizes, "measured": False})
    return json.dumps(records, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, required=True)
    parser.parse_args().write.write_text(table(), encoding="utf-8")
