"""Settings of a run: one frozen, strict description from YAML, `--set a.b=c` and defaults.

Unknown keys are refused with the nearest known name; duplicate YAML keys too. Every field is read somewhere. Marks in
brackets say whose constant a default is: [paper], [lineage] or [ours].
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from interplay.data.sources import FORM_NAMES
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(_Strict):
    """The LLM that is fine-tuned, or whose checkpoints are tracked."""

    name: str = Field(description="hub name, local folder or GGUF file")
    revision: str | None = Field(None, description="hub revision")
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = Field(
        "float32", description="of scoring; 16-bit rounding looks like noise interactions"
    )
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps; auto takes a GPU when there is one")


class DataSettings(_Strict):
    """Rows to train on, to evaluate on, and to choose probe prompts from."""

    train: str | None = Field(None, description="file, emotions:SPLIT or hub:owner/name; needed to train")
    eval: str | None = Field(None, description="held-out rows for eval loss and accuracy; null measures neither")
    probes: str = Field(description="rows the probe prompts are chosen from; must be held out")
    form: Literal[FORM_NAMES] = "auto"  # ty: ignore[invalid-type-form]
    columns: dict[str, str] = Field(default_factory=dict, description="role: column, for example text: comment")
    train_rows: int | None = Field(None, ge=1, description="use at most this many training rows (seeded choice)")
    eval_rows: int | None = Field(200, ge=1, description="use at most this many eval rows (seeded choice)")


class WordingSettings(_Strict):
    """How a prompt is worded: the text goes where {text} stands."""

    system: str | None = Field(None, description="system message; null leaves it to the chat template")
    template: str = Field("{text}", description="the user message; holds {text} once")


class PromptSettings(WordingSettings):
    """The wording that training and scoring share, and a trivially different one for the churn floor."""

    chat: Literal["auto"] | bool = Field("auto", description="use the tokenizer's chat template: auto = if it has one")
    few_shot: int = Field(0, ge=0, description="training rows put before the prompt as examples")
    rephrased: WordingSettings | None = Field(
        default_factory=lambda: WordingSettings(template="Please answer.\n{text}"),
        description="second wording at the reference step: the churn floor; null leaves the floor out",
    )


class ProbeSettings(_Strict):
    """The held-out prompts whose interactions are extracted."""

    count: int = Field(12, ge=1)
    n: int = Field(10, ge=1, le=16, description="words per prompt [lineage: 10]; 2^n forward passes each")


class TrainingSettings(_Strict):
    """Supervised fine-tuning with TRL's SFTTrainer. Rank, rate, schedule and targets are the paper's."""

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(8, ge=1, description="LoRA rank [paper]")
    alpha: float = Field(16, gt=0, description="LoRA alpha [ours]")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout [ours]")
    targets: str = Field("all-linear", description="LoRA target modules [paper: all linear layers]")
    learning_rate: float = Field(1e-4, gt=0, description="[paper]")
    scheduler: str = Field("cosine", description="learning-rate schedule [paper]")
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    batch_size: int = Field(8, ge=1, description="rows per device and micro-step")
    accumulation: int = Field(1, ge=1, description="micro-steps per optimiser step")
    steps: int = Field(ge=1, description="optimiser steps")
    max_length: int | None = Field(1024, ge=8, description="longer rows are cut by TRL")
    bf16: bool | Literal["auto"] = Field("auto", description="bfloat16 autocast; auto: where the hardware has it")


class CheckpointSettings(_Strict):
    """Which steps are measured, and where checkpoints of another training lie."""

    steps: tuple[int, ...] | str | None = Field(
        "0, 10, 20, 40, ...", description="a list, or a start that '...' goes on doubling to the last step; null: all"
    )
    folder: str | None = Field(None, description="output folder of a finished training; then nothing is trained")


class ScoringSettings(_Strict):
    """How v is evaluated."""

    mask: str | int | None = Field(None, description="baseline token; null: unk, pad or a reserved one [lineage]")
    target_tokens: int = Field(1, ge=1, description="response tokens scored [paper: 1]")
    among_labels: bool = Field(False, description="log-odds among the labels' first tokens only")
    batch_tokens: int = Field(4096, ge=1, description="tokens per forward pass")
    noise_coalitions: int = Field(4, ge=0, description="coalitions evaluated a second time to measure numerical noise")


class EffectSettings(_Strict):
    """The sparse AND-OR split."""

    gap: float = Field(1e-3, gt=0, description="certified relative duality gap [ours]")
    tolerance: float | Literal["auto"] = Field(
        "auto",
        description="delta; auto: 0.02 |v(N) - v(empty)|, mean at step 0 [lineage], at least 3 sigma of noise [ours]",
    )
    ratio: float = Field(0.05, gt=0, lt=1, description="tau as a share of the largest effect [lineage]")


class BaselineSettings(WordingSettings):
    """The baseline LLM v' that generalizability is measured against; best of another architecture family."""

    name: str
    revision: str | None = None
    chat: Literal["auto"] | bool = "auto"
    few_shot: int = Field(
        6, ge=0, description="training rows as examples, so that a base model knows the format [ours]"
    )


