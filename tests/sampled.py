"""Provides doubles of what samplers read: folders as Linux shows them, an NVML that counts, and a small HTTP server with a metrics page."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, ClassVar

from tests.server_threads import http_thread

UUIDS = ("GPU-11111111-2222-3333-4444-555555555555", "GPU-99999999-8888-7777-6666-555555555555")


def put(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


def powercap(root: Path, *, uj: int = 1_000_000, range_uj: int = 262_143_328_850) -> Path:
    """Make the tree of a server with one package and its memory, as Linux shows it. Return the package's zone."""
    zone = root / "sys/class/powercap/intel-rapl:0"
    for folder, name in ((zone, "package-0"), (zone / "intel-rapl:0:0", "core"), (zone / "intel-rapl:0:1", "dram")):
        put(folder / "name", name)
        put(folder / "energy_uj", uj)
        put(folder / "max_energy_range_uj", range_uj)
    return zone


def battery(root: Path, status: str = "Discharging", **files: object) -> Path:
    folder = root / "sys/class/power_supply/BAT0"
    put(folder / "type", "Battery")
    put(folder / "status", status)
    put(folder / "capacity", 87)
    for name, value in (files or {"power_now": 12_500_000, "energy_now": 40_000_000}).items():
        put(folder / name, value)
    return folder


def jetson(root: Path) -> Path:
    """Make the rails of an INA3221 on a Jetson Orin: voltages in mV, currents in mA, and labels."""
    folder = root / "sys/class/hwmon/hwmon1"
    put(folder / "name", "ina3221")
    for number, (label, millivolts, milliamperes) in enumerate((("VDD_IN", 5000, 2000), ("VDD_CPU_GPU_CV", 5000, 900)), start=1):
        put(folder / f"in{number}_label", label)
        put(folder / f"in{number}_input", millivolts)
        put(folder / f"curr{number}_input", milliamperes)
    return folder


def processor(root: Path) -> Path:
    """Make the sensors and clocks of a processor: 61.5 °C, and two CPUs at 1.8 and 2.4 GHz."""
    put(root / "sys/class/hwmon/hwmon0/name", "coretemp")
    put(root / "sys/class/hwmon/hwmon0/temp1_input", 61_500)
    for number, khz in enumerate((1_800_000, 2_400_000)):
        put(root / f"sys/devices/system/cpu/cpufreq/policy{number}/related_cpus", number)
        put(root / f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_cur_freq", khz)
    return root


@dataclass
class FakeGpu:
    """Holds the state of one GPU of the double. `refuses` names the functions that this GPU does not support."""

    uuid: str
    watts: float = 250.0
    joules: float = 1000.0
    percent: int = 97
    memory_mb: int = 2048
    celsius: int = 64
    refuses: set[str] = field(default_factory=set)
    pids: list[int] = field(default_factory=list)
    error: int | None = None  # if set, every question gets this error
    unopened: int | None = None  # if set, NVML gives no handle of this GPU, with this error
    divided: bool | None = None  # whether it is divided into instances (MIG); None if it cannot be


class NvmlDouble(types.ModuleType):
    """Stands for the module `pynvml`, with its documented functions, units and errors. `calls` counts the questions."""

    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
    NVML_PERF_POLICY_THERMAL = 1
    NVML_ERROR_UNINITIALIZED, NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_DRIVER_NOT_LOADED = 1, 3, 9
    NVML_ERROR_TIMEOUT, NVML_ERROR_GPU_IS_LOST, NVML_ERROR_UNKNOWN = 10, 15, 999
    WORDS: ClassVar[dict[int, str]] = {
        1: "Uninitialized",
        3: "Not Supported",
        9: "Driver Not Loaded",
        10: "Timeout",
        15: "GPU is lost",
        999: "Unknown Error",
    }

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(NvmlDouble.WORDS[value])
            self.value = value

    def __init__(self, *gpus: FakeGpu) -> None:
        super().__init__("pynvml")
        self.__spec__ = ModuleSpec("pynvml", None)
        self.gpus, self.calls, self.open = list(gpus), 0, 0
        self.driver = True
        self.fails_from: tuple[int, int] | None = None  # the question from which on the first GPU gets an error, and the error

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        if not self.driver:
            raise self.NVMLError(self.NVML_ERROR_DRIVER_NOT_LOADED)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - the library's name
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's name
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802 - the library's name
        if (error := self.gpus[index].unopened) is not None:
            raise self.NVMLError(error)
        return self.gpus[index]

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:  # noqa: N802 - the library's name
        self._ask("mig", gpu)
        if gpu.divided is None:
            raise self.NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return [int(gpu.divided), int(gpu.divided)]

    def _ask(self, name: str, gpu: FakeGpu) -> None:
        self.calls += 1
        if not self.open:
            raise self.NVMLError(self.NVML_ERROR_UNINITIALIZED)
        if self.fails_from is not None and gpu is self.gpus[0] and self.calls >= self.fails_from[0]:
            raise self.NVMLError(self.fails_from[1])
        if gpu.error is not None:
            raise self.NVMLError(gpu.error)
        if name in gpu.refuses:
            raise self.NVMLError(self.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802 - the library's name
        self._ask("uuid", gpu)
        return gpu.uuid

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:  # noqa: N802 - the library's name
        self._ask("utilization", gpu)
        return types.SimpleNamespace(gpu=gpu.percent, memory=12)

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:  # noqa: N802 - the library's name
        self._ask("memory", gpu)
        return types.SimpleNamespace(total=2**37, used=gpu.memory_mb * 2**20, free=0)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802 - the library's name
        self._ask("power", gpu)
        return round(gpu.watts * 1000)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802 - the library's name
        self._ask("energy", gpu)
        return round(gpu.joules * 1000)

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, _sensor: int) -> int:  # noqa: N802 - the library's name
        self._ask("temperature", gpu)
        return gpu.celsius

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, clock: int) -> int:  # noqa: N802 - the library's name
        self._ask("clock", gpu)
        return 1980 if clock == self.NVML_CLOCK_SM else 2619

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:  # noqa: N802 - the library's name
        self._ask("throttle", gpu)
        return 0x04

    def nvmlDeviceGetViolationStatus(self, gpu: FakeGpu, _policy: int) -> Any:  # noqa: N802 - the library's name
        self._ask("violation", gpu)
        return types.SimpleNamespace(referenceTime=0, violationTime=0)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[Any]:  # noqa: N802 - the library's name
        self._ask("processes", gpu)
        return [types.SimpleNamespace(pid=pid) for pid in gpu.pids]


def with_driver(root: Path) -> Path:
    """Make the file by which Linux shows that NVIDIA's driver is loaded."""
    put(root / "dev/nvidiactl", "")
    return root


PAGE = """\
# HELP requests_total All requests.
# TYPE requests_total counter
requests_total{method="get",path="/a b\\"c"} 1027 1395066363000
requests_total{method="post"} 3
# TYPE queue_depth gauge
queue_depth 12.5
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 8
latency_seconds_sum 0.4
latency_seconds_count 9
up 1
"""


@dataclass
class Served:
    url: str
    page: str = PAGE
    status: int = 200
    asked: int = 0


@contextlib.contextmanager
def metrics_page() -> Iterator[Served]:
    """Serve a page on a free port. What is served can be changed meanwhile."""
    served = Served("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked += 1
            self.send_response(served.status)
            self.end_headers()
            self.wfile.write(served.page.encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http_thread(Handler) as port:
        served.url = f"http://127.0.0.1:{port}/metrics"
        yield served
