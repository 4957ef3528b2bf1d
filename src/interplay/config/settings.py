"""Settings of a run. Unknown keys and settings that contradict each other are refused before anything is loaded.

Marks in brackets say whose constant a default is: [paper], [lineage] or [ours].
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from interplay.data.sources import FORM_NAMES
from interplay.data.template import TODAY, PromptTemplate
from interplay.data.words import WORDS_PER_PROMPT, Language
from interplay.errors import InterplayError
from interplay.limits import EXACT_WORDS, SAMPLED_WORDS
from interplay.models.placement import DEVICE_MAPS, SPREAD, Placement
from interplay.text import short

Dtype = Literal["float32", "float64", "bfloat16x2", "bfloat16", "float16"]
# YAML reads the 0 of {0: 20GiB} as a number.
DeviceName = Annotated[str, BeforeValidator(lambda key: str(key) if type(key) is int else key)]


def _one_or_many(given: Any) -> Any:
    """A list where one value is given."""
    one = isinstance(given, (int, Mapping, BaseModel)) and not isinstance(given, bool)
    return (given,) if one else given


_MANY = BeforeValidator(lambda given: () if given is None else _one_or_many(given))


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSettings(_Strict):
    """The LLM that is fine-tuned, or whose checkpoints are tracked."""

    name: str = Field(description="hub name, local folder or GGUF file")
    revision: str | None = Field(None, description="hub revision")
    dtype: Dtype = Field(
        "float32",
        description="of scoring; 16-bit rounding looks like noise interactions, unless bfloat16x2, for CUDA, puts activations in two parts",
    )
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps; auto takes a GPU when there is one")
    device_map: Literal[DEVICE_MAPS] | None = Field(  # ty: ignore[invalid-type-form]
        None,
        description="for a model larger than a device: auto, balanced, balanced_low_0, sequential spread its layers over GPUs, "
        "memory and disk; cpu and disk keep them there and fetch one at a time; null: all of it on device",
    )
    max_memory: dict[DeviceName, str | int] | None = Field(
        None,
        description="what each device may hold of the weights under device_map: {'0': 60GiB, cpu: 100GiB}; null: what is free",
    )

    @model_validator(mode="after")
    def _one_place(self) -> "ModelSettings":
        if self.device_map in SPREAD and self.device != "auto":
            raise ValueError(f"model.device_map {self.device_map} chooses devices itself: set model.device to auto")
        try:
            Placement(device_map=self.device_map, max_memory=self.max_memory)
        except InterplayError as error:
            raise ValueError(f"model: {error}") from None
        return self


class DataSettings(_Strict):
    """Rows to train on, to evaluate on, and to choose prompts from."""

    file: str | None = Field(
        None, description="one source, split by a hash of texts: 80 % train, 10 % eval, 10 % prompts"
    )
    train: str | None = Field(
        None, description="file, folder[:SPLIT], emotions:SPLIT, planted:SPLIT or hub:owner/name; needed to train"
    )
    eval: str | None = Field(None, description="held-out rows for eval loss and accuracy; null measures neither")
    prompts: str | None = Field(None, description="rows the prompts are chosen from; must be held out")
    form: Literal[FORM_NAMES] = Field("auto", description="what the columns mean; auto: by their names")  # ty: ignore[invalid-type-form]
    columns: dict[str, str] = Field(
        default_factory=dict, description="role: column, say text: comment; '' leaves it out"
    )
    join: str | None = Field(None, description="between instruction and input; null: a line break, dolly a blank line")
    train_rows: int | None = Field(None, ge=1, description="use at most this many training rows (seeded choice)")
    eval_rows: int | None = Field(200, ge=1, description="use at most this many eval rows (seeded choice)")

    @model_validator(mode="after")
    def _one_way(self) -> "DataSettings":
        if self.file is not None and (self.train or self.eval or self.prompts):
            raise ValueError("data.file is split into train, eval and prompts: remove it, or remove those three")
        if self.file is None and self.prompts is None:
            raise ValueError("data.prompts is missing: name the held-out rows that prompts are chosen from")
        return self


class WordingSettings(_Strict):
    """How a prompt is worded: the text goes where {text} stands."""

    system: str | None = Field(None, description="system message; null leaves it to the chat template")
    template: str = Field("{text}", description="the user message; holds {text} once")

    @field_validator("template")
    @classmethod
    def _has_one_place(cls, value: str) -> str:
        try:
            return PromptTemplate(template=value).template
        except InterplayError as error:
            raise ValueError(str(error)) from None


class PromptSettings(WordingSettings):
    """The wording that training and scoring share, and a trivially different one for the churn floor."""

    chat: Literal["auto"] | bool = Field("auto", description="use the tokenizer's chat template: auto = if it has one")
    few_shot: int = Field(0, ge=0, description="training rows put before the prompt as examples")
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="variables of the chat template, as training gave them: {enable_thinking: false}",
    )
    today: date = Field(TODAY, description="the day that a chat template may write, which a run must not depend on")
    rephrased: Annotated[tuple[WordingSettings, ...], _MANY] = Field(
        default_factory=lambda: tuple(
            WordingSettings(template=f"{x}\n{{text}}") for x in ("Please answer.", "Answer this:")
        ),
        description="another wording at the reference step, or a list of them: the churn floor is their mean; null leaves it out",
    )


class PromptsSettings(_Strict):
    """The held-out prompts whose interactions are extracted."""

    count: int = Field(12, ge=1, le=100_000, description="how many prompts are measured at every checkpoint")
    n: int = Field(WORDS_PER_PROMPT, ge=2, description="words a prompt, 2 to 16 [lineage: 10]; 2^n forward passes each")
    words: Literal["content", "all", "given"] = Field(
        "content",
        description="which may be drawn: content words [lineage] that vary from row to row, all, or given: each row's column `words`",
    )
    language: Language = Field("auto", description="how words are split; auto: by the script; en: by spaces, anywhere")
    stop_words: str | None = Field(None, description="more words that are never drawn: legal, or separated by commas")

    @field_validator("n")
    @classmethod
    def _can_be_enumerated(cls, value: int) -> int:
        if value > EXACT_WORDS:
            raise ValueError(
                f"{value} is more than {EXACT_WORDS} words, whose 2^n coalitions are all scored: choose fewer "
                f"(interplay explain samples coalitions of up to {SAMPLED_WORDS})"
            )
        return value


class TrainingSettings(_Strict):
    """Supervised fine-tuning with TRL's SFTTrainer. Rank, rate, schedule and targets are the paper's."""

    method: Literal["lora", "full", "dora", "ia3", "qlora"] = Field(
        "lora", description="LoRA [paper], full fine-tuning, DoRA, IA3, or LoRA on a base held in 4 bits"
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        description="of row order, dropout and LoRA's start (data and prompts keep seed); null: seed",
    )
    rank: int = Field(8, ge=1, description="LoRA rank [paper]")
    alpha: float = Field(16, gt=0, description="LoRA alpha [ours]")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout [ours]")
    targets: str = Field("all-linear", description="target modules [paper]; of IA3: keys, values and down projections")
    learning_rate: float = Field(1e-4, gt=0, description="[paper]")
    # Those of transformers that need no further arguments and no metric.
    scheduler: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt", "cosine_with_restarts"
    ] = Field("cosine", description="learning-rate schedule [paper]")
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate rises from 0")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    batch_size: int = Field(8, ge=1, description="rows per device and micro-step")
    accumulation: int = Field(1, ge=1, description="micro-steps per optimiser step")
    steps: int = Field(ge=1, description="optimiser steps")
    max_length: int | None = Field(1024, ge=8, description="longer rows are cut")
    bf16: bool | Literal["auto"] = Field("auto", description="bfloat16 autocast; auto: where the hardware has it")


class CheckpointSettings(_Strict):
    """Which steps are measured, and where checkpoints of another training lie."""

    steps: Annotated[tuple[int, ...] | str | None, BeforeValidator(_one_or_many)] = Field(
        "0, 10, 20, 40, ...",
        description="a list, or a start that '...' goes on doubling to the last step; null (and, where nothing is trained, "
        "'...'): all that are found",
    )
    folder: str | None = Field(None, description="output folder of a finished training; then nothing is trained")


class ScoringSettings(_Strict):
    """How v is evaluated."""

    mask: str | int = Field(
        "auto",
        description="what absent words become: a token by its text or id; auto: a neutral one such as _ [ours]; mean: the mean "
        "embedding; swap: other words of the same place; drop: nothing; paper: unk, pad or a reserved one [lineage]. A token "
        "of one of these names is given by its id",
    )
    swap_draws: int = Field(3, ge=2, le=64, description="draws of other words under swap; v is their mean [ours]")
    target_tokens: Annotated[int, Field(ge=1)] | Literal["auto", "first", "word"] = Field(
        "auto",
        description="what is scored from the first token that tells answers apart: `first` that token [paper], `word`, or so many "
        "tokens; auto: as many as tell a label from the others, without labels a word [ours]",
    )
    among_labels: bool | Literal["auto"] = Field(
        "auto",
        description="log-odds among the labels, not against the whole vocabulary [paper]; auto: where rows have two labels [ours]",
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="tokens per forward pass; null: 2048 on a CPU, 16384 elsewhere [ours]"
    )
    noise_coalitions: int = Field(4, ge=1, le=1 << EXACT_WORDS, description="scored twice to measure numerical noise")
    accept_noise: bool = Field(False, description="go on where 16-bit rounding makes effects meaningless [ours]")


class EffectSettings(_Strict):
    """The sparse AND-OR split."""

    duality_gap: float = Field(1e-3, gt=0, lt=1, description="certified relative duality gap [ours]")
    tolerance: Annotated[float, Field(ge=0)] | Literal["auto", "paper"] = Field(
        "auto",
        description="delta; auto: 3 sigma of the measured noise [ours]; paper: at least 0.02 |v(N) - v(empty)|, mean at step 0 [lineage]",
    )
    fuse: bool = Field(
        True,
        description="of nearly equally sparse splits of a checkpoint take the one that changes least from the checkpoint before [ours]",
    )


class BaselineSettings(WordingSettings):
    """The baseline LLM v' that generalizability is measured against; best of another architecture family."""

    name: str
    revision: str | None = None
    chat: Literal["auto"] | bool = "auto"
    few_shot: int = Field(6, ge=0, description="training rows as examples: a base model then knows the format [ours]")


