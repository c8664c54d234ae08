"""Reads the temperature of the processor and how the system slows it down because of heat, on Intel, AMD and ARM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
# These are the sensors inside a processor: Intel, AMD, then boards with an ARM chip. Other sensors (disks, batteries) do not matter here.
SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")
ZONES = ("cpu", "soc", "x86_pkg_temp", "cluster")
COOLERS = ("cpufreq", "thermal-cpufreq", "processor", "cpu-idle")  # these cooling devices slow the processor down
# These are bits of get_throttled of a Raspberry Pi's firmware. They show the current state; the higher bits hold what has happened since
# the start.
FIRMWARE = {
    0: "the supply voltage is too low",
    1: "the firmware caps the clock",
    2: "the firmware throttles the clock",
    3: "a temperature limit",
}


@dataclass(frozen=True)
class Heat:
    """Holds one reading of the sensors. None where the system does not tell."""

    temperature_c: float | None = None  # the temperature of the processor's hottest sensor
    limit_c: float | None = None  # the temperature at which that sensor's device says it slows down
    throttle_events: int | None = None  # counted by the processor since the machine started (Intel)
    cooling: tuple[str, ...] = ()  # cooling devices that are slowing the processor down now
    firmware: tuple[str, ...] = ()  # what a Raspberry Pi's firmware reports now


def read_heat(sys: Path = SYS) -> Heat:
    """Read every available source. A sensor that cannot be read is left out."""
    readings = [*_hwmon(sys), *_zones(sys)]
    hottest = max(readings, default=None, key=lambda reading: reading[0])
    return Heat(
        temperature_c=hottest[0] if hottest else None,
        limit_c=hottest[1] if hottest else None,
        throttle_events=_throttle_events(sys),
        cooling=_cooling(sys),
        firmware=_firmware(sys),
    )


def _hwmon(sys: Path) -> list[tuple[float, float | None]]:
    """Return temperature and limit of each processor sensor, in °C."""
    found = []
    for folder in sorted((sys / "class/hwmon").glob("hwmon*")):
        if _text(folder / "name") not in SENSORS:
            continue
        for file in sorted(folder.glob("temp*_input")):
            value = _number(file)
            if value is not None:
                # `temp*_max` is not the limit: k10temp reports 70 °C there for every processor.
                critical = _number(file.with_name(file.name.replace("_input", "_crit")))
                found.append((value / 1000, critical / 1000 if critical else None))
    return found


def _zones(sys: Path) -> list[tuple[float, float | None]]:
    """Return temperature and limit of the kernel's thermal zones. At the passive trip point the kernel begins to slow the CPU down."""
    found = []
    for folder in sorted((sys / "class/thermal").glob("thermal_zone*")):
        kind = (_text(folder / "type") or "").lower()
        value = _number(folder / "temp")
        if value is None or not any(word in kind for word in ZONES):
            continue
        trips = [
            trip / 1000
            for file in folder.glob("trip_point_*_type")
            if _text(file) == "passive" and (trip := _number(file.with_name(file.name.replace("_type", "_temp")))) is not None and trip > 0
        ]
        found.append((value / 1000, min(trips, default=None)))
    return found


def _throttle_events(sys: Path) -> int | None:
    """Return the throttle events of all cores, plus those of each package once: every core of a package shows the package's counter."""
    cores = [_number(file) for file in (sys / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    packages: dict[str, int] = {}
    for file in (sys / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/package_throttle_count"):
        package = _text(file.parents[1] / "topology/physical_package_id") or "0"
        packages[package] = max(packages.get(package, 0), _number(file) or 0)
    counts = [count for count in cores if count is not None]
    return sum(counts) + sum(packages.values()) if counts or packages else None


def _cooling(sys: Path) -> tuple[str, ...]:
    found = []
    for folder in sorted((sys / "class/thermal").glob("cooling_device*")):
        kind = _text(folder / "type") or ""
        if kind.lower().startswith(COOLERS) and (_number(folder / "cur_state") or 0) > 0:
            found.append(kind)
    return tuple(found)


def _firmware(sys: Path) -> tuple[str, ...]:
    for file in (sys / "devices/platform").glob("soc*/*firmware/get_throttled"):
        try:
            flags = int(_text(file) or "", 16)
        except ValueError:
            continue
        return tuple(meaning for bit, meaning in FIRMWARE.items() if flags >> bit & 1)
    return ()


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
