"""Measures how many floating-point operations per second the CPU computes, by precision, as matrix products.

numpy gives fp64 and fp32 through its BLAS. The smaller precisions need torch. What really ran is part of the facts: the BLAS library,
the processor whose kernels it has chosen, its threads, the environment that steers it, and how much faster bf16 is than fp32.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from worker.hardware.blas import read_blas
from worker.hardware.cores import usable_cores
from worker.hardware.free_memory import free_memory_bytes
from worker.hardware.steering import steering_variables
from worker.hardware_tests import conditions
from worker.hardware_tests.base import Readings, Share
from worker.hardware_tests.products import Precision, Product, Rate, facts_of, measure, readings
from worker.hardware_tests.torch_products import torch_precision

PRECISIONS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")
MEMORY_SHARE = 0.5  # a share of the free memory
WITHOUT_TORCH = "needs torch, which is not installed: numpy has fast matrix products for fp64 and fp32 only"


class CpuFlops:
    """Measures each precision that numpy and, where it is installed, torch can compute on this CPU."""

    def run(self, share: Share) -> Readings:
        most_bytes = MEMORY_SHARE * free_memory_bytes()
        found = [_precision(name) for name in PRECISIONS]
        open_ones = [precision for precision in found if precision.make is not None]
        rates: dict[str, Rate] = {}
        for position, precision in enumerate(open_ones):
            part = share.part(len(open_ones) - position)
            rates[precision.name] = measure(precision, part, conditions.of_cpu(), most_bytes)
        by_precision = {precision.name: facts_of(precision, rates[precision.name]) for precision in open_ones}
        facts: dict[str, Any] = {
            "method": "square matrices of random normal numbers, 2·n³ operations; sustained is the second half of the calls",
            "blas": vars(read_blas()),
            "usable_cores": usable_cores(),
            "steering": steering_variables(os.environ),  # noqa: TID251 - a fact about this process, not one of our settings
            "by_precision": by_precision,
            "bf16_to_fp32": _ratio(rates, "bf16", "fp32"),
        }
        return Readings(tuple(reading for precision in found for reading in readings(precision, rates.get(precision.name))), facts)


def _precision(name: str) -> Precision:
    if name == "fp64":
        return Precision(name, f"numpy {np.__version__}", lambda size: _numpy_product(size, np.float64), 8, 8)
    if name == "fp32":
        return Precision(name, f"numpy {np.__version__}", lambda size: _numpy_product(size, np.float32), 4, 4)
    if name == "tf32":
        return Precision(name, why_not="only NVIDIA GPUs from compute capability 8.0 on have tf32")
    if name == "fp8":
        return Precision(name, why_not="CPUs have no units for fp8: torch would convert each number and compute with a wider type")
    if find_spec("torch") is None:
        return Precision(name, why_not=WITHOUT_TORCH)
    return torch_precision(name, "cpu", lambda: None)


def _numpy_product(size: int, kind: Any) -> Product:
    generator = np.random.default_rng(size)
    a, b = (generator.standard_normal((size, size), dtype=kind) for _ in range(2))
    out = np.empty((size, size), dtype=kind)
    return lambda: np.matmul(a, b, out=out)


def _ratio(rates: dict[str, Rate], one: str, other: str) -> float | None:
    return rates[one].sustained / rates[other].sustained if one in rates and other in rates else None
