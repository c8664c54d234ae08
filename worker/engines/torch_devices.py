"""Opens the device of a capability of PyTorch: where a model is put, when its work is done, and how much of its memory was used.

Each device gets the module `torch` from its engine, so that the calls can be tested where no such device is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from shared.errors import EngineUnavailable

MB = 2**20
RESIDENT = "tensors that are on the device already; nothing is copied within an inference"


class Device(Protocol):
    """Is the device that a model runs on."""

    name: str  # the name that torch uses

    def finished(self, call: Callable[[], object]) -> Callable[[], object]:
        """Return a call that makes `call` and returns when its work on the device is done."""

    def wait(self) -> None:
        """Wait until the device has done everything that it was given."""

    def start_phase(self) -> None:
        """Begin a new peak of the device's memory."""

    def peak_mb(self) -> float | None:
        """Return the most memory, in MB of 2^20 bytes, that tensors held since the phase began. None if the device does not say."""

    def room_bytes(self) -> int | None:
        """Return how much memory the device has in all. None if it is not known."""

    def facts(self) -> dict[str, Any]:
        """Return what torch reports of the device."""


class Cpu:
    """Is the processor. A call has done its work when it returns. Its memory is that of the process."""

    name = "cpu"

    def finished(self, call: Callable[[], object]) -> Callable[[], object]:
        return call

    def wait(self) -> None:
        pass

    def start_phase(self) -> None:
        pass

    def peak_mb(self) -> float | None:
        return None

    def room_bytes(self) -> int | None:
        return None  # the memory of the process may be limited in many ways

    def facts(self) -> dict[str, Any]:
        return {"device": self.name, "binding": "tensors in the memory of the process"}


class Cuda:
    """Is a GPU by CUDA, or by ROCm, which torch calls `cuda` too. A call only queues its work, so an event behind it is waited for."""

    name = "cuda"

    def __init__(self, torch: Any) -> None:
        if not torch.cuda.is_available():
            built = torch.version.cuda or torch.version.hip
            mend = "check the driver (`nvidia-smi`)" if built else "install a build of torch with CUDA (https://pytorch.org)"
            raise EngineUnavailable(f"torch {torch.__version__} finds no CUDA device here: {mend}")
        self._torch = torch

    def finished(self, call: Callable[[], object]) -> Callable[[], object]:
        done = self._torch.cuda.Event()

        def finished() -> object:
            answer = call()
            done.record()
            done.synchronize()
            return answer

        return finished

    def wait(self) -> None:
        self._torch.cuda.synchronize()

    def start_phase(self) -> None:
        self._torch.cuda.reset_peak_memory_stats()

    def peak_mb(self) -> float | None:
        return float(self._torch.cuda.max_memory_allocated()) / MB

    def room_bytes(self) -> int | None:
        return int(self._torch.cuda.mem_get_info()[1])

    def facts(self) -> dict[str, Any]:
        torch = self._torch
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return {
            "device": self.name,
            "device_name": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda or torch.version.hip,
            "cudnn": torch.backends.cudnn.version(),
            "matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn_tf32": bool(torch.backends.cudnn.allow_tf32),
            "allocator": torch.cuda.get_allocator_backend(),
            "reserved_gpu_mb": float(torch.cuda.max_memory_reserved()) / MB,
            "binding": RESIDENT,
            "synchronised": "by an event after each inference",
        }


class Mps:
    """Is the GPU of a Mac. A call only queues its work, so the device is waited for. Its allocator keeps no peak."""

    name = "mps"

    def __init__(self, torch: Any) -> None:
        if not torch.backends.mps.is_available():
            why = "needs macOS 12.3 or newer and a GPU that Metal supports" if torch.backends.mps.is_built() else "was built without MPS"
            raise EngineUnavailable(f"torch {torch.__version__} finds no MPS device here: it {why}")
        self._torch = torch

    def finished(self, call: Callable[[], object]) -> Callable[[], object]:
        wait = self._torch.mps.synchronize

        def finished() -> object:
            answer = call()
            wait()
            return answer

        return finished

    def wait(self) -> None:
        self._torch.mps.synchronize()

    def start_phase(self) -> None:
        pass

    def peak_mb(self) -> float | None:
        return None

    def room_bytes(self) -> int | None:
        return int(self._torch.mps.recommended_max_memory())

    def facts(self) -> dict[str, Any]:
        return {
            "device": self.name,
            "gpu_mb": float(self._torch.mps.driver_allocated_memory()) / MB,  # this is the present value, because there is no peak
            "binding": RESIDENT,
            "synchronised": "after each inference",
        }


_KINDS: dict[str, Callable[[Any], Device]] = {
    "cpu.torch": lambda _torch: Cpu(),
    "gpu.cuda.torch": Cuda,
    "gpu.mps.torch": Mps,
}


def open_device(torch: Any, capability: str) -> Device:
    """Return the device of a capability.

    Raises:
        EngineUnavailable: torch does not find it here.
    """
    return _KINDS[capability](torch)
