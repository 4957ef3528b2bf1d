"""How the matrix products of a model are computed while it is scored: in which precision, and how fast. Changes no model.

A 16-bit model rounds its residual stream at every layer, which makes most of its noise (docs/evidence/benchmarks.md). With
`wide_residual` the outputs of embeddings, products and norms are float32; a product still takes 16-bit operands. With
`product_float32` the weights are widened one at a time: noise is measured against that. Under `bfloat16x2` the stream goes into a
product as the sum of two bfloat16 numbers, which keeps 16 of its 24 bits. MKL multiplies float32 matrices at half
speed on some AMD processors; `fast_products` uses oneDNN there.

Noise of v becomes false interactions of high order, just like those that fine-tuning is said to remove (docs/design/scoring.md).
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Generator
from functools import cache
from typing import TYPE_CHECKING, Any

from interplay.models.gguf import cache_root
from interplay.models.loading import TWO_PARTS
from interplay.models.placement import input_device

if TYPE_CHECKING:
    import torch

# As fractions of sd(v). At n = 8 noise of the first size loses 4 of the 20 strongest effects, the second half of them  [ours]
FLAGGED, REFUSED = 0.02, 0.1
NARROW = ("bfloat16", "bfloat16x2", "float16")
Product = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor | None"], "torch.Tensor"]


def is_narrow(model: Any) -> bool:
    """Whether the weights are 16-bit floats."""
    import torch

    return next(model.parameters()).dtype in (torch.bfloat16, torch.float16)


def dtype_of(model: Any) -> str:
    """How its weights are held and multiplied, as settings name it."""
    name = str(next(model.parameters()).dtype).removeprefix("torch.")
    return name + "x2" * any(getattr(module, TWO_PARTS, False) for module in model.modules())


def is_rounded(model: Any) -> bool:
    """Whether products take operands of fewer digits than float32: 16-bit weights, or TF32 or bfloat16 switched on in PyTorch."""
    cuda, cpu = _settings()
    backend = cuda if input_device(model).type == "cuda" else cpu
    return is_narrow(model) or (backend is not None and backend.fp32_precision in ("tf32", "bf16"))


def _settings() -> tuple[Any, Any]:
    """PyTorch's switches of float32 products on CUDA and on the CPU; None before 2.9."""
    import torch

    cuda: Any = torch.backends.cuda.matmul
    cpu: Any = getattr(torch.backends.mkldnn, "matmul", None)
    return cuda if hasattr(cuda, "fp32_precision") else None, cpu if hasattr(cpu, "fp32_precision") else None


@contextlib.contextmanager
def exact_products() -> Generator[None]:
    """Float32 products in all their digits; what the user has switched on comes back."""
    import torch

    backends = [b for b in _settings() if b is not None]
    with contextlib.ExitStack() as restored:
        if not backends:  # an old PyTorch: one switch for all
            restored.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        for backend in backends:
            restored.callback(setattr, backend, "fp32_precision", backend.fp32_precision)
            backend.fp32_precision = "ieee"
        yield


