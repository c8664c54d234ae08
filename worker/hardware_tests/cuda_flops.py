"""Measures how many floating-point operations per second a CUDA device computes, by precision, as matrix products of torch."""

from __future__ import annotations

from typing import Any

from worker.hardware_tests.base import Readings, Share
from worker.hardware_tests.conditions import of_gpu
from worker.hardware_tests.cuda import CudaDevice, open_cuda
from worker.hardware_tests.products import Precision, Rate, facts_of, measure, readings
from worker.hardware_tests.torch_products import torch_precision

PRECISIONS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")
MEMORY_SHARE = 0.5  # a share of the free memory of the device
FIRST_WITH_TF32 = (8, 0)  # an older device ignores the flag and computes fp32, so that the figure would have a false name


class CudaFlops:
    """Measures each precision that this device and this build of torch can compute."""

    def run(self, share: Share) -> Readings:
        device = open_cuda()
        found = [_precision(name, device) for name in PRECISIONS]
        open_ones = [precision for precision in found if precision.make is not None]
        rates: dict[str, Rate] = {}
        for position, precision in enumerate(open_ones):
            part = share.part(len(open_ones) - position)
            rates[precision.name] = measure(precision, part, of_gpu(device.uuid), MEMORY_SHARE * device.free_bytes())
        facts: dict[str, Any] = {
            **device.facts(),
            "method": "square matrices of random normal numbers, 2·n³ operations; sustained is the second half of the calls",
            "by_precision": {precision.name: facts_of(precision, rates[precision.name]) for precision in open_ones},
            "bf16_to_fp32": rates["bf16"].sustained / rates["fp32"].sustained if {"bf16", "fp32"} <= rates.keys() else None,
        }
        return Readings(tuple(reading for precision in found for reading in readings(precision, rates.get(precision.name))), facts)


def _precision(name: str, device: CudaDevice) -> Precision:
    if name == "tf32" and device.compute_capability < FIRST_WITH_TF32:
        major, minor = device.compute_capability
        return Precision(name, why_not=f"GPUs have tf32 from compute capability 8.0 on; {device.name} has {major}.{minor}")
    return torch_precision(name, "cuda", device.synchronize)
