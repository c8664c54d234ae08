"""Measures the memory bandwidth of a CUDA device with STREAM's kernels, and the links between host and device.

Bytes are counted as STREAM does: 8 for each element of copy and 12 for each of add and triad, on floats of four bytes. torch computes a
triad in one kernel, `add(b, c, alpha=s)`. A link is copied over both ways, from pinned memory, which the device reads itself, and from
pageable memory, which the driver copies into pinned memory first.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter_ns
from typing import Any

from worker.hardware_tests.base import Reading, Readings, Share
from worker.hardware_tests.cuda import CudaDevice, open_cuda

BYTES = {"copy": 8, "add": 12, "triad": 12}
CACHES = 4  # an array is this many times as large as the second-level cache, and at least
SMALLEST_ARRAY = 2**30  # bytes
MEMORY_SHARE = 0.8  # a share of the free memory of the device
LINK_BYTES = 256 * 2**20
LINKS = tuple(f"{way}_{kind}" for way in ("host_to_device", "device_to_host") for kind in ("pinned", "pageable"))
LEAST_COPIES = 5
MOST_COPIES = 500
SCALAR = 0.5  # below 1, so that the values stay finite in any number of rounds


class CudaBandwidth:
    """Measures the device's own memory for two thirds of the time, then the links."""

    def run(self, share: Share) -> Readings:
        device = open_cuda()
        cache = int(getattr(device.properties, "L2_cache_size", 0))
        elements = max(CACHES * cache, SMALLEST_ARRAY) // 4
        why_not = ""
        if 3 * 4 * elements > MEMORY_SHARE * device.free_bytes():
            need, free = 3 * 4 * elements / 2**20, device.free_bytes() / 2**20
            why_not = f"three arrays of 1 GiB or {CACHES} times the cache take {need:.0f} MB, and {free:.0f} MB of the device are free"
        rates = {} if why_not else _kernels(device, elements, share.part(3), share.part(3))
        links = _links(device, share)
        facts: dict[str, Any] = {
            **device.facts(),
            "kernels": "copy c=a, add c=a+b, triad a=b+0.5c, on floats of 4 bytes",
            "bytes_counted": "those that the program asks for, as STREAM counts: copy 8, add and triad 12 for each element",
            "array_bytes": 4 * elements,
            "l2_cache_bytes": cache,
            "link_bytes": LINK_BYTES,
        }
        readings = [_reading("peak_gb_per_s", max((max(of) for of in rates.values()), default=None), why_not)]
        for name in BYTES:
            of = rates.get(name, [])
            readings.append(_reading(f"{name}_gb_per_s", max(of, default=None), why_not, tuple(of), BYTES[name] * elements))
            readings.append(_reading(f"{name}_median_gb_per_s", median(of) if of else None, why_not))
        readings += [_reading(f"{name}_gb_per_s", max(of), "", tuple(of), LINK_BYTES) for name, of in links.items()]
        return Readings(tuple(readings), facts)


def _kernels(device: CudaDevice, elements: int, *parts: Share) -> dict[str, list[float]]:
    """Return GB/s of each kernel in each batch. The parts of the time are added up, and divided among the kernels."""
    torch = device.torch
    a, b, c = (torch.full((elements,), value, device="cuda", dtype=torch.float32) for value in (1.0, 2.0, 0.0))
    calls = {
        "copy": lambda: c.copy_(a),
        "add": lambda: torch.add(a, b, out=c),
        "triad": lambda: torch.add(b, c, alpha=SCALAR, out=a),
    }
    each = sum(part.seconds for part in parts) / len(calls)
    return {
        name: [BYTES[name] * elements / taken / 1e9 for taken in device.seconds_per_call(call, Share(each))] for name, call in calls.items()
    }


def _links(device: CudaDevice, share: Share) -> dict[str, list[float]]:
    """Return GB/s of each link and way, once for each copy.

    A copy is timed by the host, from its start until the device has finished: the copy from pageable memory is partly work of the host.
    """
    torch = device.torch
    on_device = torch.zeros(LINK_BYTES, device="cuda", dtype=torch.uint8)
    found: dict[str, list[float]] = {}
    for position, name in enumerate(LINKS):
        on_host = torch.zeros(LINK_BYTES, dtype=torch.uint8, pin_memory=name.endswith("_pinned"))
        target, source = (on_device, on_host) if name.startswith("host_to_device") else (on_host, on_device)
        part = share.part(len(LINKS) - position)
        rates: list[float] = []
        target.copy_(source)
        while len(rates) < LEAST_COPIES or (not part.is_over() and len(rates) < MOST_COPIES):
            device.synchronize()
            begin = perf_counter_ns()
            target.copy_(source, non_blocking=True)
            device.synchronize()
            rates.append(LINK_BYTES / (perf_counter_ns() - begin))  # bytes per nanosecond are GB/s
        found[name] = rates
    return found


def _reading(name: str, value: float | None, why_not: str = "", calls: tuple[float, ...] = (), per_call: float = 1.0) -> Reading:
    return Reading(name, "GB/s", "higher", value, why_not, calls, per_call)