def product_of_weights(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
    """x weight' + bias with operands and product in the weight's precision, float32 out."""
    from torch.nn.functional import linear

    narrow = x.to(weight.dtype)
    if narrow.device.type == "cpu" and _lacks_narrow_products():  # widened, multiplied and rounded: the same product
        out = linear(narrow.float(), weight.float()).to(weight.dtype).float()
    else:
        out = linear(narrow, weight).float()
    return out if bias is None else out + bias.float()


def product_in_two(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
    """x weight' + bias with x as the sum of two numbers in the weight's precision, sums and result in float32.

    One product of twice the rows. CUDA gives its float32 sums out from PyTorch 2.8 on; elsewhere the parts are widened.
    """
    import torch

    high = x.to(weight.dtype)
    parts = torch.stack([high, (x.float() - high.float()).to(weight.dtype)])
    if parts.is_cuda and hasattr(torch.ops.aten.mm, "dtype"):
        out = torch.mm(parts.flatten(0, -2), weight.t(), out_dtype=torch.float32).view(*parts.shape[:-1], -1)
    else:
        out = torch.nn.functional.linear(parts.float(), weight.float())
    return out.sum(0) if bias is None else out.sum(0) + bias.float()


def product_float32(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
    """x weight' + bias with everything widened to float32."""
    from torch.nn.functional import linear

    return linear(x.float(), weight.float(), None if bias is None else bias.float())


@contextlib.contextmanager
def wide_residual(model: Any, product: Product | None = None) -> Generator[bool]:
    """Evaluate a 16-bit model with a float32 residual stream; yields whether that is on.

    `product` is how a linear layer is computed, by default `product_of_weights`, of a bfloat16x2 model `product_in_two`; given one, it
    serves a float32 model too.
    """
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    if product is None and not is_narrow(model):
        yield False
        return
    linear = product or (product_in_two if dtype_of(model) == "bfloat16x2" else product_of_weights)
    narrow = (torch.bfloat16, torch.float16)
    # What mixes a weight with the stream and insists on one dtype, or hands on the weight's.
    widened = (functional.layer_norm, functional.rms_norm, torch.addmm, torch.matmul, torch.bmm)

    class WideResidual(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if func is functional.linear:
                return linear(*_arguments(*args, **kwargs))
            if func is functional.embedding:  # what is looked up is widened, not the whole table
                return _widen(func(*args, **kwargs), narrow)
            if func in widened:
                args = [_widen(a, narrow) for a in args]
                kwargs = {key: _widen(a, narrow) for key, a in kwargs.items()}
            return func(*args, **kwargs)

    with WideResidual():
        yield True


@cache
def _lacks_narrow_products() -> bool:
    """Whether this is an x86 processor without AVX-512, whose 16-bit products take eight times as long as float32 ones."""
    import torch

    known = torch.cpu.get_capabilities()
    return known.get("architecture") == "x86_64" and not known.get("avx512_bw", True)


@cache
def _is_mkl_slow() -> bool:
    """Whether this is an AMD processor that multiplies by oneDNN 1.4 times as fast as by MKL: timed once, and kept with the machine.

    Processors were seen at .8 to 1.25 and at 1.8, so a timing made anew comes out the same, and with it the bytes of a run.
    """
    import torch

    both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    if not both or not hasattr(torch.ops.mkldnn, "_linear_pointwise") or "AuthenticAMD" not in (about := _processor()):
        return False
    known = {"MKL": False, "oneDNN": True}
    file = cache_root() / f"product-{hashlib.sha256(f'{about}|{torch.__version__}'.encode()).hexdigest()[:16]}"
    for attempt in ("kept", "timed"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            return known[file.read_text(encoding="ascii")]
        if attempt == "kept":
            slow = _gain_of_onednn() > 1.4
            with contextlib.suppress(OSError):  # not to be written: it is timed by every process
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("x", encoding="ascii") as kept:  # the first process decides
                    kept.write("oneDNN" if slow else "MKL")
    return slow


def _processor() -> str:
    """What Linux says of the kind of processor; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            first = f.read().split("\n\n")[0].splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in first if line.startswith(("vendor_id", "cpu family", "model", "stepping")))


def _gain_of_onednn() -> float:
    """How many times as fast as MKL it multiplies: CPU seconds of this thread, the best of seven each, in turn."""
    import torch

    x, weight = torch.ones(256, 1024), torch.ones(1024, 1024)  # no draw of random numbers: a training may be on
    ways = (torch.nn.functional.linear, lambda x, w: torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], ""))
    best = [math.inf, math.inf]
    with exact_products(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        for turn in range(14):
            start = time.thread_time()
            ways[turn % 2](x, weight)
            best[turn % 2] = min(best[turn % 2], time.thread_time() - start)
    return best[0] / best[1]


@contextlib.contextmanager
def fast_products(model: Any) -> Generator[bool]:
    """Linear layers of a float32 model through oneDNN where MKL is slow; yields whether that is on. No gradients through it."""
    import torch
    from torch.overrides import TorchFunctionMode

    dtype = next(model.parameters()).dtype
    if input_device(model).type != "cpu" or dtype != torch.float32 or not _is_mkl_slow():
        yield False
        return
    multiply = torch.ops.mkldnn._linear_pointwise

    class OneDnn(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.nn.functional.linear and not torch.is_grad_enabled():
                x, weight, bias = _arguments(*args, **(kwargs or {}))
                if x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() and x.dim() > 1:
                    return multiply(x, weight, bias, "none", [], "")
            return func(*args, **(kwargs or {}))

    with OneDnn():
        yield True


def _arguments(input, weight, bias=None):
    return input, weight, bias


def _widen(value: Any, narrow: tuple[Any, ...]) -> Any:
    return value.float() if getattr(value, "dtype", None) in narrow else value


def noise_fraction(sigma: float, spread: float) -> float:
    """sigma / sd(v); NaN where the noise was not measured, infinite where v does not vary but its noise does.

    >>> noise_fraction(0.5, 2.0), noise_fraction(0.0, 0.0), noise_fraction(0.1, 0.0)
    (0.25, 0.0, inf)
    """
    if math.isnan(sigma):
        return math.nan
    return sigma / spread if spread > 0 else (0.0 if sigma == 0 else math.inf)


def noise_warning(sigma: float, spread: float, dtype: str) -> str | None:
    """One line about a 16-bit evaluation that is too noisy, or None.

    >>> print(noise_warning(0.1, 0.5, "bfloat16"))
    bfloat16 scores have a noise of 0.1 nats, 20 % of the spread of v: more than half of the strongest effects are rounding; use float32
    """
    part = noise_fraction(sigma, spread)
    if dtype not in NARROW or not part > FLAGGED:
        return None
    worth = "more than half of the strongest effects are" if part > REFUSED else "one in five strong effects or more is"
    size = f"{part:.0%}".replace("%", " %") if math.isfinite(part) else "all"
    return f"{dtype} scores have a noise of {sigma:.2g} nats, {size} of the spread of v: {worth} rounding; use float32"