class TaskSettings(_Strict):
    """What happens to the task, and to what the model knew before."""

    ood: str | None = Field(None, description="out-of-domain rows: loss, accuracy and macro-F1 on them")
    ood_form: Literal[FORM_NAMES] = "auto"  # ty: ignore[invalid-type-form]
    ood_rows: int | None = Field(200, ge=1)
    retention: str | None = Field(None, description="a plain text file: perplexity on it shows what is forgotten")
    retention_tokens: int = Field(4096, ge=16, description="tokens of it that are read")
    kl: bool = Field(True, description="KL divergence to step 0 at the first response token of the eval prompts")
    generate_rows: int | None = Field(
        None, ge=0, description="eval rows answered freely, for exact match and ROUGE-L; null: 32 without labels"
    )
    generate_tokens: int = Field(64, ge=1, description="tokens of an answer at most")


class ControlSettings(_Strict):
    """What the figures are compared with, besides nulls [ours]. Each costs units; see docs/design/controls.md."""

    precision: Dtype | None = Field(
        "bfloat16", description="second precision at the reference: churn of rounding; null: none"
    )
    mask: str | int | None = Field(
        "auto",
        description="another scoring.mask at the references: churn of what absent words become; auto: swap, or where that is the "
        "run's own a neutral token; null: none",
    )
    reference: int | Literal["auto"] | None = Field(
        "auto",
        description="second reference; auto: first step where v(N) of the whole vocabulary made 80 % of its rise; null: none",
    )
    draws: int = Field(2, ge=1, le=16, description="draws of words a prompt, the first included")
    draw_steps: Literal["reference", "all"] = Field("reference", description="where the other draws are measured")
    both_scores: bool = Field(
        True,
        description="where it costs no forward pass, rows with labels are scored both among them and against the whole vocabulary",
    )
    tolerance: bool = Field(
        True,
        description="views under the lineage's tolerance, or half and twice the one given, of prompts of up to 10 words",
    )
    few_shot: int = Field(0, ge=0, description="step 0 once more with so many training rows as examples in its prompt")
    format: WordingSettings | None = Field(None, description="step 0 once more, told the answer's format in its prompt")


