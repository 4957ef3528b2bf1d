"""The `checkpoint-*` folders a training left, and the base model at each of them.

The base is loaded once; adapters are put on it and taken off again, which leaves its weights bit-equal. Full checkpoints
are loaded one at a time. Identical weights under two step numbers are the caller's to judge (`find_twins`): published
suites have served final weights under early names.
"""

import contextlib
import gc
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError
from interplay.scoring.models import LoadedModel, hash_tensors, load_model


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
    for path in folder.iterdir():
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if not match or not path.is_dir():
            continue
        kind = classify(path)
        if kind is not None:
            found[int(match[1])] = Checkpoint(int(match[1]), path, kind)
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
    """SHA-256 of the tensors of a checkpoint, read from its files without building a model."""
    if checkpoint.path is None:
        return base.sha256
    from safetensors import SafetensorError, safe_open

    pattern = "adapter_model.safetensors" if checkpoint.kind == "adapter" else "model*.safetensors"
    tensors = {}
    try:
        for file in sorted(checkpoint.path.glob(pattern)):
            with safe_open(file, framework="pt") as f:
                tensors |= {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except SafetensorError as error:
        raise InterplayError(f"cannot read {checkpoint.path} ({error}): the file is damaged, save it again") from error
    return hash_tensors(tensors.items())


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
def model_at(checkpoint: Checkpoint, base: LoadedModel, *, dtype: str = "float32") -> Iterator[Any]:
    """The model at a checkpoint. On leaving, the base is as it was.

    Raises InterplayError for an adapter or a full model that does not fit the base.
    """
    if checkpoint.path is None:
        yield base.model
        return
    if checkpoint.kind == "adapter":
        wrapped = _with_adapter(checkpoint.path, base)
        try:
            yield wrapped
        finally:
            _take_off(wrapped)
        return
    loaded = load_model(str(checkpoint.path), dtype=dtype, device=str(next(base.model.parameters()).device))
    _same_vocabulary(loaded.model, base, checkpoint.path)
    try:
        yield loaded.model
    finally:
        del loaded
        gc.collect()


def _same_vocabulary(model, base: LoadedModel, path: Path) -> None:
    ours, theirs = base.model.get_input_embeddings().weight.shape[0], model.get_input_embeddings().weight.shape[0]
    if ours != theirs:
        raise InterplayError(
            f"{path} has a vocabulary of {theirs} tokens, the base {base.name!r} {ours}: give the base it was trained from"
        )


def _with_adapter(path: Path, base: LoadedModel):
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    wrong = f"the adapter in {path} does not fit the base {base.name!r}"
    advice = f"give the base it was trained on ({_named_base(path) or 'not recorded'})"
    wrapped = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns of missing keys; they are refused below
            wrapped = PeftModel.from_pretrained(base.model, str(path), is_trainable=False)
        with safe_open(path / "adapter_model.safetensors", framework="pt") as f:
            stored = set(f.keys())
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        # peft edits the base before it finds a mismatch, so what it has wrapped by now must come off again.
        _unwrap_remains(base.model)
        reason = " ".join(str(error).split())[:160]
        raise InterplayError(f"{wrong}: {advice}; {reason}") from error
    expected = set(get_peft_model_state_dict(wrapped))
    if stored != expected:
        odd = sorted(stored ^ expected)
        _take_off(wrapped)
        raise InterplayError(f"{wrong}: {len(odd)} weights differ by name (first: {odd[0]}); {advice}")
    return wrapped.eval()


def _named_base(path: Path) -> str | None:
    try:
        config = json.loads((path / "adapter_config.json").read_text())
    except (OSError, ValueError):
        return None
    return config.get("base_model_name_or_path") if isinstance(config, dict) else None


def base_name_note(checkpoint: Checkpoint, base: LoadedModel) -> str | None:
    """A sentence when an adapter names another base than the one given; names may rightly differ (hub name, local copy)."""
    if checkpoint.kind != "adapter" or checkpoint.path is None:
        return None
    named = _named_base(checkpoint.path)
    if named and Path(named).name.lower() != Path(base.name).name.lower():
        return f"adapter {checkpoint.path.name} names its base {named!r}; it was put on {base.name!r}, whose shapes fit"
    return None


def _take_off(wrapped) -> None:
    core = wrapped.unload()
    for attribute in ("peft_config", "_hf_peft_config_loaded"):
        core.__dict__.pop(attribute, None)


def _unwrap_remains(model) -> None:
    """Put back the plain layers that a failed adapter load left wrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)]
    for name, layer in reversed(wrapped):
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    model.__dict__.pop("peft_config", None)