class DynamicsSettings(_Strict):
    """Nulls and intervals."""

    reference: int | None = Field(
        None, ge=0, description="reference step of removed / preserved / emerged; null: the first [paper]"
    )
    draws: int = Field(200, ge=1, description="draws per null")
    resamples: int = Field(1000, ge=1, description="bootstrap resamples over samples")


class Settings(_Strict):
    """Everything a run is made of. `training: null` with `checkpoints.folder` only tracks."""

    name: str = Field("run", description="title of the report")
    seed: int = Field(0, ge=0)
    model: ModelSettings
    data: DataSettings
    prompt: PromptSettings = PromptSettings()
    probes: ProbeSettings = ProbeSettings()
    training: TrainingSettings | None = None
    checkpoints: CheckpointSettings = CheckpointSettings()
    scoring: ScoringSettings = ScoringSettings()
    effects: EffectSettings = EffectSettings()
    baseline: BaselineSettings | None = None
    dynamics: DynamicsSettings = DynamicsSettings()

    @field_validator("checkpoints")
    @classmethod
    def _steps_parse(cls, value: CheckpointSettings) -> CheckpointSettings:
        if isinstance(value.steps, str):
            parse_steps(value.steps, 1 << 30)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if self.training is None and self.checkpoints.folder is None:
            raise ValueError(
                "nothing to do: set training (to fine-tune) or checkpoints.folder (to track a finished training)"
            )
        if self.training is not None and self.checkpoints.folder is not None:
            raise ValueError("training and checkpoints.folder exclude each other: remove one")
        if self.training is not None and self.data.train is None:
            raise ValueError("training needs data.train: name the rows to train on")
        few = self.prompt.few_shot or (self.baseline.few_shot if self.baseline else 0)
        if few and self.data.train is None:
            raise ValueError("few_shot examples are taken from data.train: name it, or set few_shot to 0")
        return self

    def schedule(self) -> list[int] | None:
        """The steps to measure, or None for every checkpoint found.

        >>> data = {"model": {"name": "m"}, "data": {"train": "t", "probes": "p"}, "training": {"steps": 100}}
        >>> Settings(**data).schedule()
        [0, 10, 20, 40, 80, 100]
        """
        steps = self.checkpoints.steps
        if self.training is None:
            return None if steps is None or isinstance(steps, str) else sorted({0, *steps})
        return parse_steps("0, 10, 20, 40, ..." if steps is None else steps, self.training.steps)

    def template(self, few_shot: Iterable[tuple[str, str]] = (), *, rephrased: bool = False) -> PromptTemplate:
        """The prompt template, or the rephrased one."""
        wording = self.prompt.rephrased if rephrased and self.prompt.rephrased else self.prompt
        return PromptTemplate(
            system=wording.system, template=wording.template, chat=self.prompt.chat, few_shot=tuple(few_shot)
        )


