"""Weights in safetensors files: which files hold them, their hash, and whether two folders hold the same. Builds no model."""

import contextlib
import hashlib
import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError, reason_of
from interplay.text import short

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter_model.safetensors"


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
        raise InterplayError(
            f"{folder} lacks {len(lacking)} of the {len(names)} files its index names "
            f"(first: {short(lacking[0], 120)[1:-1]}): copy it again in full"
        )
    return [folder / name for name in names]


def refuse_holes(info: dict[str, Any], name: object) -> None:
    """InterplayError where `from_pretrained` found no value for some weights, or one of another shape, and drew random ones."""
    if odd := sorted(info.get("mismatched_keys") or ()):
        key, stored, wanted = odd[0]
        raise InterplayError(
            f"{str(name)!r} holds {len(odd)} weights of another shape than its config.json asks for (first: {key}, "
            f"{list(stored)} for {list(wanted)}): get both from one place"
        )
    if missing := sorted(info.get("missing_keys") or ()):
        raise InterplayError(
            f"{str(name)!r} lacks {len(missing)} weights of its model (first: {missing[0]}): get it again"
        )


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
        raise InterplayError(
            f"cannot read {folder}: the file is damaged, save it again ({reason_of(error)})"
        ) from error


def same_weights(a: Path, b: Path, kind: str) -> bool:
    """Whether two folders of one kind hold the same tensors, bit by bit."""
    import torch
    from safetensors import SafetensorError

    try:
        with _opened(a, kind) as left, _opened(b, kind) as right:
            if set(left) != set(right):
                return False
            for name in left:
                x, y = left[name].get_tensor(name), right[name].get_tensor(name)
                # As bytes: NaN equals NaN.
                if x.shape != y.shape or not torch.equal(
                    x.reshape(-1).view(torch.uint8), y.reshape(-1).view(torch.uint8)
                ):
                    return False
            return True
    except (SafetensorError, OSError, InterplayError):
        return False  # a damaged file is reported when it is read
