"""How quiet the machine was around a measurement, as facts and as a grade.

`noisy`: something took time from the measurement, or slowed it. `fair`: nothing was seen to, but the machine is of a
kind, or is set in a way, that lets timings move. `quiet`: neither. Every grade but `quiet` comes with its reasons.

What a probe cannot tell is None, whatever keeps it from telling: no sensor may cost a measurement.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import psutil

from shared.clock import Clock
from shared.measurements import Noise

log = logging.getLogger(__name__)

T = TypeVar("T")
Grade = Literal["quiet", "fair", "noisy"]

# The load before is looked at over what has passed since the last look: at least this, so that the kernel's ticks of
# 10 ms can tell something, and at most that, so that it is the load *just* before.
MIN_WINDOW_S = 0.05
MAX_WINDOW_S = 10.0
# Shares of the whole machine above which others' work is called noise. 5 % of two cores is a tenth of one.
BUSY_FAIR, BUSY_NOISY = 0.05, 0.20
STEAL_FAIR, STEAL_NOISY = 0.005, 0.02
HOT_C = 90.0  # most processors throttle between 95 and 105 °C

_CPU = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class CpuTimes:
    """One look at the machine's clocks: seconds since some start, summed over its CPUs; `own_s` of this process."""

    at: float
    busy_s: float
    steal_s: float
    total_s: float
    own_s: float


@dataclass(frozen=True)
class MachineState:
    """What may change while measuring."""

    cpu: CpuTimes | None
    frequency_mhz: float | None = None
    throttle_events: int | None = None
    temperature_c: float | None = None
    gpu_processes: frozenset[int] | None = None  # None also where they were not looked for: what runs on a CPU shares none


