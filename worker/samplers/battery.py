"""Samples batteries that Linux shows in /sys/class/power_supply: what the whole device takes while it runs on them.

`power_now` (µW) and `energy_now` (µWh), or `current_now` (µA), `charge_now` (µAh) and `voltage_now` (µV; kernel documentation,
power_supply). While a battery is charged, its power says nothing about what the device takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.columns import Column
from worker.samplers.base import Lack, Place, Values, Vanished
from worker.samplers.column_names import unused, word
from worker.samplers.kept_file import number_in, text_in

FOLDER = "sys/class/power_supply"
DISCHARGING = "discharging"
GONE = "this battery is not there any more"


def lack(place: Place) -> Lack | None:
    batteries = _batteries(place.root)
    if not batteries:
        return Lack("the device has no battery that the system shows (in /sys/class/power_supply)")
    used = [battery for battery in batteries if not _plugged_in(battery)]
    if not used:
        return Lack("the device does not run on its battery", "unplug it to measure the power of the whole device")
    if all(_says_no_power(battery) and _says_no_energy(battery) for battery in used):
        return Lack(_says_no_power(used[0]))
    return None


class Battery:
    """Samples how much power each battery gives, how much energy it has given since the start, and how full it is."""

    def __init__(self, place: Place) -> None:
        self._root = place.root
        self._batteries: dict[str, Path] = {}  # by the beginning of their columns' names
        self._first: dict[str, float] = {}
        self._missing: dict[str, str] = {}

    def open(self) -> Sequence[Column]:
        found = _batteries(self._root)
        if not found:
            raise Vanished(str(lack(Place(root=self._root))))
        columns = []
        for battery in found:
            name = unused(f"battery_{word(battery.name)}", self._batteries)
            self._batteries[name] = battery
            power, energy = f"{name}_w", f"{name}_j"
            charged = _plugged_in(battery)
            self._missing |= {power: charged or _says_no_power(battery), energy: charged or _says_no_energy(battery)}
            columns += [
                Column(
                    name=power,
                    unit="W",
                    source="battery",
                    device=battery.name,
                    role="power",
                    feeds="board",
                    missing=self._missing[power],
                ),
                Column(
                    name=energy,
                    unit="J",
                    source="battery",
                    device=battery.name,
                    role="energy",
                    feeds="board",
                    missing=self._missing[energy],
                ),
                Column(name=f"{name}_percent", unit="percent", source="battery", device=battery.name),
            ]
        self._missing = {name: why for name, why in self._missing.items() if why}
        return columns

    def read(self) -> Values:
        values: list[float | None] = []
        for name, battery in self._batteries.items():
            power, energy, percent = f"{name}_w", f"{name}_j", f"{name}_percent"
            if charged := _plugged_in(battery):
                self._missing = {power: charged, energy: charged} | self._missing
                if charged == GONE:
                    self._missing[percent] = GONE
            values += [
                None if power in self._missing else _watts(battery),
                None if energy in self._missing else self._given(battery),
                None if percent in self._missing else number_in(battery / "capacity"),
            ]
        return values

    def missing(self) -> Mapping[str, str]:
        return self._missing

    def close(self) -> None:
        """Do nothing, because nothing stays open."""

    def _given(self, battery: Path) -> float | None:
        """Return the energy that the battery has given since the first reading, in J."""
        left = _joules_left(battery)
        if left is None:
            return None
        return self._first.setdefault(battery.name, left) - left


def _batteries(root: Path) -> list[Path]:
    folders = sorted((root / FOLDER).glob("*"))
    # A battery of a mouse or a headset has the scope `Device`.
    return [one for one in folders if text_in(one / "type") == "Battery" and text_in(one / "scope") != "Device"]


def _says_no_power(battery: Path) -> str:
    return "" if _watts(battery) is not None else "the system shows no power of this battery (power_now, or current_now and voltage_now)"


def _says_no_energy(battery: Path) -> str:
    return "" if _joules_left(battery) is not None else "the system does not show how much energy is left in this battery"


def _plugged_in(battery: Path) -> str:
    status = text_in(battery / "status").lower()
    if not status and not battery.exists():
        return GONE
    return "" if status == DISCHARGING else f"the device does not run on this battery (it is {status or 'in an unknown state'})"


def _watts(battery: Path) -> float | None:
    power = number_in(battery / "power_now")
    if power is not None:
        return abs(power) / 1e6
    current, voltage = number_in(battery / "current_now"), number_in(battery / "voltage_now")
    return None if current is None or voltage is None else abs(current) * voltage / 1e12


def _joules_left(battery: Path) -> float | None:
    energy = number_in(battery / "energy_now")
    if energy is not None:
        return energy / 1e6 * 3600
    charge, voltage = number_in(battery / "charge_now"), number_in(battery / "voltage_min_design") or number_in(battery / "voltage_now")
    return None if charge is None or voltage is None else charge * voltage / 1e12 * 3600
