"""Samples the state of the processor: the clock of the fastest CPU, and the hottest sensor.

The same files tell `worker.hardware.clocks` and `worker.hardware.heat` about the noise of a measurement. Here they are found once and stay
open. That package is not imported, because it imports psutil and pydantic, which takes 60 ms of CPU time beside every measurement.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.columns import Column
from worker.samplers.base import Lack, Place, Values
from worker.samplers.kept_file import KeptFile, number_in, text_in

# These are the sensors inside a processor: Intel, AMD, then boards with an ARM chip; and the kernel's thermal zones of processors.
SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")
ZONES = ("cpu", "soc", "x86_pkg_temp", "cluster")
NO_CLOCK, NO_SENSOR = "the system shows no clock of the processor", "the system shows no temperature of the processor"
MAX_FILES = 64


def lack(place: Place) -> Lack | None:
    return None if _clocks(place, None) or _cpuinfo(place) or _sensors(place) else Lack(f"{NO_CLOCK}, and no temperature")


class CpuState:
    """Samples the clock of the fastest allowed CPU in MHz, and the temperature of the hottest sensor of the processor in °C."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clocks: list[KeptFile] = []
        self._sensors: list[KeptFile] = []
        self._info: KeptFile | None = None
        self._allowed: set[int] | None = None
        self._missing: dict[str, str] = {}

    def open(self) -> Sequence[Column]:
        if self._place.guard and hasattr(os, "sched_getaffinity"):
            self._allowed = os.sched_getaffinity(self._place.guard)
        self._clocks = _opened(_clocks(self._place, self._allowed))
        self._sensors = _opened(_sensors(self._place))
        if not self._clocks and (info := _cpuinfo(self._place)):
            self._info = KeptFile(info)
        return [
            Column("device_cpu_mhz", "MHz", "cpu", missing="" if self._clocks or self._info else NO_CLOCK),
            Column("device_cpu_temperature_c", "°C", "cpu", missing="" if self._sensors else NO_SENSOR),
        ]

    def read(self) -> Values:
        return self._mhz(), self._celsius()

    def missing(self) -> Mapping[str, str]:
        return self._missing

    def close(self) -> None:
        for file in (*self._clocks, *self._sensors, *([self._info] if self._info else [])):
            file.close()

    def _mhz(self) -> float | None:
        if self._info is not None:
            try:
                return _of_cpuinfo(self._info.text(), self._allowed)
            except OSError as error:
                self._missing["device_cpu_mhz"] = f"/proc/cpuinfo could not be read any more: {error}"
                return None
        khz = _highest(self._clocks)
        return None if khz is None else khz / 1000

    def _celsius(self) -> float | None:
        thousandths = _highest(self._sensors)
        return None if thousandths is None else thousandths / 1000


def _clocks(place: Place, allowed: set[int] | None) -> list[Path]:
    found = []
    for policy in sorted((place.root / "sys/devices/system/cpu/cpufreq").glob("policy*")):
        related = {int(word) for word in text_in(policy / "related_cpus").split() if word.isdigit()}
        if allowed is None or not related or related & allowed:
            found.append(policy / "scaling_cur_freq")
    return [path for path in found if number_in(path) is not None][:MAX_FILES]


def _cpuinfo(place: Place) -> Path | None:
    """Return /proc/cpuinfo if it has clocks. Machines without cpufreq, mostly virtual ones, have only this."""
    path = place.root / "proc/cpuinfo"
    return path if "cpu MHz" in text_in(path) else None


def _sensors(place: Place) -> list[Path]:
    found = [
        path
        for folder in sorted((place.root / "sys/class/hwmon").glob("hwmon*"))
        if text_in(folder / "name") in SENSORS
        for path in sorted(folder.glob("temp*_input"))
    ]
    found += [
        zone / "temp"
        for zone in sorted((place.root / "sys/class/thermal").glob("thermal_zone*"))
        if any(word in text_in(zone / "type").lower() for word in ZONES)
    ]
    return [path for path in found if number_in(path) is not None][:MAX_FILES]


def _opened(paths: Sequence[Path]) -> list[KeptFile]:
    return [KeptFile(path) for path in paths]


def _highest(files: Sequence[KeptFile]) -> float | None:
    """Return the largest number of some files. A sensor that cannot be read at this moment is left out."""
    found = []
    for file in files:
        try:
            found.append(file.number())
        except OSError:
            continue
    return max(found, default=None)


def _of_cpuinfo(text: str, allowed: set[int] | None) -> float | None:
    number, found = -1, []
    for line in text.splitlines():
        if line.startswith("processor"):
            number = int(line.rpartition(":")[2])
        elif line.startswith("cpu MHz") and (allowed is None or number in allowed):
            found.append(float(line.rpartition(":")[2]))
    return max(found, default=None)
