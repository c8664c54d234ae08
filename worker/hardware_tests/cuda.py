"""Opens the CUDA device of this process through torch, and measures time on it with the device's own events."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.errors import EngineUnavailable
from worker.hardware_tests.base import Share

BATCH_S = 0.02  # the calls between two events take at least this long, so that the cost of starting them does not show
LEAST_BATCHES = 10
MOST_BATCHES = 1_000
MOST_CALLS = 10_000


@dataclass(frozen=True)
class CudaDevice:
    """Is one CUDA device. `torch` is the library, `properties` is what it says about the device."""

    torch: Any
    properties: Any

    @property
    def name(self) -> str:
        return str(self.properties.name)

    @property
    def uuid(self) -> str:
        """Return the device's id as NVML writes it. Empty for a torch that does not tell it."""
        found = getattr(self.properties, "uuid", None)
        return "" if found is None else f"GPU-{found}"

    @property
    def compute_capability(self) -> tuple[int, int]:
        return int(self.properties.major), int(self.properties.minor)

    def free_bytes(self) -> int:
        return int(self.torch.cuda.mem_get_info()[0])

    def synchronize(self) -> None:
        self.torch.cuda.synchronize()

    def seconds_per_call(self, call: Callable[[], object], share: Share) -> list[float]:
        """Return the seconds of one call, once for each batch. A batch is many calls between one pair of events."""
        call()  # the first call may load the kernel
        once = self._batch(call, 1)
        calls = max(1, min(math.ceil(BATCH_S / max(once, 1e-7)), MOST_CALLS))
        taken: list[float] = []
        while len(taken) < LEAST_BATCHES or (not share.is_over() and len(taken) < MOST_BATCHES):
            taken.append(self._batch(call, calls) / calls)
        return taken

    def _batch(self, call: Callable[[], object], calls: int) -> float:
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.synchronize()
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def facts(self) -> dict[str, Any]:
        return {"device": self.name, "uuid": self.uuid, "torch": str(self.torch.__version__), "cuda": str(self.torch.version.cuda)}


def open_cuda() -> CudaDevice:
    """Return the first CUDA device that this process may use.

    Raises:
        EngineUnavailable: torch is not installed, was built without CUDA, or sees no device.
    """
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise EngineUnavailable(f"hardware.cuda needs torch, which cannot be imported: {error}") from error
    if not torch.cuda.is_available():
        built = "was built without CUDA" if torch.version.cuda is None else f"(CUDA {torch.version.cuda}) sees no device"
        raise EngineUnavailable(f"hardware.cuda: torch {torch.__version__} {built}")
    return CudaDevice(torch, torch.cuda.get_device_properties(torch.cuda.current_device()))
