"""Adapters (LoRA, DoRA, IA3) on a base model: which ones fit, putting them on and off without a trace, and their hash."""

import contextlib
import hashlib
import json
import re
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError, reason_of
from interplay.models.layouts import Checkpoint
from interplay.models.placement import adapter_joins
from interplay.models.weights import ADAPTER, hash_files
from interplay.text import short

# Settings of an adapter that change the function its tensors compute.
_SETTINGS = (
    "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern",
)  # fmt: skip
# The same of rarer adapters; hashed only where used, so that the hash of a plain LoRA does not depend on them.
_RARE_SETTINGS = ("feedforward_modules", "target_parameters", "use_qalora", "use_bdlora")

# The types that can be put on a base, and the names of their tensors.
_TENSORS = {"LORA": r"\.lora_[A-Za-z_]+(\.|$)", "IA3": r"\.ia3_l$"}

# Ways to start LoRA that leave the base unchanged. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) subtract a part from
# the base, and peft does so again, in place, whenever such an adapter is put on.
_STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
# These change the layers or the config of the base, or act on some positions only, which the prefix trie cannot do.
_FOREIGN = ("layer_replication", "alora_invocation_tokens", "kasa_config", "arrow_config", "megatron_config")
_MERGE = "merge it into its base and give the whole model as a checkpoint"


def adapter_hash(path: Path, base_sha256: str) -> str:
    """SHA-256 of an adapter on a base: its tensors, the settings that say how they are applied, and the hash of the base."""
    config = _read_config(path)
    settings = {key: config.get(key) for key in _SETTINGS}
    for key in _RARE_SETTINGS:
        if value := config.get(key):  # peft writes lists in the order of a set, which differs between processes
            settings[key] = sorted(value, key=str) if isinstance(value, list) else value
    parts = [base_sha256, hash_files(path, "adapter"), settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "adapter_config.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InterplayError(f"cannot read {file} ({reason_of(error, 160)}): save the adapter again") from error


def named_base(path: Path) -> str | None:
    """The base that an adapter names in its config, or None."""
    named = _read_config(path).get("base_model_name_or_path")
    return named if isinstance(named, str) else None


def base_name_note(checkpoint: Checkpoint, base: str) -> str | None:
    """A sentence when an adapter names another base than the one given; a hub name and its local copy count as one.

    All checkpoints of one training give the same sentence.
    """
    if checkpoint.kind != "adapter" or checkpoint.path is None:
        return None
    if not (named := named_base(checkpoint.path)) or Path(named).name.lower() == Path(base).name.lower():
        return None
    note = f"the adapter names its base {named!r}; it was put on {base!r}, whose shapes fit"
    if re.search(r"bnb|[48]-?bit|int[48]|gptq|awq|fp8", Path(named).name.lower()):
        note += ". By its name that base was held in few bits: on another one the adapter is not quite the model that trained"
    return note


@contextlib.contextmanager
def restored(model: Any) -> Generator[None]:
    """Put back the tree of modules, their modes, what needs gradients, and the model's attributes, also after an error.

    peft's own `unload` does not undo a load that failed. Gradients matter for the numbers too: PyTorch multiplies by a
    weight that needs them in another way, and rounds differently.
    """
    tree = [(module, dict(module._modules), module.training) for module in model.modules()]
    gradients = [
        (module, name, p.requires_grad)  # by name: the hook of an offloaded layer makes new parameters
        for module, _, _ in tree
        for name, p in module._parameters.items()
        if p is not None
    ]
    attributes = set(model.__dict__)
    try:
        yield
    finally:
        for module, children, training in tree:
            module._modules.clear()
            module._modules.update(children)
            module.training = training
        for module, name, needed in gradients:
            module._parameters[name].requires_grad_(needed)
        for added in set(model.__dict__) - attributes:
            del model.__dict__[added]


def put_on(path: Path, model: Any, base: str) -> Any:
    """`model`, which messages call `base`, with an adapter on it; peft changes the model itself (see `restored`).

    Raises InterplayError for an adapter that is damaged, does not fit, would change the base, or is not LoRA, DoRA or IA3.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    own = _own_tensors(path, _read_config(path))
    try:
        with safe_open(path / ADAPTER, framework="pt") as f:
            stored = set(f.keys())
    except (SafetensorError, OSError) as error:
        raise InterplayError(f"cannot read the adapter in {path} ({reason_of(error)}): save it again") from error
    if inside := sorted(name for name in stored if not own.search(name)):
        raise InterplayError(f"the adapter in {path} holds weights of the base itself (first: {inside[0]}): {_MERGE}")
    wrong = f"the adapter in {path} does not fit the base {base!r}"
    advice = f"give the base it was trained on ({named_base(path) or 'not recorded'})"
    # Hidden: peft would take off the hooks of a model that is spread, and spread it anew in its own way.
    device_map = model.__dict__.pop("hf_device_map", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns of missing keys; they are refused below
            wrapped = PeftModel.from_pretrained(model, str(path), is_trainable=False)
            # False: "auto" would ask a hub for the base's config.
            expected = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    except Exception as error:  # shapes, names, unknown settings: peft has a type of error for each
        raise InterplayError(f"{wrong}: {advice}; {reason_of(error)}") from error
    finally:
        if device_map is not None:
            model.hf_device_map = device_map
    if odd := sorted(stored ^ expected):
        raise InterplayError(f"{wrong}: {len(odd)} weights differ by name (first: {odd[0]}); {advice}")
    adapter_joins(wrapped, path)
    return wrapped.eval()


def _own_tensors(path: Path, config: dict[str, Any]) -> re.Pattern[str]:
    """A pattern of the names that an adapter's own tensors have; InterplayError for adapters that would change the base.

    `modules_to_save` are kept as copies; any other weight, such as a bias, peft would write into the base.
    """
    kind, start = str(config.get("peft_type")), config.get("init_lora_weights")
    if kind not in _TENSORS:
        raise InterplayError(
            f"the adapter in {path} is of type {short(kind)}: only LoRA, DoRA and IA3 can be put on a base"
        )
    if start not in _STARTS:
        raise InterplayError(
            f"the adapter in {path} was started by {short(start)}, which changes the base: convert it to plain LoRA (peft: "
            f"path_initial_model_for_weight_conversion), or {_MERGE}"
        )
    if odd := [key for key in _FOREIGN if config.get(key)]:
        raise InterplayError(f"the adapter in {path} uses {odd[0]}, which changes more than weights: {_MERGE}")
    copied = [rf"{re.escape(module)}\." for module in config.get("modules_to_save") or []]
    return re.compile("|".join([_TENSORS[kind], *copied]))