class NoiseProbe:
    """Looks before, looks after, grades the difference. One measurement at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: CpuTimes | None = None
        self._before: MachineState | None = None
        self._facts: dict[str, Any] = {}
        self._mute: set[str] = set()  # probes whose failure has been told

    def remember(self) -> None:
        """Begin the window over which the load before the next measurement is seen."""
        self._last = self._look()

    def before(self, capability: str) -> None:
        """Right before the first process is measured. Waits for up to `MIN_WINDOW_S` where the last look was just now."""
        last = self._last
        if last is None or self._clock.monotonic() - last.at > MAX_WINDOW_S:
            last = self._look()
        if last is not None and (short := MIN_WINDOW_S - (self._clock.monotonic() - last.at)) > 0:
            self._clock.sleep(short)
        state = self._state(capability)
        self._facts = {name: self._told(name, probe) for name, probe in _SETTINGS.items()}
        self._facts |= {"capability": capability, "busy_before": _others_share(last, state.cpu, 0.0)}
        self._before = state

    def after(self, own_cpu_s: float) -> Noise:
        """Right after the last process. `own_cpu_s` is the CPU time of the measured processes, which is no noise."""
        before = self._before
        if before is None:
            raise RuntimeError("noise was asked for without a look before")
        state = self._state(self._facts["capability"])
        self._last, self._before = state.cpu, None
        facts = self._facts | {
            "busy_by_others": _others_share(before.cpu, state.cpu, own_cpu_s),
            "steal": _steal_share(before.cpu, state.cpu),
            "frequency_mhz_before": before.frequency_mhz,
            "frequency_mhz_after": state.frequency_mhz,
            "temperature_c_before": before.temperature_c,
            "temperature_c_after": state.temperature_c,
            "throttle_events": _difference(before.throttle_events, state.throttle_events),
            "foreign_gpu_processes": seen_on_gpu(before.gpu_processes, state.gpu_processes),
        }
        return grade(facts)

    def _told(self, name: str, probe: Callable[[], T]) -> T | None:
        try:
            return probe()
        except Exception as error:  # noqa: BLE001 - drivers raise what they like; what they do not tell is None, and said
            if name not in self._mute:
                log.warning("this device does not tell its %s: %s: %s", name.replace("_", " "), type(error).__name__, error)
            self._mute.add(name)
            return None

    def _look(self) -> CpuTimes | None:
        return self._told("cpu_times", lambda: _cpu_times(self._clock))

    def _state(self, capability: str) -> MachineState:
        return MachineState(
            cpu=self._look(),
            frequency_mhz=self._told("frequency", _frequency_mhz),
            throttle_events=self._told("throttle_events", _throttle_events),
            temperature_c=self._told("temperature", _temperature),
            gpu_processes=self._told("gpu_processes", _gpu_processes) if capability.startswith("gpu.cuda") else None,
        )


def grade(facts: dict[str, Any]) -> Noise:
    """The grade of the facts, and every reason for it, the worst first. A fact that is None speaks for nothing."""
    noisy: list[str] = []
    fair: list[str] = []

    def judge(value: float | None, fair_above: float, noisy_above: float, reason: str) -> None:
        if value is not None and value > fair_above:
            (noisy if value > noisy_above else fair).append(reason.format(value))

    judge(facts.get("busy_before"), BUSY_FAIR, BUSY_NOISY, "the CPU was {:.0%} busy with other work just before")
    judge(facts.get("busy_by_others"), BUSY_FAIR, BUSY_NOISY, "other work took {:.0%} of the CPU while measuring")
    judge(facts.get("steal"), STEAL_FAIR, STEAL_NOISY, "the hypervisor took {:.1%} of the CPU")
    judge(facts.get("throttle_events"), 0, 0, "the processor throttled {:.0f} times")
    judge(facts.get("temperature_c_after"), HOT_C, HOT_C, "the processor was at {:.0f} °C")
    if foreign := facts.get("foreign_gpu_processes"):
        noisy.append(f"other processes use the GPU: {', '.join(map(str, foreign))}")
    if facts.get("on_battery"):
        noisy.append("the device runs on its battery")
    if (governor := facts.get("governor")) and governor != "performance":
        fair.append(f"the frequency governor is {governor}")
    if facts.get("turbo"):
        fair.append("turbo is on: the frequency depends on heat and on the other cores")
    if facts.get("virtual"):
        fair.append("a virtual machine: its host's other work cannot be seen")
    verdict: Grade = "noisy" if noisy else "fair" if fair else "quiet"
    return Noise(grade=verdict, reasons=noisy + fair, facts=facts)


def _cpu_times(clock: Clock) -> CpuTimes:
    times = psutil.cpu_times()
    steal = float(getattr(times, "steal", 0.0))
    idle = times.idle + float(getattr(times, "iowait", 0.0))
    # guest time is part of user's already (proc(5))
    total = sum(times) - float(getattr(times, "guest", 0.0)) - float(getattr(times, "guest_nice", 0.0))
    return CpuTimes(clock.monotonic(), total - idle - steal, steal, total, time.process_time())


def _others_share(before: CpuTimes | None, after: CpuTimes | None, measured_s: float) -> float | None:
    """Share of all CPUs that neither this process nor the measured ones used; None for a window without a tick."""
    if before is None or after is None or (total := after.total_s - before.total_s) <= 0:
        return None
    busy = after.busy_s - before.busy_s - (after.own_s - before.own_s) - measured_s
    return min(1.0, max(0.0, busy / total))


def _steal_share(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    if before is None or after is None or (total := after.total_s - before.total_s) <= 0:
        return None
    return (after.steal_s - before.steal_s) / total


def _frequency_mhz() -> float | None:
    frequency = psutil.cpu_freq()
    return float(frequency.current) if frequency else None


def _on_battery() -> bool | None:
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return None if battery is None or battery.power_plugged is None else not battery.power_plugged


def _load() -> float | None:
    return psutil.getloadavg()[0] if hasattr(psutil, "getloadavg") else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _governor() -> str | None:
    """The governors in use; a machine with two kinds of cores may have two."""
    found = {text for policy in sorted((_CPU / "cpufreq").glob("policy*")) if (text := _read(policy / "scaling_governor"))}
    return " and ".join(sorted(found)) or None


def _turbo() -> bool | None:
    if (no_turbo := _read(_CPU / "intel_pstate" / "no_turbo")) is not None:
        return no_turbo == "0"
    if (boost := _read(_CPU / "cpufreq" / "boost")) is not None:
        return boost == "1"
    return None


def _virtual() -> bool | None:
    """Whether the processor says that it runs under a hypervisor (x86); elsewhere what the firmware calls the machine."""
    cpuinfo = _read(Path("/proc/cpuinfo"))
    if cpuinfo and "flags" in cpuinfo:
        flags = next(line for line in cpuinfo.splitlines() if line.startswith("flags"))
        return "hypervisor" in flags.split()
    product = _read(Path("/sys/class/dmi/id/product_name"))
    return None if product is None else any(word in product.lower() for word in ("virtual", "kvm", "qemu", "vmware", "ec2"))


def _throttle_events() -> int | None:
    counts = [_read(path) for path in _CPU.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return sum(int(count) for count in counts if count) if counts else None


def _temperature() -> float | None:
    """The hottest sensor of the processor, °C."""
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    sensors = psutil.sensors_temperatures()
    names = [name for name in ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz") if name in sensors]
    return max((reading.current for reading in sensors[names[0]]), default=None) if names else None


def _gpu_processes() -> frozenset[int]:
    """Processes that compute on any NVIDIA GPU now; looked for before and after, when none of ours does.

    Raises:
        NVMLError: no driver, or one that does not say.
    """
    import pynvml

    pynvml.nvmlInit()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return frozenset(process.pid for handle in handles for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle))
    finally:
        with contextlib.suppress(pynvml.NVMLError):  # what was asked has been answered, or says itself why not
            pynvml.nvmlShutdown()


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def seen_on_gpu(before: frozenset[int] | None, after: frozenset[int] | None) -> list[int] | None:
    """Those seen before or after; None when one of the looks told nothing and the other saw none."""
    seen = (before or frozenset()) | (after or frozenset())
    return sorted(seen) if seen or (before is not None and after is not None) else None


_SETTINGS: dict[str, Callable[[], Any]] = {
    "cpus": psutil.cpu_count,
    "governor": _governor,
    "turbo": _turbo,
    "virtual": _virtual,
    "on_battery": _on_battery,
    "load_1m": _load,
}
