"""The base model at each checkpoint of a training, and hashes of the weights there; `layouts.py` finds the checkpoints.

The base is loaded once; adapters are put on it and taken off again, which leaves it bit-equal: only adapters that touch no
weight of the base are opened, and the tree of modules is put back as it was found, whatever peft did. Full checkpoints are
loaded one at a time. Identical weights under two step numbers are the caller's to judge (`find_twins`): published
suites have served final weights under early names.
"""

import contextlib
import gc
import hashlib
import json
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interplay.data.words import short
from interplay.errors import InterplayError
from interplay.models.layouts import Checkpoint, classify, find_checkpoints, weight_files
from interplay.models.loading import LoadedModel, digest_tensors, load_placed, resolve
from interplay.models.placement import Placement, adapter_joins, gradients_restored, input_device, without_map

__all__ = [
    "Checkpoint",
    "base_name_note",
    "checkpoint_hash",
    "classify",
    "comparable_hashes",
    "find_checkpoints",
    "find_twins",
    "model_at",
]

# What in an adapter's config changes the function its tensors compute; the rest is bookkeeping.
_ADAPTER_SETTINGS = (
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
)
# The same of rarer adapters; hashed where used, so that a plain LoRA's hash is what it was before they were known.
_RARE_SETTINGS = ("feedforward_modules", "target_parameters", "use_qalora", "use_bdlora")

# The kinds of adapter that are put on a base, and the tensors they have beside it.
_TENSORS = {"LORA": r"\.lora_[A-Za-z_]+(\.|$)", "IA3": r"\.ia3_l$"}

# Ways to start LoRA that leave the base as it is; the others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) take their share out of
# the base, and peft does so again, in place, whenever such an adapter is put on.
_STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
# Change the layers or the config of the base, or act on some positions only, which a trie of prompts does not know of.
_FOREIGN = ("layer_replication", "alora_invocation_tokens", "kasa_config", "arrow_config", "megatron_config")


def checkpoint_hash(checkpoint: Checkpoint, base: LoadedModel) -> str:
    """SHA-256 of the weights at a checkpoint, read from its files without building a model.

    The tensors of a full checkpoint; of an adapter, its tensors, the settings that say how they are applied (alpha, rank)
    and the hash of the base, since the same adapter on another base is another model.
    """
    if checkpoint.path is None:
        return base.sha256
    if checkpoint.kind == "full":
        files = weight_files(checkpoint.path)
        if not files:
            raise InterplayError(
                f"{checkpoint.path} holds no model.safetensors any more: give it back, or leave the step out"
            )
        return _file_hash(files)
    config = _adapter_config(checkpoint.path)
    settings = {key: config.get(key) for key in _ADAPTER_SETTINGS}
    settings |= {key: _ordered(config[key]) for key in _RARE_SETTINGS if config.get(key)}
    tensors = _file_hash([checkpoint.path / "adapter_model.safetensors"])
    return hashlib.sha256(json.dumps([base.sha256, tensors, settings], sort_keys=True).encode()).hexdigest()


def _ordered(setting: Any) -> Any:
    """Lists sorted: peft writes them in the order of a set, which is another one in every process."""
    return sorted(setting, key=str) if isinstance(setting, list) else setting


def _file_hash(files: list[Path]) -> str:
    """As `hash_tensors` of all tensors in these files; one tensor is in memory at a time."""
    from safetensors import SafetensorError, safe_open

    try:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
            where = {name: f for f in opened for name in f.keys()}  # noqa: SIM118  (safe_open is no mapping)
            return digest_tensors((name, where[name].get_tensor(name)) for name in sorted(where))
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InterplayError(f"cannot read {files[0].parent} ({reason}): the file is damaged, save it again") from error


