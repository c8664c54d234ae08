"""Is a double of torch on a CUDA device whose speed is known. It has the calls that the hardware tests use, and no data.

As on a device, a call only puts its kernel into a queue and returns after the cost of a launch. Kernels run one after the other,
`synchronize` waits for the last one, and an event has the time at which the device reaches it. Time is simulated: it passes only in the
calls, so that the figures are exact on a busy machine, too.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from worker.hardware_tests import base, conditions, cuda_bandwidth, cuda_latency, products

SIZES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "int8": 1, "uint8": 1}


@dataclass
class Speeds:
    """Holds what the device can do, in the units of the figures."""

    memory_gb_per_s: float = 2_000.0
    tflops: dict[str, float] = field(
        default_factory=lambda: {"float64": 0.01, "float32": 0.02, "tf32": 0.04, "bfloat16": 0.08, "float16": 0.08, "int8": 0.16}
    )
    links_gb_per_s: dict[tuple[str, str, bool], float] = field(
        default_factory=lambda: {
            ("cpu", "cuda", True): 50.0,
            ("cuda", "cpu", True): 40.0,
            ("cpu", "cuda", False): 20.0,
            ("cuda", "cpu", False): 16.0,
        }
    )
    launch_s: float = 20e-6
    shortest_kernel_s: float = 2e-6
    capability: tuple[int, int] = (8, 0)
    l2_bytes: int = 40 * 2**20
    free_bytes: int = 40 * 2**30
    total_bytes: int = 80 * 2**30


@dataclass(frozen=True)
class Tensor:
    device: Device
    elements: int
    dtype: str
    where: str = "cuda"
    pinned: bool = False

    @property
    def bytes(self) -> int:
        return self.elements * SIZES[self.dtype]

    def copy_(self, source: Tensor, non_blocking: bool = False) -> Tensor:
        if (source.where, self.where) == ("cuda", "cuda"):
            self.device.moves(source.bytes + self.bytes)
        else:
            pinned = source.pinned or self.pinned
            self.device.runs(self.bytes / 1e9 / self.device.speeds.links_gb_per_s[(source.where, self.where, pinned)])
            if not (pinned and non_blocking):
                self.device.synchronize()
        return self

    def zero_(self) -> Tensor:
        self.device.runs(self.device.speeds.shortest_kernel_s)
        return self

    def to(self, kind: str) -> Tensor:
        return Tensor(self.device, self.elements, kind, self.where)

    def clamp(self, _low: float, _high: float) -> Tensor:
        return self

    def t(self) -> Tensor:
        return self

    def __mul__(self, _factor: float) -> Tensor:
        return self


class Device:
    def __init__(self, speeds: Speeds) -> None:
        self.speeds = speeds
        self.now = 1_000.0  # the host's time in seconds
        self.is_free_at = 0.0

    def perf_counter_ns(self) -> int:
        self.now += 50e-9  # the time that reading a clock takes
        return int(self.now * 1e9)

    def runs(self, seconds: float) -> None:
        """Put a kernel into the queue. The host is busy only with the launch."""
        self.is_free_at = max(self.now, self.is_free_at) + max(seconds, self.speeds.shortest_kernel_s)
        self.now += self.speeds.launch_s

    def moves(self, count: int) -> None:
        self.runs(count / 1e9 / self.speeds.memory_gb_per_s)

    def synchronize(self) -> None:
        self.now = max(self.now, self.is_free_at)


class Event:
    def __init__(self, device: Device) -> None:
        self._device, self.at = device, 0.0

    def record(self) -> None:
        self.at = max(self._device.now, self._device.is_free_at)

    def synchronize(self) -> None:
        self._device.now = max(self._device.now, self.at)

    def elapsed_time(self, end: Event) -> float:
        return (end.at - self.at) * 1e3  # in milliseconds


def cuda_torch(speeds: Speeds | None = None, *, available: bool = True, cuda: str | None = "13.0") -> Any:
    """Return the double. Put it into `sys.modules` under the name `torch`."""
    device = Device(speeds or Speeds())
    rates = device.speeds.tflops
    matmul = SimpleNamespace(allow_tf32=False)

    def tensor(elements: int, dtype: str, where: str = "cuda", pinned: bool = False) -> Tensor:
        return Tensor(device, elements, dtype, where, pinned)

    def product(elements: int, rate: float) -> None:
        device.runs(2 * elements**1.5 / 1e12 / rate)

    def add(one: Tensor, other: Tensor, *, out: Tensor, alpha: float = 1.0) -> Tensor:
        device.moves(one.bytes + other.bytes + out.bytes)
        return out

    def mm(a: Tensor, _b: Tensor, *, out: Tensor) -> Tensor:
        product(a.elements, rates["tf32" if a.dtype == "float32" and matmul.allow_tf32 else a.dtype])
        return out

    def scaled_mm(a: Tensor, _b: Tensor, **_more: object) -> Tensor:
        if device.speeds.capability < (8, 9):
            raise RuntimeError("torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or 8.9, or ROCm MI300+")
        product(a.elements, rates["float8_e4m3fn"])
        return a

    def int_mm(a: Tensor, _b: Tensor) -> Tensor:
        product(a.elements, rates["int8"])
        return a

    def square(rows: int, columns: int, *, device: str, dtype: str = "float32") -> Tensor:
        return tensor(rows * columns, dtype, device)

    major, minor = device.speeds.capability
    properties = SimpleNamespace(
        name="NVIDIA Double",
        uuid="1234",
        major=major,
        minor=minor,
        L2_cache_size=device.speeds.l2_bytes,
        total_memory=device.speeds.total_bytes,
    )

    def event(*, enable_timing: bool) -> Event:
        assert enable_timing, "an event without timing has no time"
        return Event(device)

    return SimpleNamespace(
        __version__="2.13.0",
        perf_counter_ns=device.perf_counter_ns,  # torch has no such function: this is the simulated clock, for the modules that measure
        version=SimpleNamespace(cuda=cuda, hip=None),
        **{name: name for name in SIZES},
        backends=SimpleNamespace(cuda=SimpleNamespace(matmul=matmul)),
        cuda=SimpleNamespace(
            is_available=lambda: available,
            device_count=lambda: 1,
            current_device=lambda: 0,
            get_device_properties=lambda _index: properties,
            mem_get_info=lambda _index=0: (device.speeds.free_bytes, device.speeds.total_bytes),
            synchronize=device.synchronize,
            Event=event,
        ),
        full=lambda size, _value, *, device, dtype: tensor(size[0], dtype, device),
        zeros=lambda size, *, device="cpu", dtype="float32", pin_memory=False: tensor(size, dtype, device, pin_memory),
        ones=lambda _size, *, device, dtype: tensor(1, dtype, device),
        empty=square,
        randn=square,
        add=add,
        mm=mm,
        _scaled_mm=scaled_mm,
        _int_mm=int_mm,
    )


def install(monkeypatch: pytest.MonkeyPatch, speeds: Speeds | None = None) -> None:
    """Put the double in the place of torch, and its clock in the place of the clock of the modules that measure."""
    torch = cuda_torch(speeds)
    monkeypatch.setitem(sys.modules, "torch", torch)
    for module in (base, conditions, cuda_bandwidth, cuda_latency, products):
        monkeypatch.setattr(module, "perf_counter_ns", torch.perf_counter_ns)
