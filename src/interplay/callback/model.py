"""The model in the middle of its training: how to score it without changing the training, and which weights it has now."""

import contextlib
import random
from collections.abc import Generator
from typing import Any

import numpy as np

from interplay.models.weights import hash_tensors
from interplay.scoring.forward import evaluating


@contextlib.contextmanager
def borrowed(model: Any) -> Generator[Any]:
    """The model in evaluation mode, without gradients and the trainer's autocast; restores mode and random states.

    accelerate puts autocast inside `forward`, and its `unwrap_model` would remove it for good. So every wrapped forward is
    exchanged for the original one and put back. Gradients are not cleared: the next training step gives the same bits.
    """
    with contextlib.ExitStack() as restored, random_states_restored(), evaluating(model):
        for attributes in (vars(module) for module in model.modules()):
            if {"_original_forward", "forward"} <= attributes.keys():
                restored.callback(attributes.__setitem__, "forward", attributes["forward"])
                attributes["forward"] = attributes["_original_forward"]
        yield model


@contextlib.contextmanager
def random_states_restored() -> Generator[None]:
    """Restore the random states of Python, NumPy and torch at the end."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def sharded_by(model: Any) -> str | None:
    """What splits the parameters over several processes, so that none can read them all; None if nothing does."""
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return "FSDP"
    for parameter in model.parameters():
        if hasattr(parameter, "ds_id"):  # DeepSpeed marks what ZeRO-3 has partitioned
            return "DeepSpeed ZeRO-3"
        if type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor":
            return "FSDP2 or tensor parallelism (DTensor)"
    return None


def weights_sha256(model: Any, *, trained: bool) -> str:
    """SHA-256 of the parameters that training changes, or of the others: milliseconds for LoRA, about a second per GB."""
    return hash_tensors((name, p) for name, p in model.named_parameters() if p.requires_grad is trained)
