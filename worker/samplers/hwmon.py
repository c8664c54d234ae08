"""Samples power rails that Linux shows in /sys/class/hwmon: INA chips on boards, power meters of servers, AMD's GPUs.

A rail has a power (`power<n>_input` or `power<n>_average`, µW), an energy (`energy<n>_input`, µJ), or a voltage and a current with the
same number (`in<n>_input` in mV, `curr<n>_input` in mA; kernel documentation, hwmon sysfs interface), as on NVIDIA's Jetson boards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared.columns import Column, Feeds
from worker.samplers.base import Lack, Place, Values, Vanished
from worker.samplers.column_names import unused, word
from worker.samplers.kept_file import KeptFile, text_in

FOLDER = "sys/class/hwmon"
GPUS = ("amdgpu",)
# These are labels of the rail that feeds the whole board: NVIDIA's Jetson boards, and server power meters. Other rails are parts of it.
WHOLE_BOARD = re.compile(r"vdd_in|pom_5v_in|vdd_5v_in|sys(tem)?[ _]?(in|total|power)|power_meter|total", re.IGNORECASE)
METERS = ("power_meter", "acpi_power_meter")
MAX_RAILS = 32

_Number = tuple[Path, str]  # the folder of a chip, and the number of one of its rails


@dataclass
class _Rail:
    name: str  # the name of the column
    files: tuple[KeptFile, ...]
    scale: float  # the value of one unit, or of a product of two, in W or J


def lack(place: Place) -> Lack | None:
    return None if _found(place.root) else Lack("the system shows no power rail (in /sys/class/hwmon)")


class Hwmon:
    """Samples the power of each rail, and its energy where the chip counts it."""

    def __init__(self, place: Place) -> None:
        self._root = place.root
        self._rails: list[_Rail] = []
        self._missing: dict[str, str] = {}

    def open(self) -> Sequence[Column]:
        columns: list[Column] = []
        lost: set[_Number] = set()  # rails of the whole device of which something cannot be read
        read: dict[str, set[_Number]] = {"power": set(), "energy": set()}  # rails that can be read, by role
        for sensor in _chosen(_found(self._root)):
            name = f"hwmon_{sensor.chip}_{sensor.label}_{'j' if sensor.role == 'energy' else 'w'}"
            name = unused(name, {column.name for column in columns})
            files, why = _opened(sensor.paths)
            self._rails.append(_Rail(name, files, sensor.scale))
            if sensor.feeds == "board":
                (lost if why else read[sensor.role]).add(sensor.number)
            columns.append(
                Column(
                    name=name,
                    unit="J" if sensor.role == "energy" else "W",
                    source="hwmon",
                    device=sensor.device,
                    role="energy" if sensor.role == "energy" else "power",
                    feeds=sensor.feeds,
                    missing=why,
                )
            )
        if not columns:
            raise Vanished(str(lack(Place(root=self._root))))
        # The power of the whole device is that of all its feeds, and so is its energy. If one feed is lacking, those that can be read are
        # shown, and enter no figure. A power is complete although the energy of one of its rails cannot be read, and the other way round.
        incomplete = {role for role, rails in read.items() if not lost <= rails}
        return [
            replace(one, role="value") if one.feeds == "board" and not one.missing and one.role in incomplete else one for one in columns
        ]

    def read(self) -> Values:
        return [self._value(rail) for rail in self._rails]

    def missing(self) -> Mapping[str, str]:
        return self._missing

    def close(self) -> None:
        for rail in self._rails:
            for file in rail.files:
                file.close()

    def _value(self, rail: _Rail) -> float | None:
        if not rail.files or rail.name in self._missing:
            return None
        value = rail.scale
        try:
            for file in rail.files:
                value *= file.number()
        except OSError as error:
            self._missing[rail.name] = f"the rail could not be read any more: {error.strerror or error}"
            return None
        return value


@dataclass(frozen=True)
class _Sensor:
    chip: str
    label: str
    device: str  # two GPUs may have the same label, so a GPU has the address of its card
    role: str
    feeds: Feeds
    paths: tuple[Path, ...]
    scale: float

    @property
    def number(self) -> _Number:
        return self.paths[0].parent, re.sub(r"\D", "", self.paths[0].name)


def _chosen(found: Sequence[_Sensor]) -> list[_Sensor]:
    """Return the sensors that are read: those that enter figures first. Only one chip's rails are taken for the whole device.

    Two chips may both show all that the device takes, such as a meter of the board and one in the power supply. Their sum would be twice
    the power of the device.
    """
    whole = next((sensor.chip for sensor in found if sensor.feeds == "board"), "")
    single = [replace(one, feeds="") if one.feeds == "board" and one.chip != whole else one for one in found]
    return sorted(single, key=lambda one: not one.feeds)[:MAX_RAILS]


def _found(root: Path) -> list[_Sensor]:
    found: list[_Sensor] = []
    for folder in sorted((root / FOLDER).glob("hwmon*")):
        chip = word(text_in(folder / "name") or folder.name)
        powers = sorted([*folder.glob("power*_input"), *folder.glob("power*_average")])
        numbers = set()
        for path in powers:
            number = re.sub(r"\D", "", path.name)
            if number not in numbers:  # a rail with both has its present value in `_input`, and it sorts after `_average`
                numbers.add(number)
                found.append(_sensor(folder, chip, f"power{number}", "power", (_preferred(folder, number),), 1e-6))
        found += [
            _sensor(folder, chip, path.name.removesuffix("_input"), "energy", (path,), 1e-6)
            for path in sorted(folder.glob("energy*_input"))
        ]
        if not powers:
            for current in sorted(folder.glob("curr*_input")):
                number = re.sub(r"\D", "", current.name)
                voltage = folder / f"in{number}_input"
                if voltage.exists():
                    found.append(_sensor(folder, chip, f"in{number}", "power", (voltage, current), 1e-6))
    return found


def _preferred(folder: Path, number: str) -> Path:
    now = folder / f"power{number}_input"
    return now if now.exists() else folder / f"power{number}_average"


def _sensor(folder: Path, chip: str, which: str, role: str, paths: tuple[Path, ...], scale: float) -> _Sensor:
    label = text_in(folder / f"{which}_label")
    feeds: Feeds = "gpu" if chip in GPUS else "board" if chip in METERS or (label and WHOLE_BOARD.search(label)) else ""
    name = word(label or which)
    return _Sensor(chip, name, _card(folder) if feeds == "gpu" else name, role, feeds, paths, scale)


def _card(folder: Path) -> str:
    """Return what tells the card of a sensor from others: its PCI address, or the name of the sensor's folder where there is none."""
    device = folder / "device"
    return device.resolve().name if device.exists() else folder.name


def _opened(paths: Sequence[Path]) -> tuple[tuple[KeptFile, ...], str]:
    files: list[KeptFile] = []
    try:
        for path in paths:
            files.append(KeptFile(path))
            files[-1].number()
    except OSError as error:
        for file in files:
            file.close()
        return (), f"{path} cannot be read: {error.strerror or error}"
    return tuple(files), ""
