"""Faster float32 matrix products on CPUs where PyTorch's own are slow, for the duration of scoring only.

PyTorch multiplies float32 matrices with MKL, which runs at half speed on AMD processors; oneDNN, which PyTorch ships as
well, does not. While `fast_products` is on, linear layers go through oneDNN: no module, weight or setting is changed, and
everything is as before when it ends. Whether it is used depends on the processor alone, never on a timing, so that two runs
on one machine give the same bytes.
"""

import contextlib
from collections.abc import Generator
from functools import cache
from typing import Any

from interplay.models.placement import input_device


@cache
def _slow_here() -> bool:
    """Whether this is an AMD processor under a PyTorch that has both MKL and oneDNN."""
    import torch

    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            return "AuthenticAMD" in f.read(4096)
    except OSError:
        return False  # no Linux: leave it alone


@contextlib.contextmanager
def fast_products(model: Any) -> Generator[bool]:
    """Linear layers of a float32 model on an AMD CPU through oneDNN; yields whether that is on. No gradients through it."""
    import torch

    # Where it is computed, not where the first weight lies: an offloaded one is on no device until its layer runs.
    device, dtype = input_device(model), next(model.parameters()).dtype
    if device.type != "cpu" or dtype != torch.float32 or not _slow_here():
        yield False
        return
    with _mode():
        yield True


def _mode():
    import torch
    from torch.overrides import TorchFunctionMode

    product = torch.ops.mkldnn._linear_pointwise

    class OneDnn(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.nn.functional.linear and not torch.is_grad_enabled():
                x, weight, bias = _arguments(*args, **(kwargs or {}))
                if x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() and x.dim() > 1:
                    return product(x, weight, bias, "none", [], "")
            return func(*args, **(kwargs or {}))

    return OneDnn()


def _arguments(input, weight, bias=None):
    return input, weight, bias
