"""What a preset needs: weights, GPU memory, hours. Arithmetic from its settings and the figures of docs/benchmarks.md.

Nothing here has been measured on a GPU: the hours of one are operations over a data sheet's peak times an assumed
utilisation. Those on the CPU of the benchmarks follow from what was measured there.
"""

from typing import TYPE_CHECKING, NamedTuple

from interplay.presets import preset_names, preset_path
from interplay.presets.costs import (
    H100,
    PASS_TOKENS,
    UTILISATION,
    Shape,
    cpu_speed,
    level_sizes,
    parameters,
    pass_bytes,
    plain_tokens,
    scoring_operations,
    training_bytes,
    training_operations,
    trie_tokens,
)

if TYPE_CHECKING:
    from interplay.runs.settings import Settings

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
    # beside the text model: a vision tower of 417 M weights, which no text passes
    "google/gemma-3-4b-it": Weights(
        Shape(2560, 10240, 34, 8, 4, 256, 262_208, tied=True, beside=417_000_000), gated=True
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Weights(Shape(576, 1536, 30, 9, 3, 64, 49_152, tied=True)),
    "google/gemma-3-270m": Weights(Shape(640, 2048, 18, 4, 1, 256, 262_144, tied=True), gated=True),
}


class Wording(NamedTuple):
    """A typical prompt of a data set in tokens: before the first word, from word to word at n = 10, from the last word to
    the end; and a typical row of training, response included."""

    first: float
    between: float
    last: float
    row: float


# The mean of 64 prompts with SmolLM2's tokenizer; GoEmotions has its 28 labels in front. Unilaw is an assumption: LawBench's
# questions at 1.6 characters a token, and 800 tokens of reasoned answer.
WORDINGS = {
    "goemotions": Wording(102, 2.6, 9, 140),
    "dolly": Wording(53, 30, 36, 450),
    "unilaw": Wording(40, 8.6, 14, 930),
    "other": Wording(20, 3, 9, 60),
}


class Needs(NamedTuple):
    """What one preset needs; bytes and hours are estimates, `units` counts sample x condition pairs."""

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
    units: int
    tokens: float
    plain: float
    gpu_hours: float
    cpu_hours: float

    @property
    def memory(self) -> float:
        """The larger of training and scoring, which are not done at the same time. `memory_alone`: without baseline LLMs."""
        return max(self.memory_training, self.memory_scoring)


def needs(preset: str) -> Needs:
    """What a preset needs on one H100, and how long it would take on the benchmarks' CPU.

    Scoring: operations of the trie x units, over the peak in the preset's dtype x utilisation. Training: LoRA's operations,
    over the bfloat16 peak x utilisation. Left out as small: eval rows, solving (0.08 s a unit), generation and loading.

    Errors: InterplayError for an unknown preset.
    """
    from interplay.runs.loading import load_settings

    settings = load_settings(preset_path(preset))
    wording = _wording(settings)
    sizes = level_sizes(wording.first, wording.between * 10 / settings.probes.n, wording.last, settings.probes.n)
    base = _weights(settings.model.name)
    baselines = [b.name for b in settings.baseline]
    others = [_weights(name) for name in baselines]
    width = WIDTHS[settings.model.dtype]
    count = settings.probes.count
    own_units = count * _conditions(settings)
    scoring = own_units * scoring_operations(base.shape, sizes)
    scoring += sum(count * scoring_operations(other.shape, sizes) for other in others)
    training = settings.training
    rows = training.steps * training.batch_size * training.accumulation if training else 0
    learning = training_operations(base.shape, rows * wording.row)
    peak = H100.float32 if width >= 4 else H100.bfloat16
    tokens = trie_tokens(sizes)
    # Beside the model stands itself in a second precision, and later each baseline LLM in turn: the largest of them counts.
    own = width * parameters(base.shape)
    twin = settings.controls.precision if settings.controls.precision != settings.model.dtype else None
    second = WIDTHS[twin] * parameters(base.shape) if twin else 0.0
    beside = max([second, *(width * parameters(other.shape) for other in others)])
    passes = [pass_bytes(w.shape, min(tokens, PASS_TOKENS), width) for w in (base, *others)]
    micro = training.batch_size * wording.row if training else 0
    learnt = training_bytes(base.shape, micro, training.rank) if training else 0.0
    return Needs(
        preset=preset,
        title=settings.name,
        model=settings.model.name,
        data=settings.data.file or settings.data.train or settings.data.probes or "",
        baselines=tuple(baselines),
        gated=tuple(name for name in (settings.model.name, *baselines) if _weights(name).gated),
        download=sum(w.file_width * parameters(w.shape) for w in (base, *others)),
        memory_training=learnt,
        memory_scoring=own + beside + max(passes),
        memory_alone=max(learnt, own + second + passes[0]),
        units=own_units + count * len(others),
        tokens=tokens,
        plain=plain_tokens(sizes),
        gpu_hours=(scoring / peak + learning / H100.bfloat16) / UTILISATION / 3600,
        cpu_hours=(scoring + learning) / cpu_speed(60) / 3600,
    )


def all_needs() -> tuple[Needs, ...]:
    """Of every shipped preset, in the order of `preset_names`.

    >>> len(all_needs()) == len(preset_names())
    True
    """
    return tuple(needs(name) for name in preset_names())


def _conditions(settings: "Settings") -> int:
    """Model states and wordings under which every probe is scored, baseline LLMs apart."""
    steps = len(settings.schedule() or [0])
    controls = settings.controls
    again = controls.draws - 1
    extra = again * steps if controls.draw_steps == "all" else again
    extra += bool(settings.prompt.rephrased) + bool(controls.few_shot) + bool(controls.format)
    extra += controls.precision is not None and controls.precision != settings.model.dtype
    if controls.labels is True and settings.scoring.target_tokens > 1:  # one token's labels come with the same passes
        extra += steps
    return steps + extra


def _weights(name: str) -> Weights:
    return WEIGHTS[name]


def _wording(settings: "Settings") -> Wording:
    form = settings.data.form.removesuffix("-answer")
    known = form in WORDINGS and settings.model.name != "HuggingFaceTB/SmolLM2-135M-Instruct"
    return WORDINGS[form if known else "other"]