def comparable_hashes(
    checkpoints: Sequence[Checkpoint], hashes: Mapping[int, str], base: LoadedModel
) -> dict[int, str]:
    """Hashes in which a full checkpoint that equals the base has the base's.

    The base's own hash is of the loaded model, a full checkpoint's of its file; where the base is a local folder its file is
    hashed too, so that the two can be held against each other.
    """
    found = dict(hashes)
    source, local = resolve(base.name)
    files = weight_files(Path(source)) if local and any(c.kind == "full" for c in checkpoints) else []
    if files:
        found |= {c.step: _file_hash(files) for c in checkpoints if c.kind == "base"}
    return found


def find_twins(hashes: Mapping[int, str]) -> list[tuple[int, int]]:
    """Pairs of steps with identical weights, the earlier first.

    >>> find_twins({0: "a", 10: "b", 20: "b"})
    [(10, 20)]
    """
    first: dict[str, int] = {}
    twins = []
    for step in sorted(hashes):
        if hashes[step] in first:
            twins.append((first[hashes[step]], step))
        else:
            first[hashes[step]] = step
    return twins


@contextlib.contextmanager
def model_at(checkpoint: Checkpoint, base: LoadedModel, *, dtype: str = "float32") -> Generator[Any]:
    """The model at a checkpoint, in evaluation mode. On leaving, the base is as it was.

    Args:
        dtype: for full checkpoints; an adapter takes that of the base.

    Raises InterplayError for an adapter or a full model that does not fit the base, and for adapters other than LoRA, DoRA and IA3.
    """
    if checkpoint.path is None:
        yield base.model
    elif checkpoint.kind == "adapter":
        with gradients_restored(base.model), _restored(base.model):
            yield _adapted(checkpoint.path, base)
    else:
        placement = base.placement
        if placement is None or placement.device_map is None:  # where the base is now, whoever has moved it since
            placement = Placement(str(input_device(base.model)))
        model = load_placed(str(checkpoint.path), placement, dtype=dtype)
        _same_shape(model, base, checkpoint.path)
        try:
            yield model
        finally:
            del model
            gc.collect()


def put_adapter(path: Path, base: LoadedModel) -> LoadedModel:
    """The base with an adapter on it for good; errors as in `model_at`. Its hash is of both; the base's own model is changed."""
    both = f"{base.sha256} {checkpoint_hash(Checkpoint(1, path, 'adapter'), base)}"
    digest = hashlib.sha256(both.encode()).hexdigest()
    return replace(base, model=_adapted(path, base), name=str(path), sha256=digest)


def _adapted(path: Path, base: LoadedModel):
    with without_map(base.model):
        wrapped = _with_adapter(path, base)
    adapter_joins(wrapped, path)
    return wrapped


def _same_shape(model, base: LoadedModel, path: Path) -> None:
    def shape(m) -> dict[str, Any]:
        config = m.config.get_text_config()
        return {
            "vocabulary": m.get_input_embeddings().weight.shape[0],
            "hidden size": getattr(config, "hidden_size", None),
            "number of layers": getattr(config, "num_hidden_layers", None),
            "architecture": config.model_type,
        }

    ours, theirs = shape(base.model), shape(model)
    odd = [name for name in ours if ours[name] != theirs[name]]
    if odd:
        raise InterplayError(
            f"{path} has {odd[0]} {theirs[odd[0]]}, the base {base.name!r} {ours[odd[0]]}: give the base it was trained from"
        )


