"""The methods of SFT: which weights are trained, as peft's configs, and the base loaded as the method needs it.

LoRA [paper], full fine-tuning, DoRA (LoRA with a trained length of every row of weights), IA3 (one factor for every key,
value and hidden feed-forward unit) and QLoRA (LoRA beside a base held in four bits). The training itself is `sft.py`'s.
"""

from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError
from interplay.extras import require
from interplay.models.loading import LoadedModel, load_model, load_tokenizer, resolve
from interplay.models.placement import choose_device
from interplay.models.weights import hash_tensors

if TYPE_CHECKING:
    from interplay.training.sft import SftPlan

# What a method is called in a report.
_NAMES = {"lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA", "ia3": "IA3", "full": "full fine-tuning"}
METHODS = tuple(_NAMES)

# Where IA3 is put in its paper (Liu et al. 2022, arXiv 2205.05638): keys, values, and what goes into the second feed-forward
# product. peft's own table has queries for keys in Qwen and Gemma, so the layers' names decide, and its table comes second.
_IA3_PAPER = ("k_proj", "v_proj", "down_proj")
# Layers whose input IA3 scales instead of their output, by the last part of their name.
_FEEDFORWARD = ("down_proj", "fc2", "fc_out", "dense_4h_to_h", "w2", "wo")


def method_title(method: str, rank: int) -> str:
    """How a method stands in a report.

    >>> method_title("dora", 8), method_title("ia3", 8), method_title("full", 8)
    ('DoRA r = 8', 'IA3', 'full fine-tuning')
    """
    return f"{_NAMES[method]} r = {rank}" if method in ("lora", "dora", "qlora") else _NAMES[method]


def method_notes(method: str, weight_decay: float = 0.0) -> tuple[str, ...]:
    """What a reader of the report must know about a method.

    >>> method_notes("lora", 0.1), len(method_notes("qlora")), len(method_notes("ia3", 0.1))
    ((), 1, 1)
    """
    notes = []
    if method == "qlora":
        notes.append(
            "QLoRA trained its adapters beside a base rounded to 4 bits; they are measured on the base in the dtype of the "
            "model settings, as adapters are commonly deployed. Step 0 is that base too, so a part of every change may be "
            "the adapters' answer to the rounding."
        )
    if method in ("dora", "ia3") and weight_decay > 0:
        what = "lengths" if method == "dora" else "factors"
        notes.append(
            f"Weight decay pulls the trained {what} of {_NAMES[method]} towards 0, not towards those of the base "
            f"(training.weight_decay {weight_decay:g}): set it to 0."
        )
    return tuple(notes)


def adapter_config(plan: "SftPlan", base: LoadedModel) -> Any:
    """peft's config for a plan on a base; None where all weights are trained.

    Raises InterplayError for an unknown method, for QLoRA on a base that is not held in four bits, and for IA3 where nobody
    knows which layers are keys, values and feed-forward outputs.
    """
    if plan.method not in METHODS:
        raise InterplayError(f"unknown training.method {plan.method!r}: choose one of {', '.join(METHODS)}")
    if plan.method == "full":
        return None
    if plan.method == "ia3":
        return _ia3(plan, base)
    if plan.method == "qlora" and not getattr(base.model, "is_loaded_in_4bit", False):
        raise InterplayError(
            f"QLoRA needs {base.name!r} in 4 bits, it is in {next(base.model.parameters()).dtype}: load it with "
            "interplay.training.methods.load_for_training"
        )
    from peft import LoraConfig

    return LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,  # ty: ignore[invalid-argument-type]  (annotated int, any number works)
        lora_dropout=plan.dropout,
        target_modules="all-linear" if plan.targets == "all-linear" else _split(plan.targets),
        use_dora=plan.method == "dora",
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.name,
    )


def _split(targets: str) -> list[str]:
    return [t.strip() for t in targets.split(",")]


def _ia3(plan: "SftPlan", base: LoadedModel):
    from peft import IA3Config
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as KNOWN_FEEDFORWARD

    targets = _ia3_targets(base) if plan.targets == "all-linear" else _split(plan.targets)
    known = KNOWN_FEEDFORWARD.get(base.model.config.get_text_config().model_type, [])
    return IA3Config(
        target_modules=targets,
        feedforward_modules=[t for t in targets if t in known or t.rpartition(".")[2] in _FEEDFORWARD],
        fan_in_fan_out=any(type(m).__name__ == "Conv1D" for m in base.model.modules()),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.name,
    )


def _ia3_targets(base: LoadedModel) -> list[str]:
    """Where IA3 goes when no layers are named: as in its paper, else as peft's table says for the architecture."""
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as KNOWN

    linear = [name for name, module in base.model.named_modules() if _is_linear(module)]
    names = {name.rpartition(".")[2] for name in linear}
    if names.issuperset(_IA3_PAPER):
        return list(_IA3_PAPER)
    architecture = base.model.config.get_text_config().model_type
    targets = KNOWN.get(architecture, [])
    if targets and all(any(name.endswith(target) for name in linear) for target in targets):
        return list(targets)
    raise InterplayError(
        f"IA3 does not know its layers in a {architecture}: set training.targets to those of keys, values and feed-forward "
        f"outputs (it has {', '.join(sorted(names)[:12])})"
    )


def _is_linear(module: Any) -> bool:
    import torch

    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def widen_adapters(model: Any) -> None:
    """Float32 for the adapters beside a base in four bits, which TRL makes bfloat16; other models are left alone.

    In bfloat16 (8 bits) a step of 1e-4 on a weight of 0.02 is lost in rounding; and peft opens adapters in float32, so that
    a training that was cut off would go on in another precision than it began.
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

    Args:
        bf16: whether training runs under bfloat16 autocast: four-bit weights are then widened to bfloat16, else to float32.
    """
    if method != "qlora":
        return load_model(name, dtype="float32", device=device, revision=revision)
    require("bitsandbytes", what="training.method qlora", otherwise="set it to lora")
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM

    source, _ = resolve(name, revision)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype=torch.float32,
            quantization_config=four_bits(bf16),
            device_map={"": choose_device(device)},
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # transformers and bitsandbytes raise a zoo of types here
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InterplayError(f"cannot load {name!r} in 4 bits (set training.method to lora): {reason}") from error
    model, info = loaded
    if missing := sorted(info.get("missing_keys") or ()):
        raise InterplayError(
            f"{name!r} lacks {len(missing)} weights its config asks for (first: {missing[0]}): the folder is incomplete"
        )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    # What the adapters will call their base: the name the user knows, as in `load_weights`.
    model.name_or_path = model.config._name_or_path = name
    return LoadedModel(model, load_tokenizer(name, revision=revision), name, hash_tensors(model.state_dict().items()))


def four_bits(bf16: bool) -> Any:
    """QLoRA's numbers (Dettmers et al. 2023): NF4, its scales rounded too, products in 16 bits where training has them."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
    )
