"""Weights in safetensors files: which files hold them, their hash, and whether a model can be made of them. Builds no model."""

import contextlib
import hashlib
import json
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError, reason_of
from interplay.text import short

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter_model.safetensors"
# What DDP and DeepSpeed (in front) and torch.compile, FSDP and activation checkpointing (anywhere) put into the names of weights.
_WRAPPER = r"_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module"
WRAPPED = rf"^(?:(?:module|{_WRAPPER})\.)+|(?<=\.)(?:(?:{_WRAPPER})\.)+"
# Buffers of older transformers, TRL's value head, what sees and hears, and heads that predict further tokens: no text of a
# causal LM passes through them.
_IDLE = re.compile(
    r"(^|\.)(inv_freq|position_ids|masked_bias|(attn|attention)\.bias)$"
    r"|(^|\.)(v_head|visual|vision_\w+|audio_\w+|embed_(vision|audio)|multi_modal_projector|mtp)\."
)
_NUMBERS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}  # float8 without scales is a float like others


def weight_files(folder: Path, kind: str = "full") -> list[Path]:
    """The safetensors files of an "adapter" or a "full" model, [] without any.

    Raises InterplayError for an index that cannot be read or that names a missing shard.
    """
    if kind == "adapter":
        return [folder / ADAPTER]
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if not index.exists():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        lacking = [name for name in names if not (folder / name).is_file()]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InterplayError(f"cannot read {index} ({type(error).__name__}): save the checkpoint again") from error
    if lacking:
        lacks = (
            f"lacks {len(lacking)} of the {len(names)} files its index names (first: {short(lacking[0], 120)[1:-1]})"
        )
        raise InterplayError(f"{folder} {lacks}: copy it again in full")
    return [folder / name for name in names]


def tensors_end(file: Path) -> int:
    """Where the last tensor of a safetensors file ends, in bytes, by its header. Unlike `safe_open` this imports no NumPy."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(min(size, file.stat().st_size)))
    return 8 + size + max((one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"), default=0)


def refuse_holes(info: dict[str, Any], name: object) -> None:
    """InterplayError where `from_pretrained` found no value for some weights, or one of another shape, and drew random ones."""
    if odd := sorted(info.get("mismatched_keys") or ()):
        key, stored, wanted = odd[0]
        raise InterplayError(
            f"{str(name)!r} holds {len(odd)} weights of another shape than its config.json asks for (first: {key}, "
            f"{list(stored)} for {list(wanted)}): get both from one place"
        )
    if missing := sorted(info.get("missing_keys") or ()):
        lacks = f"lacks {len(missing)} weights of its model (first: {missing[0]})"
        raise InterplayError(f"{str(name)!r} {lacks}: get it again")


def refuse_misfit(info: dict[str, Any], name: object) -> None:
    """InterplayError where `from_pretrained` had no value for a weight, or left out one that the model should have used."""
    refuse_holes(info, name)
    if odd := sorted(key for key in info.get("unexpected_keys") or () if not _IDLE.search(key)):
        cause = "packed without quantization_config" if "scale" in odd[0] else "fewer layers?"
        raise InterplayError(
            f"{str(name)!r} holds {len(odd)} weights that its architecture does not know (first: {odd[0]}): its config.json "
            f"describes another model ({cause}); give the one that was saved with these weights"
        )


def loading_options(folder: Path, name: object) -> dict[str, Any]:
    """What `from_pretrained` needs to know of the names of a folder's weights.

    Raises InterplayError where weights are integers and no quantization_config says what they stand for.
    """
    from safetensors import SafetensorError

    try:
        packed = dict(json.loads((folder / "config.json").read_text(encoding="utf-8"))).get("quantization_config")
        with _opened(folder, "full") as files:
            kinds = {key: f.get_slice(key).get_dtype() for key, f in files.items() if not _IDLE.search(key)}
    except (OSError, ValueError, TypeError, SafetensorError, InterplayError):
        return {}  # said when it is loaded
    # Buffers, such as masks, may be integers.
    odd = sorted(k for k, kind in kinds.items() if kind not in _NUMBERS and k.endswith((".weight", ".bias", "_proj")))
    if odd and not packed:
        raise InterplayError(
            f"{str(name)!r} holds {len(odd)} weights of type {kinds[odd[0]]} (first: {odd[0]}), and its config.json has no "
            "quantization_config: give the checkpoint that the quantiser wrote, or dequantise first"
        )
    return {"key_mapping": {WRAPPED: ""}} if any(re.search(WRAPPED, key) for key in kinds) else {}


def hash_tensors(named: "Iterable[tuple[str, torch.Tensor]]", *, ordered: bool = False) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of tensors in the order of their names: equal for identical weights.

    Tensors that are `ordered` already are held one at a time.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in named if ordered else sorted(named, key=lambda pair: pair[0]):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(data.shape)}|{data.dtype}|".encode())
        digest.update(data.view(-1).view(torch.uint8).numpy() if data.numel() else b"")
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(folder: Path, kind: str) -> Generator[dict[str, Any]]:
    """The open file of each tensor, by the tensor's name."""
    from safetensors import safe_open

    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(safe_open(file, framework="pt")) for file in weight_files(folder, kind)]
        yield {name: f for f in opened for name in f.keys()}  # noqa: SIM118  (safe_open has no __iter__)


def hash_files(folder: Path, kind: str = "full") -> str:
    """`hash_tensors` of all tensors in a folder's files; InterplayError where they cannot be read."""
    from safetensors import SafetensorError

    try:
        with _opened(folder, kind) as files:
            return hash_tensors(((name, files[name].get_tensor(name)) for name in sorted(files)), ordered=True)
    except (SafetensorError, OSError) as error:
        damaged = f"the file is damaged, save it again ({reason_of(error)})"
        raise InterplayError(f"cannot read {folder}: {damaged}") from error


def same_weights(a: Path, b: Path, kind: str) -> bool:
    """Whether two folders of one kind hold the same tensors, bit by bit."""
    from safetensors import SafetensorError

    def one(files: dict[str, Any], name: str) -> str:  # by hash: NaN equals NaN
        return hash_tensors([(name, files[name].get_tensor(name))])

    try:
        with _opened(a, kind) as left, _opened(b, kind) as right:
            return set(left) == set(right) and all(one(left, name) == one(right, name) for name in left)
    except (SafetensorError, OSError, InterplayError):
        return False  # a damaged file is reported when it is read