@contextlib.contextmanager
def _restored(model) -> Generator[None]:
    """Put back the tree of modules, their modes, what needs gradients, and the model's attributes, also after an error.

    peft replaces layers in place, and a load that fails leaves it half done; its own `unload` knows only what it finished.
    """
    tree = [(module, dict(module._modules), module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    attributes = set(model.__dict__)
    try:
        yield
    finally:
        for module, children, training in tree:
            module._modules.clear()
            module._modules.update(children)
            module.training = training
        for parameter, needed in gradients:
            parameter.requires_grad_(needed)
        for added in set(model.__dict__) - attributes:
            del model.__dict__[added]


def _with_adapter(path: Path, base: LoadedModel):
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    config = _adapter_config(path)
    beside = _beside(path, config)
    try:
        with safe_open(path / "adapter_model.safetensors", framework="pt") as f:
            stored = set(f.keys())
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InterplayError(f"cannot read the adapter in {path} ({reason}): save it again") from error
    if inside := sorted(name for name in stored if not beside.search(name)):
        raise InterplayError(
            f"the adapter in {path} holds weights of the base itself (first: {inside[0]}): merge it into its base and "
            "give the whole model as a checkpoint"
        )
    wrong = f"the adapter in {path} does not fit the base {base.name!r}"
    advice = f"give the base it was trained on ({named_base(path) or 'not recorded'})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns of missing keys; they are refused below
            wrapped = PeftModel.from_pretrained(base.model, str(path), is_trainable=False)
            # False: "auto" would ask a hub for the base's config.
            expected = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    except Exception as error:  # shapes, names, unknown settings: peft has a type of error for each
        reason = " ".join(str(error).split())[:160]
        raise InterplayError(f"{wrong}: {advice}; {reason}") from error
    if odd := sorted(stored ^ expected):
        raise InterplayError(f"{wrong}: {len(odd)} weights differ by name (first: {odd[0]}); {advice}")
    return wrapped.eval()


def _beside(path: Path, config: dict[str, Any]) -> re.Pattern[str]:
    """The names of an adapter's tensors that lie beside the base; InterplayError for adapters that would change the base.

    Whole modules that were trained along are kept in copies; any other weight (a bias, an embedding saved along) peft would
    write into the base.
    """
    kind, start = config.get("peft_type"), config.get("init_lora_weights")
    if not isinstance(kind, str) or kind not in _TENSORS:
        raise InterplayError(
            f"the adapter in {path} is of type {short(kind)}: only LoRA adapters (DoRA among them) and IA3 can be put on a base"
        )
    if start not in _STARTS:
        raise InterplayError(
            f"the adapter in {path} was started by {short(start)}, which changes the base: convert it to plain LoRA (peft: "
            "path_initial_model_for_weight_conversion), or merge it and give the whole model as a checkpoint"
        )
    if odd := [key for key in _FOREIGN if config.get(key)]:
        raise InterplayError(
            f"the adapter in {path} uses {odd[0]}, which is more than weights beside a base: merge it into its base and "
            "give the whole model as a checkpoint"
        )
    modules = config.get("modules_to_save") or []
    if not isinstance(modules, list) or not all(isinstance(module, str) and module for module in modules):
        raise InterplayError(
            f"the adapter in {path} has the modules_to_save {short(modules)}, expected a list of names: save it again"
        )
    copied = [re.escape(module) for module in modules]
    return re.compile("|".join([_TENSORS[kind], *(rf"{module}\." for module in copied)]))


def _adapter_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = short(" ".join(str(error).split()), 160)[1:-1]
        raise InterplayError(
            f"cannot read {path / 'adapter_config.json'} ({reason}): save the adapter again"
        ) from error
    if not isinstance(config, dict):
        raise InterplayError(f"{path / 'adapter_config.json'} is not a JSON object: save the adapter again")
    return config


def named_base(path: Path) -> str | None:
    """The base that an adapter's config names, if any."""
    named = _adapter_config(path).get("base_model_name_or_path")
    return named if isinstance(named, str) else None


def base_name_note(checkpoint: Checkpoint, base: LoadedModel) -> str | None:
    """A sentence when an adapter names another base than the one given; names may rightly differ (hub name, local copy).

    It does not name the checkpoint, so that the checkpoints of one training give one sentence.
    """
    if checkpoint.kind != "adapter" or checkpoint.path is None:
        return None
    named = named_base(checkpoint.path)
    if not named or Path(named).name.lower() == Path(base.name).name.lower():
        return None
    note = f"the adapter names its base {named!r}; it was put on {base.name!r}, whose shapes fit"
    if re.search(r"bnb|[48]-?bit|int[48]|gptq|awq|fp8", Path(named).name.lower()):
        note += ". By its name that base was held in few bits: on another one the adapter is not quite the model that trained"
    return note
