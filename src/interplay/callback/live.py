"""A model in the middle of its training, lent to be scored and given back as it was; and which weights it holds just now.

What a trainer does to a model (autocast around its forward, training mode, gradients half accumulated) must neither round
the scores nor notice them: after the loan the next training step gives the same bits as without it.
"""

import contextlib
import random
from collections.abc import Generator
from typing import Any

import numpy as np

from interplay.scoring.forward import evaluating


@contextlib.contextmanager
def lent(model: Any) -> Generator[Any]:
    """The model in evaluation mode, without gradients and without the trainer's autocast; all random states come back.

    accelerate puts autocast inside `forward`, where no context around the call reaches it, and its `unwrap_model` would take
    it off for good: the instance's forward is exchanged for the original one here and put back. Gradients are not cleared,
    so a loan in the middle of an accumulation is harmless.
    """
    with undrawn(), _own_forward(model), evaluating(model):
        yield model


@contextlib.contextmanager
def _own_forward(model: Any) -> Generator[None]:
    """Exchange every wrapped `forward` in the module tree for what accelerate wrapped."""
    wrapped = [
        (module, module.__dict__["forward"])
        for module in model.modules()
        if "_original_forward" in module.__dict__ and "forward" in module.__dict__
    ]
    for module, _ in wrapped:
        module.__dict__["forward"] = module.__dict__["_original_forward"]
    try:
        yield
    finally:
        for module, forward in wrapped:
            module.__dict__["forward"] = forward


@contextlib.contextmanager
def undrawn() -> Generator[None]:
    """Whatever is drawn inside, Python, NumPy and torch go on as if nothing had been drawn."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def sharded(model: Any) -> str | None:
    """By what the parameters are spread over several processes, so that one of them cannot read them; None: they are whole.

    >>> import torch
    >>> sharded(torch.nn.Linear(2, 2)) is None
    True
    """
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return "FSDP"
    for parameter in model.parameters():
        if hasattr(parameter, "ds_id"):  # DeepSpeed marks what ZeRO-3 has partitioned
            return "DeepSpeed ZeRO-3"
        if type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor":
            return "FSDP2 or tensor parallelism (DTensor)"
    return None


def weights_sha256(model: Any, *, trained: bool) -> str:
    """SHA-256 of the parameters that training changes, or of the others.

    The others are read once a training. What LoRA changes takes milliseconds; of full fine-tuning it is all the weights,
    about a second a GB, at every measurement.
    """
    from interplay.models.weights import hash_tensors

    return hash_tensors((name, p) for name, p in model.named_parameters() if p.requires_grad is trained)
