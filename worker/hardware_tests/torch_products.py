"""Makes the matrix products of torch by precision, for a CPU and for a CUDA device.

What a build of torch or a device lacks shows when the product is tried once with a small size. The reason is what torch says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from worker.hardware_tests.products import FIRST_SIZE, Precision, Product

FP8_MAX = 448.0  # the largest number of float8_e4m3fn


def torch_precision(name: str, device: str, finish: Callable[[], object]) -> Precision:
    """Return a precision as torch computes it on a device, or with the reason why it cannot.

    Args:
        finish: Waits until the device has computed everything. On a CPU there is nothing to wait for.
    """
    torch: Any = importlib.import_module("torch")
    makers = _makers(torch, device)
    make, factor, result = makers[name]

    def with_finish(size: int) -> Product:
        product = make(size)

        def call() -> None:
            product()
            finish()

        return call

    try:
        with_finish(FIRST_SIZE)()
    except (RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        return Precision(name, why_not=f"torch {torch.__version__} does not multiply {name} on {device}: {said}")
    return Precision(name, f"torch {torch.__version__}", with_finish, factor, result)


def _makers(torch: Any, device: str) -> dict[str, tuple[Callable[[int], Product], int, int]]:
    """Return for each precision: what makes the product of a size, and the bytes of an element of the factors and of the result."""

    def normal(size: int, kind: Any) -> Any:
        return torch.randn(size, size, device=device, dtype=torch.float32).to(kind)

    def floating(kind: Any, tf32: bool | None = None) -> Callable[[int], Product]:
        def make(size: int) -> Product:
            if tf32 is not None:
                torch.backends.cuda.matmul.allow_tf32 = tf32
            a, b = normal(size, kind), normal(size, kind)
            out = torch.empty(size, size, device=device, dtype=kind)
            return lambda: torch.mm(a, b, out=out)

        return make

    def int8(size: int) -> Product:
        a, b = ((torch.randn(size, size, device=device) * 32).clamp(-127, 127).to(torch.int8) for _ in range(2))
        return lambda: torch._int_mm(a, b.t())

    def fp8(size: int) -> Product:
        a, b = (normal(size, torch.float32).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn) for _ in range(2))
        one = torch.ones((), device=device, dtype=torch.float32)
        return lambda: torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)

    return {
        "fp64": (floating(torch.float64), 8, 8),
        "fp32": (floating(torch.float32, tf32=False), 4, 4),
        "tf32": (floating(torch.float32, tf32=True), 4, 4),
        "bf16": (floating(torch.bfloat16), 2, 2),
        "fp16": (floating(torch.float16), 2, 2),
        "fp8": (fp8, 1, 2),
        "int8": (int8, 1, 4),
    }