class AuditSettings(_Strict):
    """Which word rules of the training rows the model learnt, looked for when all else is measured."""

    mode: bool | Literal["auto"] = Field(
        "auto",
        description="audit the last checkpoint; auto: where the training rows have 2 to 28 labels and texts are short [ours]",
    )


# Where nothing is compared with anything: no pass, and no split, but those of the checkpoints.
NO_CONTROLS: dict[str, Any] = {
    **dict.fromkeys(("precision", "mask", "reference")),
    **{"draws": 1, "both_scores": False, "tolerance": False},
}


class DynamicsSettings(_Strict):
    """The threshold for salient effects, nulls and intervals."""

    ratio: float = Field(0.05, gt=0, lt=1, description="tau as a fraction of the largest effect [lineage]")
    reference: int | None = Field(None, ge=0, description="reference step of the sets; null: the first [paper]")
    draws: int = Field(200, ge=1, le=10_000, description="draws per null")
    resamples: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="bootstrap resamples: rank correlations, task metrics, comparing checkpoints",
    )


# What is computed from scores, or asks for further ones; all other settings are those of the measurement.
ANALYSIS: dict[str, Any] = dict.fromkeys(("name", "effects", "dynamics", "controls", "baseline", "audit"), True) | {
    "prompt": {"rephrased"},
    "scoring": {"accept_noise"},
}


