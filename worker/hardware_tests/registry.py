"""Maps each hardware test of each device to its class.

A new test needs one file beside this one, one line here, and its name in `shared/kinds/hardware.py`, so that a recipe can ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable, nearest
from worker import plug_ins
from worker.hardware_tests.base import HardwareTest

if TYPE_CHECKING:
    from worker.hardware import Hardware


@dataclass(frozen=True)
class TestEntry:
    """Says where a test is (`module:Class`), and which libraries it cannot do without.

    Attributes:
        present: A function, as `module:name`, that gets a capability and the `Hardware`. It returns why this device cannot run the test, or
            an empty text if it really can. Without one, the libraries are enough.
        weight: How large its share of the time is, compared with the other tests of the same run.
        unset: Environment variables that must not be set in the measured process, because they make a library slower than the device.
    """

    target: str
    needs: tuple[str, ...] = ()
    present: str = ""
    weight: float = 1.0
    unset: tuple[str, ...] = ()


# OpenBLAS computes with the kernels of the processor that this variable names, not with those of the processor that is there.
_CORE_TYPE = ("OPENBLAS_CORETYPE",)
_CUDA = "worker.hardware_tests.cuda_presence:why_not"

# The keys are the capability and then the name that a recipe uses.
TESTS: dict[str, dict[str, TestEntry]] = {
    "hardware.cpu": {
        "bandwidth": TestEntry("worker.hardware_tests.cpu_bandwidth:CpuBandwidth", ("numpy",)),
        "flops": TestEntry("worker.hardware_tests.cpu_flops:CpuFlops", ("numpy",), weight=2.0, unset=_CORE_TYPE),
        "latency": TestEntry("worker.hardware_tests.cpu_latency:CpuLatency", ("numpy",), weight=0.5),
    },
    "hardware.cuda": {
        "bandwidth": TestEntry("worker.hardware_tests.cuda_bandwidth:CudaBandwidth", ("torch",), _CUDA),
        "flops": TestEntry("worker.hardware_tests.cuda_flops:CudaFlops", ("torch",), _CUDA, weight=2.0),
        "latency": TestEntry("worker.hardware_tests.cuda_latency:CudaLatency", ("torch",), _CUDA, weight=0.5),
    },
    # This test returns figures that are known in advance, so that tests can check what is made of them. No worker advertises it.
    "fake": {"known": TestEntry("worker.hardware_tests.fake:FakeTest")},
}


def entries(capability: str, tests: tuple[str, ...]) -> Mapping[str, TestEntry]:
    """Return the entries of the named tests, in the order of the names.

    Raises:
        EngineUnavailable: No hardware test measures this capability, or a name is unknown, or a library is missing.
    """
    known = TESTS.get(capability)
    if known is None:
        raise EngineUnavailable(f"no hardware test measures {capability!r}. Known: {', '.join(TESTS)}")
    found: dict[str, TestEntry] = {}
    for name in tests:
        if name not in known:
            raise EngineUnavailable(f"{capability} has no test {name!r}: {nearest(name, list(known))}")
        if missing := _missing(known[name]):
            raise EngineUnavailable(f"the test {name!r} of {capability} needs {', '.join(missing)}, which is not installed on this device")
        found[name] = known[name]
    return found


def _missing(entry: TestEntry) -> list[str]:
    return [library for library in entry.needs if find_spec(library) is None]


def why_not(capability: str, hardware: Hardware) -> str:
    """Return why this device cannot be measured under a capability, or an empty text if it can: at least one test can run."""
    reasons = list(dict.fromkeys(_why_not(entry, capability, hardware) for entry in TESTS[capability].values()))
    return "" if "" in reasons else "; ".join(reasons)


def _why_not(entry: TestEntry, capability: str, hardware: Hardware) -> str:
    if missing := _missing(entry):
        return f"{', '.join(missing)} is not installed"
    return plug_ins.why_not(entry.present, capability, hardware) if entry.present else ""


def resolve(entry: TestEntry) -> type[HardwareTest]:
    """Import and return the class of a test."""
    test: type[HardwareTest] = plug_ins.implementing(HardwareTest, entry.target)
    return test
