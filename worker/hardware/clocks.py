"""Reads the clocks of the CPUs: how fast they run, how fast they may run, and which settings decide that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
# The driver of most ARM boards. It creates the file `boost` if the board has clocks above the sustained ones, so without it there are none.
WITHOUT_TURBO = frozenset({"cpufreq-dt"})


@dataclass(frozen=True)
class ClockLimits:
    """Holds the limits of the clocks in MHz. None where the system does not tell."""

    max_mhz: float | None
    sustained_mhz: float | None  # the clock that all cores can hold at once: the highest clock without turbo


def read_limits(allowed: Collection[int] | None = None, cpus: Path = CPUS) -> ClockLimits:
    """Return the limits of the fastest allowed CPU."""
    highest = _fastest(cpus, allowed, "cpuinfo_max_freq")
    base = _fastest(cpus, allowed, "base_frequency") or _nominal_mhz(allowed, cpus)
    if base is None and read_turbo(cpus) is False:
        base = highest
    return ClockLimits(highest, base)


def read_mhz(allowed: Collection[int] | None = None, cpus: Path = CPUS, cpuinfo: Path = CPUINFO) -> float | None:
    """Return the current clock of the fastest allowed CPU. Idle CPUs run slowly, so the fastest one shows the clock under load."""
    current = _fastest(cpus, allowed, "scaling_cur_freq")
    return current if current is not None else _from_cpuinfo(cpuinfo, allowed)


def read_governor(cpus: Path = CPUS) -> str | None:
    """Return the frequency governors in use, joined by `and`. A machine with two kinds of cores may have two."""
    found = {text for policy in sorted((cpus / "cpufreq").glob("policy*")) if (text := _text(policy / "scaling_governor"))}
    return " and ".join(sorted(found)) or None


def read_turbo(cpus: Path = CPUS) -> bool | None:
    """Return whether single CPUs may run faster than all of them can run at once. None where the system does not tell."""
    if (no_turbo := _text(cpus / "intel_pstate" / "no_turbo")) is not None:
        return no_turbo == "0"
    if (boost := _text(cpus / "cpufreq" / "boost")) is not None:
        return boost == "1"
    drivers = {_text(policy / "scaling_driver") for policy in (cpus / "cpufreq").glob("policy*")}
    return False if drivers and drivers <= WITHOUT_TURBO else None


def _fastest(cpus: Path, allowed: Collection[int] | None, name: str) -> float | None:
    """Return the largest value of one cpufreq file over all allowed CPUs, in MHz. The file holds kHz."""
    values = []
    for policy in (cpus / "cpufreq").glob("policy*"):
        related = {int(word) for word in (_text(policy / "related_cpus") or "").split() if word.isdigit()}
        if allowed is not None and related and not related & set(allowed):
            continue
        if (text := _text(policy / name)) is not None and text.isdigit():
            values.append(int(text) / 1000)
    return max(values, default=None)


def _nominal_mhz(allowed: Collection[int] | None, cpus: Path) -> float | None:
    """Return the clock that the firmware guarantees (ACPI's CPPC: AMD, and servers with an ARM chip). Some firmware writes 0."""
    values = []
    for file in cpus.glob("cpu[0-9]*/acpi_cppc/nominal_freq"):
        number, text = file.parents[1].name.removeprefix("cpu"), _text(file) or ""
        if number.isdigit() and text.isdigit() and int(text) > 0 and (allowed is None or int(number) in allowed):
            values.append(float(text))
    return max(values, default=None)


def _from_cpuinfo(cpuinfo: Path, allowed: Collection[int] | None) -> float | None:
    """Return the fastest `cpu MHz` of /proc/cpuinfo. Machines without cpufreq, mostly virtual ones, have only this."""
    number, values = -1, []
    for line in (_text(cpuinfo) or "").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "processor" and value.isdigit():
            number = int(value)
        elif name == "cpu MHz" and (allowed is None or number in allowed):
            values.append(float(value))
    return max(values, default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
