"""Where the weights of a model lie: on one device, spread over several, or offloaded to memory or disk (`device_map`)."""

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError

if TYPE_CHECKING:
    import torch

SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")  # transformers' own ways to fill devices
DEVICE_MAPS = (*SPREAD, "cpu", "disk")  # cpu, disk: the decoder layers lie there and visit the device one at a time
_SIZE = re.compile(r"[0-9]+(\.[0-9]+)?[KMG]i?B")  # as accelerate reads them, which is slow to import


def choose_device(wanted: str) -> str:
    """The device to run on: `auto` is a GPU where there is one. InterplayError for a device that is not there."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(0, device=wanted).is_meta:
            raise InterplayError(f"device {wanted!r} holds no numbers to compute with: set it to auto")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InterplayError(f"device {wanted!r} cannot be used here ({reason}): set it to auto") from error
    return wanted


@dataclass(frozen=True)
class Placement:
    """How a model is laid out.

    >>> Placement(device_map="auto", max_memory={"0": "20GiB", "cpu": "60GiB"}).limits()
    {0: '20GiB', 'cpu': '60GiB'}
    """

    device: str = "auto"  # where all of it goes; with the maps `cpu` and `disk`, where it is computed
    device_map: str | None = None  # one of `DEVICE_MAPS`, or None: everything on `device`
    # Bytes a device may hold ("20GiB" or a number), by GPU number or "cpu"; what fits nowhere stays on disk.
    max_memory: Mapping[Any, str | int] | None = None  # Any: ty takes no Mapping[str, ...] for Mapping[str | int, ...]

    def __post_init__(self) -> None:
        if self.device_map is not None and self.device_map not in DEVICE_MAPS:
            raise InterplayError(f"unknown device_map {self.device_map!r}: choose one of {', '.join(DEVICE_MAPS)}")
        if self.max_memory is not None and self.device_map not in SPREAD:
            raise InterplayError(f"max_memory is read with device_map {', '.join(SPREAD)} only: set one, or remove it")
        self.limits()

    def limits(self) -> dict[str | int, str | int] | None:
        """`max_memory` as accelerate takes it: GPUs by number. InterplayError for an unknown device or size."""
        if self.max_memory is None:
            return None
        found: dict[str | int, str | int] = {}
        for key, size in self.max_memory.items():
            device = int(key) if str(key).isdecimal() else key
            if not (isinstance(device, int) or device in ("cpu", "mps")):
                raise InterplayError(f"max_memory names {key!r}: name a GPU by its number, or cpu")
            if not (size > 0 if isinstance(size, int) else _SIZE.fullmatch(size)):
                raise InterplayError(f"max_memory {key}: {size!r} is not a size: write 20GiB, or bytes")
            found[device] = size
        return found

    def options(self, source: str, revision: str | None) -> dict[str, Any]:
        """The arguments of `from_pretrained` that lay the model out."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        device = choose_device(self.device)  # before anything is loaded
        if self.device_map is None:
            return {}
        chosen: Any = self.device_map
        if chosen not in SPREAD:
            config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
            with torch.device("meta"):
                outline = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            chosen = layers_apart(outline, self.device_map, device)
        # Weights that transformers converts on loading (experts of a mixture) cannot be read from the model's own files.
        folder = tempfile.mkdtemp(prefix="interplay-offload-")
        return {"device_map": chosen, "offload_folder": folder, "max_memory": self.limits()}

    def settle(self, model: Any, options: Mapping[str, Any]) -> None:
        """Move the loaded model to its device, and let its offload folder go when the model goes."""
        if self.device_map is None:
            model.to(choose_device(self.device))
        if (folder := options.get("offload_folder")) is not None:
            if os.listdir(folder):
                weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
            else:
                os.rmdir(folder)
        for hook in _hooks(model):
            # `logits_to_keep` chooses from hidden states that may lie on another GPU: it stays on the CPU, which fits all.
            skipped = hook.skip_keys or ()
            hook.skip_keys = {*((skipped,) if isinstance(skipped, str) else skipped), "logits_to_keep"}


def _hooks(module: Any) -> list[Any]:
    """accelerate's hooks on one module that move what goes in."""
    hook = getattr(module, "_hf_hook", None)
    return [h for h in getattr(hook, "hooks", (hook,)) if hasattr(h, "execution_device")]


def unwrapped(model: Any) -> Any:
    """The transformers model, also inside a peft model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def input_device(model: Any) -> "torch.device":
    """The device that token ids go to: where the embeddings are computed, else that of the first weight."""
    import torch

    embeddings = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    weight = next(model.parameters()) if embeddings is None else embeddings.weight
    if weight.is_meta:
        for hook in _hooks(embeddings):
            if hook.execution_device is not None:
                return torch.device(hook.execution_device)
    return weight.device


def whole_tensors(model: Any) -> "Iterator[tuple[str, torch.Tensor]]":
    """Names and real tensors of a model in the order of the names, one in memory at a time where they are offloaded."""
    state = model.state_dict()
    for name in sorted(state):
        tensor = state[name]
        if tensor.is_meta:
            from transformers.integrations.accelerate import load_offloaded_parameter

            tensor = load_offloaded_parameter(model, name)
        yield name, tensor


def adapter_joins(wrapped: Any, path: Path, stored: "Mapping[str, torch.Tensor]") -> None:
    """Put the `stored` tensors of an adapter where their layer is computed; on an offloaded base peft leaves them without data.

    InterplayError for adapters that need the weights of an offloaded base (DoRA) or a copy of one of its modules.
    """
    empty = {name for name, tensor in wrapped.named_parameters() if tensor.is_meta and ".default" in name}
    if not empty:
        return
    from accelerate.utils import set_module_tensor_to_device

    for layer_name, layer in wrapped.named_modules():
        if any(getattr(layer, "use_dora", {}).values()):
            continue
        for hook in _hooks(getattr(layer, "base_layer", None)):
            for name in sorted(n for n in empty if n.startswith(f"{layer_name}.")):
                key = name.replace(".default", "", 1)
                if key in stored:
                    set_module_tensor_to_device(wrapped, name, hook.execution_device, value=stored[key])
                    empty.remove(name)
    if empty:
        why = f"the adapter in {path} needs weights of the base that are offloaded ({min(empty)})"
        raise InterplayError(f"{why}: merge it and give the whole model as a checkpoint")


def layers_apart(model: Any, layers: str, rest: str) -> dict[str, str]:
    """A device map: blocks that may not be split in one place, the rest (embeddings, head, last norm) in another.

    InterplayError where the architecture names no such blocks.
    """
    kinds = set(model._no_split_modules or ())
    blocks = [name for name, module in model.named_modules() if type(module).__name__ in kinds and name]
    if not blocks:
        raise InterplayError(f"{type(model).__name__} does not name its layers: use device_map auto with max_memory")

    def inside(name: str) -> bool:
        return any(name.startswith(f"{block}.") for block in blocks)

    found = {block: layers for block in blocks if not inside(block)}
    # Tied weights by each of their names, or accelerate misses the second.
    for name, _ in chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)):
        if not inside(name):
            owner = name.rpartition(".")[0]
            holds_blocks = not owner or any(block.startswith(f"{owner}.") for block in blocks)
            found[name if holds_blocks else owner] = rest
    return found
