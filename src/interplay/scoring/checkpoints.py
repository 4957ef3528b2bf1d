"""The `checkpoint-*` folders a training left, and the base model at each of them.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError
from interplay.scoring.models import LoadedModel, digest_tensors, load_weights, resolve

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


@dataclass(frozen=True)
class Checkpoint:
    """One state of the model: optimiser step, its folder (None: the base itself), and what the folder holds."""

    step: int
    path: Path | None
    kind: str  # "base" | "adapter" | "full"


def classify(folder: Path) -> str | None:
    """'adapter', 'full' or None for a folder; pickled weights alone are refused."""
    if (folder / "adapter_model.safetensors").exists() and (folder / "adapter_config.json").exists():
        return "adapter"
    if (folder / "config.json").exists() and (
        (folder / "model.safetensors").exists() or (folder / "model.safetensors.index.json").exists()
    ):
        return "full"
    pickled = [p.name for pattern in ("adapter_model.bin", "pytorch_model*.bin") for p in folder.glob(pattern)]
    if pickled:
        raise InterplayError(
            f"{folder} holds pickled weights only ({pickled[0]}), which are not opened: save it again as safetensors"
        )
    return None


def find_checkpoints(folder: Path, steps: list[int] | None = None) -> list[Checkpoint]:
    """Step 0 (the base) and every `checkpoint-<step>` in `folder`, ascending; only `steps` if given.

    Raises InterplayError when the folder is missing, holds no checkpoint, or lacks a step asked for.
    """
    if not folder.is_dir():
        raise InterplayError(f"no checkpoints folder at {str(folder)!r}: give the output folder of a training run")
    found = {0: Checkpoint(0, None, "base")}
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if not match or not path.is_dir():
            continue
        kind = classify(path)
        if kind is not None:
            step = int(match[1])
            if step in found and found[step].path is not None:
                raise InterplayError(f"{found[step].path} and {path.name} are both step {step}: remove one of them")
            found[step] = Checkpoint(step, path, kind)
    if len(found) == 1:
        raise InterplayError(
            f"{str(folder)!r} holds no checkpoint-<step> folder with adapter_model.safetensors or model.safetensors: "
            "give the output folder of a training run"
        )
    if steps is not None:
        lacking = sorted(set(steps) - set(found))
        if lacking:
            raise InterplayError(f"no checkpoint for step {lacking[0]} in {str(folder)!r}: it holds {sorted(found)}")
        found = {step: found[step] for step in steps}
    return [found[step] for step in sorted(found)]


def checkpoint_hash(checkpoint: Checkpoint, base: LoadedModel) -> str:
    """SHA-256 of the weights at a checkpoint, read from its files without building a model.

    The tensors of a full checkpoint; of an adapter, its tensors, the settings that say how they are applied (alpha, rank)
    and the hash of the base, since the same adapter on another base is another model.
    """
    if checkpoint.path is None:
        return base.sha256
    if checkpoint.kind == "full":
        return _file_hash(sorted(checkpoint.path.glob("model*.safetensors")))
    config = _adapter_config(checkpoint.path)
    settings = {key: config.get(key) for key in _ADAPTER_SETTINGS}
    tensors = _file_hash([checkpoint.path / "adapter_model.safetensors"])
    return hashlib.sha256(json.dumps([base.sha256, tensors, settings], sort_keys=True).encode()).hexdigest()


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
    files = sorted(Path(source).glob("model*.safetensors")) if local else []
    if files and any(c.kind == "full" for c in checkpoints):
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

    Raises InterplayError for an adapter or a full model that does not fit the base, and for adapters other than LoRA.
    """
    if checkpoint.path is None:
        yield base.model
    elif checkpoint.kind == "adapter":
        with _restored(base.model):
            yield _with_adapter(checkpoint.path, base)
    else:
        model = load_weights(str(checkpoint.path), dtype=dtype, device=str(next(base.model.parameters()).device))
        _same_shape(model, base, checkpoint.path)
        try:
            yield model
        finally:
            del model
            gc.collect()


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
    kind = config.get("peft_type")
    if kind != "LORA":
        raise InterplayError(f"the adapter in {path} is of type {kind!r}: only LoRA adapters can be put on a base")
    try:
        with safe_open(path / "adapter_model.safetensors", framework="pt") as f:
            stored = set(f.keys())
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InterplayError(f"cannot read the adapter in {path} ({reason}): save it again") from error
    # Whole modules that were trained along are kept in copies; any other weight (a bias, an embedding saved along) peft
    # would write into the base.
    copied = [re.escape(str(module)) for module in config.get("modules_to_save") or ()]
    beside = re.compile("|".join([r"\.lora_[A-Za-z_]+(\.|$)", *(rf"{module}\." for module in copied)]))
    if inside := sorted(name for name in stored if not beside.search(name)):
        raise InterplayError(
            f"the adapter in {path} holds weights of the base itself (first: {inside[0]}): merge it into its base and "
            "give the whole model as a checkpoint"
        )
    wrong = f"the adapter in {path} does not fit the base {base.name!r}"
    advice = f"give the base it was trained on ({_named_base(path) or 'not recorded'})"
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


def _adapter_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InterplayError(f"cannot read {path / 'adapter_config.json'} ({error}): save the adapter again") from error
    if not isinstance(config, dict):
        raise InterplayError(f"{path / 'adapter_config.json'} is not a JSON object: save the adapter again")
    return config


def _named_base(path: Path) -> str | None:
    named = _adapter_config(path).get("base_model_name_or_path")
    return named if isinstance(named, str) else None


def base_name_note(checkpoint: Checkpoint, base: LoadedModel) -> str | None:
    """A sentence when an adapter names another base than the one given; names may rightly differ (hub name, local copy)."""
    if checkpoint.kind != "adapter" or checkpoint.path is None:
        return None
    named = _named_base(checkpoint.path)
    if named and Path(named).name.lower() != Path(base.name).name.lower():
        return f"adapter {checkpoint.path.name} names its base {named!r}; it was put on {base.name!r}, whose shapes fit"
    return None
