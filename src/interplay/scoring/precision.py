"""In which precision a 16-bit model is evaluated, without changing it: what is added up stays float32.

A model in bfloat16 or float16 rounds its residual stream at every layer, and that, not the rounding inside the products, is
most of its noise (docs/evidence/benchmarks.md). While `wide_residual` is on, the outputs of embeddings, products and norms are
float32, so is everything computed from them; a product still takes 16-bit operands, on a GPU at 16-bit speed. With
`float32` products the weights are widened one at a time: the reference that noise is measured against, at no more memory.
"""

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from interplay.models.placement import input_device

if TYPE_CHECKING:
    import torch

Product = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor | None"], "torch.Tensor"]


def is_narrow(model: Any) -> bool:
    """Whether the weights are 16-bit floats.

    >>> import torch
    >>> is_narrow(torch.nn.Linear(2, 2)), is_narrow(torch.nn.Linear(2, 2, dtype=torch.bfloat16))
    (False, True)
    """
    import torch

    return next(model.parameters()).dtype in (torch.bfloat16, torch.float16)


def is_rounded(model: Any) -> bool:
    """Whether products take operands of fewer digits than float32: 16-bit weights, or TF32 or bfloat16 switched on in PyTorch."""
    cuda, cpu = _settings()
    backend = cuda if input_device(model).type == "cuda" else cpu
    return is_narrow(model) or (backend is not None and backend.fp32_precision in ("tf32", "bf16"))


def _settings() -> tuple[Any, Any]:
    """PyTorch's switches of float32 products on CUDA and on the CPU; None where it is too old to have one of each (2.9)."""
    import torch

    cuda: Any = torch.backends.cuda.matmul
    cpu: Any = getattr(torch.backends.mkldnn, "matmul", None)
    return cuda if hasattr(cuda, "fp32_precision") else None, cpu if hasattr(cpu, "fp32_precision") else None


@contextlib.contextmanager
def exact_products() -> Generator[None]:
    """Float32 products in all their digits, whatever the user has switched on; his settings come back.

    >>> import torch
    >>> before = torch.get_float32_matmul_precision()
    >>> with exact_products():
    ...     pass
    >>> torch.get_float32_matmul_precision() == before
    True
    """
    import torch

    backends = [b for b in _settings() if b is not None]
    if not backends:  # an old PyTorch: one switch for all
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    each = [b.fp32_precision for b in backends]
    try:
        for b in backends:
            b.fp32_precision = "ieee"
        yield
    finally:
        for b, setting in zip(backends, each, strict=True):
            b.fp32_precision = setting


def product_of_weights(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
    """x weight' + bias with operands in the weight's precision, float32 out."""
    from torch.nn.functional import linear

    out = linear(x.to(weight.dtype), weight).float()
    return out if bias is None else out + bias.float()


def product_float32(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
    """x weight' + bias with everything widened to float32."""
    from torch.nn.functional import linear

    return linear(x.float(), weight.float(), None if bias is None else bias.float())


def dtype_advice(dtype: str) -> str:
    """What to do about scores that are not finite, by the dtype they were computed in: the end of a one-line message.

    >>> print(dtype_advice("float16"))
    float16 holds nothing above 65504, which this model's activations or weights exceed: use bfloat16 or float32
    >>> print(dtype_advice("float32"))
    check its weights for NaN or infinity, and the dtype
    """
    if dtype == "float16":
        return "float16 holds nothing above 65504, which this model's activations or weights exceed: use bfloat16 or float32"
    return "check its weights for NaN or infinity, and the dtype"


@contextlib.contextmanager
def wide_residual(model: Any, product: Product | None = None) -> Generator[bool]:
    """Evaluate a 16-bit model with a float32 residual stream; yields whether that is on (a wide model is left alone).

    Args:
        product: how a linear layer is computed, `product_of_weights` (default) or `product_float32`. Given one, it serves
            a float32 model too.
    """
    if product is None and not is_narrow(model):
        yield False
        return
    with _mode(product or product_of_weights):
        yield True


def _mode(product: Product):
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    narrow = (torch.bfloat16, torch.float16)
    # What mixes a weight with the stream and insists on one dtype, or hands on the weight's.
    widened = (functional.layer_norm, functional.rms_norm, torch.addmm, torch.matmul, torch.bmm)

    class WideResidual(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if func is functional.linear:
                return product(*_arguments(*args, **kwargs))
            if func is functional.embedding:  # what is looked up is widened, not the whole table
                return _widen(func(*args, **kwargs), narrow)
            if func in widened:
                args = [_widen(a, narrow) for a in args]
                kwargs = {key: _widen(a, narrow) for key, a in kwargs.items()}
            return func(*args, **kwargs)

    return WideResidual()


def _arguments(input, weight, bias=None):
    return input, weight, bias


def _widen(value: Any, narrow: tuple[Any, ...]) -> Any:
    return value.float() if getattr(value, "dtype", None) in narrow else value
