"""The weights to download and the GPU memory that each preset needs, by arithmetic from its settings.

These are estimates. None was measured on a GPU.
"""

from typing import TYPE_CHECKING, NamedTuple

from interplay.presets import preset_names, preset_path
from interplay.presets.costs import PASS_TOKENS, Shape, parameters, pass_bytes, training_bytes

if TYPE_CHECKING:
    from interplay.config.settings import Settings

WIDTHS = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}


class Weights(NamedTuple):
    """An LLM on a hub: its shape, bytes of its files a weight (the data type they are in), and whether a form stands before them."""

    shape: Shape
    file_width: int = 2
    gated: bool = False


# By hub name; shapes as in the models' own configs.
WEIGHTS: dict[str, Weights] = {
    "Qwen/Qwen2.5-3B-Instruct": Weights(Shape(2048, 11008, 36, 16, 2, 128, 151_936, tied=True)),
    "Qwen/Qwen2.5-7B-Instruct": Weights(Shape(3584, 18944, 28, 28, 4, 128, 152_064)),
    "meta-llama/Llama-2-7b-chat-hf": Weights(Shape(4096, 11008, 32, 32, 32, 128, 32_000), gated=True),
    "meta-llama/Meta-Llama-3-8B-Instruct": Weights(Shape(4096, 14336, 32, 32, 8, 128, 128_256), gated=True),
    # with a vision tower of 417 M weights, which no text passes
    "google/gemma-3-4b-it": Weights(
        Shape(2560, 10240, 34, 8, 4, 256, 262_208, tied=True, beside=417_000_000), gated=True
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Weights(Shape(576, 1536, 30, 9, 3, 64, 49_152, tied=True)),
    "google/gemma-3-270m": Weights(Shape(640, 2048, 18, 4, 1, 256, 262_144, tied=True), gated=True),
}


# Tokens of a typical training row, prompt and response. GoEmotions (28 labels in the prompt) and Dolly: means of 64 rows under
# SmolLM2's tokenizer. Unilaw is assumed: LawBench's questions at 1.6 characters a token, and 800 tokens of reasoned answer.
ROW_TOKENS = {"goemotions": 140, "dolly": 450, "unilaw": 930}
OTHER_ROW_TOKENS = 60


class Needs(NamedTuple):
    """What one preset needs; download and memory are estimates in bytes."""

    preset: str
    title: str
    model: str
    data: str
    baselines: tuple[str, ...]
    gated: tuple[str, ...]
    download: float
    memory_training: float
    memory_scoring: float
    memory_alone: float

    @property
    def memory(self) -> float:
        """The larger of training and scoring, which never run at the same time. `memory_alone`: without baseline LLMs."""
        return max(self.memory_training, self.memory_scoring)


def needs(preset: str) -> Needs:
    """What a preset needs on one GPU, with full passes of `PASS_TOKENS` tokens.

    Errors: InterplayError for an unknown preset.

    >>> round(needs("demo").download / 1e9, 2)
    0.27
    """
    from interplay.config.loading import load_settings

    settings = load_settings(preset_path(preset))
    base = WEIGHTS[settings.model.name]
    baselines = [b.name for b in settings.baseline]
    others = [WEIGHTS[name] for name in baselines]
    width = WIDTHS[settings.model.dtype]
    # The model shares the GPU with its own copy in a second precision, later with each baseline LLM in turn: the largest counts.
    own = width * parameters(base.shape)
    twin = settings.controls.precision if settings.controls.precision != settings.model.dtype else None
    second = WIDTHS[twin] * parameters(base.shape) if twin else 0.0
    largest = max([second, *(width * parameters(other.shape) for other in others)])
    passes = [pass_bytes(w.shape, PASS_TOKENS, width) for w in (base, *others)]
    training = settings.training
    learnt = training_bytes(base.shape, training.batch_size * _row_tokens(settings), training.rank) if training else 0.0
    return Needs(
        preset=preset,
        title=settings.name,
        model=settings.model.name,
        data=settings.data.file or settings.data.train or settings.data.prompts or "",
        baselines=tuple(baselines),
        gated=tuple(name for name in (settings.model.name, *baselines) if WEIGHTS[name].gated),
        download=sum(w.file_width * parameters(w.shape) for w in (base, *others)),
        memory_training=learnt,
        memory_scoring=own + largest + max(passes),
        memory_alone=max(learnt, own + second + passes[0]),
    )


def all_needs() -> tuple[Needs, ...]:
    """Of every shipped preset, in the order of `preset_names`.

    >>> len(all_needs()) == len(preset_names())
    True
    """
    return tuple(needs(name) for name in preset_names())


def _row_tokens(settings: "Settings") -> int:
    if settings.model.name == "HuggingFaceTB/SmolLM2-135M-Instruct":
        return OTHER_ROW_TOKENS
    return ROW_TOKENS.get(settings.data.form.removesuffix("-answer"), OTHER_ROW_TOKENS)