class Settings(_Strict):
    """Everything a run is made of. `training: null` with `checkpoints.folder` only tracks."""

    name: str = Field("run", description="title of the report")
    seed: int = Field(0, ge=0, lt=2**32, description="of data, words, training and nulls")
    model: ModelSettings
    data: DataSettings
    prompt: PromptSettings = PromptSettings()
    prompts: PromptsSettings = PromptsSettings()
    training: TrainingSettings | None = None
    checkpoints: CheckpointSettings = CheckpointSettings()
    scoring: ScoringSettings = ScoringSettings()
    effects: EffectSettings = EffectSettings()
    task: TaskSettings = TaskSettings()
    baseline: Annotated[tuple[BaselineSettings, ...], _MANY] = Field(
        (), description="one baseline LLM, or a list of them"
    )
    controls: ControlSettings = ControlSettings()
    dynamics: DynamicsSettings = DynamicsSettings()
    audit: AuditSettings = AuditSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        trains, tracks = self.training is not None, self.checkpoints.folder is not None
        has_train = self.data.file is not None or self.data.train is not None
        few = self.prompt.few_shot or self.controls.few_shot or any(b.few_shot for b in self.baseline)
        problems = {
            "nothing to do: set training (to fine-tune) or checkpoints.folder (to track a finished training)": (
                not trains and not tracks
            ),
            "training and checkpoints.folder exclude each other: remove one": trains and tracks,
            "model.device_map is for scoring: train with your own tools and give checkpoints.folder, or remove it": (
                trains and self.model.device_map is not None
            ),
            "training needs data.train: name the rows to train on": trains and not has_train,
            "few_shot examples are taken from data.train: name it, or set few_shot to 0": few and not has_train,
        }
        for problem, applies in problems.items():
            if applies:
                raise ValueError(problem)
        schedule = self.schedule()
        for key, step in (("dynamics", self.dynamics.reference), ("controls", self.controls.reference)):
            if schedule is not None and isinstance(step, int) and step not in schedule:
                raise ValueError(f"{key}.reference is {step}, no measured step: choose one of {schedule}")
        return self

    def measurement(self) -> dict[str, Any]:
        """The settings that scores, training and task metrics depend on, as JSON values: a run folder keeps to them."""
        return self.model_dump(mode="json", exclude=ANALYSIS)

    def without_controls(self) -> "Settings":
        """These settings with only what is measured at every checkpoint."""
        kept = {"both_scores": self.controls.both_scores, "few_shot": 0, "format": None}
        controls = self.controls.model_copy(update=NO_CONTROLS | kept)
        prompt = self.prompt.model_copy(update={"rephrased": ()})
        return self.model_copy(update={"controls": controls, "prompt": prompt, "baseline": ()})

    def schedule(self) -> list[int] | None:
        """The steps to measure, ascending, or None for every checkpoint found."""
        steps = "0, 10, 20, 40, ..." if self.checkpoints.steps is None else self.checkpoints.steps
        if self.training is not None:
            return parse_steps(steps, self.training.steps)
        listed, goes_on = _listed(steps)
        return None if goes_on else sorted({0, *listed})

    def template(
        self, few_shot: Iterable[tuple[str, str]] = (), *, wording: WordingSettings | None = None
    ) -> PromptTemplate:
        """The prompt template, in the run's own wording or another one."""
        wording = wording or self.prompt
        chat, given = self.prompt.chat, self.prompt.chat_template_kwargs
        return PromptTemplate(wording.system, wording.template, chat, tuple(few_shot), given, self.prompt.today)


