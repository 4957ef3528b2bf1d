"""The methods of SFT as peft configs: LoRA [paper], full fine-tuning, DoRA (LoRA with a trained length of every row of
weights), IA3 (one factor for every key, value and hidden feed-forward unit) and QLoRA (LoRA on a base in four bits).
"""

from typing import Any

from interplay.config.settings import TrainingSettings
from interplay.errors import InterplayError, reason_of
from interplay.extras import require
from interplay.models.loading import LoadedModel, load_model, load_tokenizer, resolve
from interplay.models.placement import choose_device
from interplay.models.weights import hash_tensors, refuse_holes

# What a method is called in a report.
NAMES = {"lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA", "ia3": "IA3", "full": "full fine-tuning"}

# Where its paper (Liu et al. 2022, arXiv 2205.05638) puts IA3: keys, values and the input of the second feed-forward product.
# peft's table has queries instead of keys for Qwen and Gemma, so it is used only where these layers do not exist.
_IA3_PAPER = ("k_proj", "v_proj", "down_proj")
# Layers whose input IA3 scales instead of their output, by the last part of their name.
_FEEDFORWARD = ("down_proj", "fc2", "fc_out", "dense_4h_to_h", "w2", "wo")


class SftPlan(TrainingSettings):
    """One fine-tuning: what its settings leave open is decided, and `save_at` are the steps that are saved."""

    seed: int
    bf16: bool
    save_at: tuple[int, ...]


def method_title(method: str, rank: int) -> str:
    return f"{NAMES[method]} r = {rank}" if method in ("lora", "dora", "qlora") else NAMES[method]


def method_notes(method: str, weight_decay: float = 0.0) -> tuple[str, ...]:
    notes = []
    if method == "qlora":
        notes.append(
            "QLoRA trained its adapters on a base rounded to 4 bits; they are measured on the base in the dtype of the "
            "model settings. Step 0 is that base too, so a part of every change may compensate for the rounding."
        )
    if method in ("dora", "ia3") and weight_decay > 0:
        what = "lengths" if method == "dora" else "factors"
        notes.append(
            f"Weight decay pulls the trained {what} of {NAMES[method]} towards 0, not towards those of the base "
            f"(training.weight_decay {weight_decay:g}): set it to 0."
        )
    return tuple(notes)


def adapter_config(plan: SftPlan, base: LoadedModel) -> Any:
    """The peft config for a plan on a base; None if all weights are trained.

    Raises InterplayError for QLoRA on a base that is not in four bits, and for IA3 on an unknown architecture.
    """
    if plan.method == "full":
        return None
    targets = None if plan.targets == "all-linear" else [t.strip() for t in plan.targets.split(",")]
    if plan.method == "ia3":
        return _ia3(targets, base)
    if plan.method == "qlora" and not getattr(base.model, "is_loaded_in_4bit", False):
        raise InterplayError(f"QLoRA needs {base.name!r} in 4 bits: load it with training.methods.load_for_training")
    from peft import LoraConfig

    return LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,  # ty: ignore[invalid-argument-type]  (annotated int, any number works)
        lora_dropout=plan.dropout,
        target_modules=targets or "all-linear",
        use_dora=plan.method == "dora",
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.name,
    )


def _ia3(targets: list[str] | None, base: LoadedModel):
    from peft import IA3Config
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as KNOWN_FEEDFORWARD

    targets = targets or _ia3_targets(base)
    known = KNOWN_FEEDFORWARD.get(base.model.config.get_text_config().model_type, [])
    return IA3Config(
        target_modules=targets,
        feedforward_modules=[t for t in targets if t in known or t.rpartition(".")[2] in _FEEDFORWARD],
        fan_in_fan_out=any(type(m).__name__ == "Conv1D" for m in base.model.modules()),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.name,
    )


def _ia3_targets(base: LoadedModel) -> list[str]:
    """Where IA3 goes if no layers are named: as in its paper, else as in peft's table for the architecture."""
    import torch
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as KNOWN

    linear = [
        name
        for name, module in base.model.named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    ]
    names = {name.rpartition(".")[2] for name in linear}
    if names.issuperset(_IA3_PAPER):
        return list(_IA3_PAPER)
    architecture = base.model.config.get_text_config().model_type
    targets = KNOWN.get(architecture, [])
    if targets and all(any(name.endswith(target) for name in linear) for target in targets):
        return list(targets)
    layers = ", ".join(sorted(names)[:12])
    raise InterplayError(f"IA3 does not know its layers in a {architecture}: set training.targets (it has {layers})")


def widen_adapters(model: Any) -> None:
    """Adapters on a base in four bits as float32 instead of TRL's bfloat16; other models are left alone.

    bfloat16 loses small steps in rounding, and peft opens adapters in float32 when a training is resumed.
    """
    import torch

    if getattr(model, "is_loaded_in_4bit", False):
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.float()


def load_for_training(
    name: str, method: str = "lora", *, device: str = "auto", revision: str | None = None, bf16: bool = False
) -> LoadedModel:
    """The base as a method trains it: in float32, or for QLoRA in four bits; names and errors as in `load_model`.

    bf16: whether training runs under bfloat16 autocast: four-bit weights are then widened to bfloat16, else to float32.
    """
    if method != "qlora":
        return load_model(name, dtype="float32", device=device, revision=revision)
    require("bitsandbytes", what="training.method qlora", otherwise="set it to lora")
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    source, _ = resolve(name, revision)
    # QLoRA's settings (Dettmers et al. 2023): NF4 with double quantisation; products in the precision of the training.
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
    )
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype=torch.float32,
            quantization_config=four_bits,
            device_map={"": choose_device(device)},
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # transformers and bitsandbytes raise a zoo of types here
        raise InterplayError(f"cannot load {name!r} in 4 bits (or train with lora): {reason_of(error)}") from error
    model, info = loaded
    refuse_holes(info, name)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    # The adapters name their base as the user does, as in `load_weights`.
    model.name_or_path = model.config._name_or_path = name
    return LoadedModel(model, load_tokenizer(name, revision=revision), name, hash_tensors(model.state_dict().items()))