def parse_steps(steps: str | Iterable[int], last: int) -> list[int]:
    """Checkpoint steps up to `last`, which is always among them, as is 0.

    >>> parse_steps("0, 10, 20, 40, ...", 200)
    [0, 10, 20, 40, 80, 160, 200]
    >>> parse_steps([5, 80], 80)
    [0, 5, 80]
    """
    if isinstance(steps, str):
        parts = [part.strip() for part in steps.split(",") if part.strip()]
        goes_on = bool(parts) and parts[-1] in ("...", "…")
        numbers = parts[:-1] if goes_on else parts
        if not numbers or not all(re.fullmatch(r"\d+", part) for part in numbers):
            raise ValueError(f"steps {steps!r}: give whole numbers with commas, '...' last to go on doubling")
        listed = [int(part) for part in numbers]
        if goes_on and listed[-1] == 0:
            raise ValueError(f"steps {steps!r}: 0 cannot be doubled, name one more step before '...'")
        while goes_on and listed[-1] * 2 < last:
            listed.append(listed[-1] * 2)
    else:
        listed = [int(step) for step in steps]
    if any(step < 0 for step in listed):
        raise ValueError(f"steps {listed}: a step cannot be negative")
    beyond = [step for step in listed if step > last]
    if beyond and not isinstance(steps, str):
        raise ValueError(f"checkpoint step {beyond[0]} lies beyond the last training step {last}")
    return sorted({0, last, *(step for step in listed if step <= last)})


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice, where plain YAML silently keeps the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise InterplayError(
                    f"settings line {key_node.start_mark.line + 1}: key {key!r} stands twice, keep one"
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_settings(source: Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> Settings:
    """Settings from a YAML file (or a mapping) and `a.b=c` overrides, whose values are read as YAML.

    Raises InterplayError in one line that names the key, what was given and what is expected.
    """
    if isinstance(source, Path):
        try:
            raw = _UniqueKeys(source.read_text(encoding="utf-8")).get_single_data()
        except FileNotFoundError:
            raise InterplayError(f"no settings file at {str(source)!r}: give a YAML file") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise InterplayError(
                f"cannot read settings {str(source)!r}: {' '.join(str(error).split())[:200]}"
            ) from error
        if not isinstance(raw, dict):
            raise InterplayError(f"settings {str(source)!r} hold {type(raw).__name__}, expected a mapping of keys")
    else:
        raw = dict(source)
    for override in overrides:
        raw = _override(raw, override)
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise InterplayError(_first_problem(error)) from error


def _override(raw: dict, override: str) -> dict:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InterplayError(f"--set {override!r}: write it as section.key=value")
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:
        value = text
    *parents, leaf = key.strip().split(".")
    copy = dict(raw)
    inner = copy
    for parent in parents:
        child = inner.get(parent)
        if child is not None and not isinstance(child, dict):
            raise InterplayError(f"--set {override!r}: {parent!r} is a value, not a section")
        inner[parent] = dict(child or {})
        inner = inner[parent]
    inner[leaf] = value
    return copy


def _known_names(path: tuple) -> list[str]:
    """Field names of the section that holds the key at `path`."""
    model: Any = Settings
    for part in path[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            return []
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        known = _known_names(first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"unknown settings key {where!r}: {hint}"
    if first["type"] == "missing":
        return f"settings key {where!r} is missing: it must be given"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f", given {str(first['input'])[:80]!r}"
    return f"settings key {where!r}: {message}{given}"


def dump_settings(settings: Settings) -> str:
    """Settings as YAML with every default written out; loading it gives the same settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Human-readable differences between two settings mappings.

    >>> difference({"probes": {"n": 7}, "seed": 0}, {"probes": {"n": 8}, "seed": 0})
    ['probes.n: 7 -> 8']
    """
    lines = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines


def default_folder(settings: Settings) -> Path:
    """`runs/NAME-HASH`: the same settings find their run again, other settings get a folder of their own."""
    import hashlib

    slug = re.sub(r"[^a-z0-9]+", "-", settings.name.lower()).strip("-")[:40] or "run"
    return Path("runs") / f"{slug}-{hashlib.sha256(dump_settings(settings).encode()).hexdigest()[:8]}"