def parse_steps(steps: str | Iterable[int], last: int) -> list[int]:
    """Checkpoint steps up to `last`, which is always among them, as is 0. Raises ValueError for anything else.

    >>> parse_steps("0, 10, 20, 40, ...", 200)
    [0, 10, 20, 40, 80, 160, 200]
    >>> parse_steps([5, 80], 80)
    [0, 5, 80]
    """
    listed, goes_on = _listed(steps)
    while goes_on and listed[-1] * 2 < last:
        listed.append(listed[-1] * 2)
    if max(listed) > last and not goes_on:  # a start that goes on is a habit, not a claim about this training
        beyond = next(step for step in listed if step > last)
        raise ValueError(f"checkpoints.steps: step {beyond} lies beyond the last training step {last}")
    return sorted({0, last, *(step for step in listed if step <= last)})


def _listed(steps: str | Iterable[int]) -> tuple[list[int], bool]:
    """The steps that are written out, and whether '...' follows them."""
    goes_on = False
    if isinstance(steps, str):
        parts = [part.strip() for part in steps.split(",") if part.strip()]
        goes_on = bool(parts) and parts[-1] in ("...", "…")
        numbers = parts[:-1] if goes_on else parts
        if not numbers or not all(re.fullmatch(r"[0-9]{1,12}", part) for part in numbers):
            raise ValueError(
                f"checkpoints.steps {short(steps)}: give whole numbers with commas, '...' last to go on doubling"
            )
        listed = [int(part) for part in numbers]
        if goes_on and listed[-1] == 0:
            raise ValueError(f"checkpoints.steps {short(steps)}: 0 cannot be doubled, name one more step before '...'")
    else:
        listed = [int(step) for step in steps]
        if not listed:
            raise ValueError("checkpoints.steps is empty: name the steps to measure, or leave it out")
    if any(step < 0 for step in listed):
        raise ValueError(f"checkpoints.steps {listed}: a step cannot be negative")
    return listed, goes_on
