"""Samples the energy counters of Intel and AMD processors (RAPL), which Linux shows in /sys/class/powercap.

Each package is a zone (`intel-rapl:0`, named `package-0`), with parts such as `dram`. A counter is in µJ and starts again at zero after
`max_energy_range_uj`, which takes at least a minute at the highest power of a server (kernel documentation, powercap). It steps about every
millisecond (Intel, Software Developer's Manual, volume 3, "RAPL interfaces"). Since 2020 only root may read it, because it can betray
secrets of other programs (CVE-2020-8694).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from shared.columns import Column
from shared.energy import Unwrapped
from worker.samplers.base import Lack, Place, Values, Vanished
from worker.samplers.column_names import unused
from worker.samplers.kept_file import KeptFile, number_in, text_in

FOLDER = "sys/class/powercap"
STEP_S = 0.001
# This is the part of a package that its own counter does not include. `core` and `uncore` are in the package's energy, and `psys` is the
# machine's.
BESIDE_THE_PACKAGE = ("dram",)
ALLOW = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
MEND = f"allow it until the next start of the machine with: {ALLOW} (other programs can then read it, too; see CVE-2020-8694)"
ROOT_ONLY = "only root may read the energy counter of this processor (RAPL)"


def lack(place: Place) -> Lack | None:
    zones = _zones(place.root)
    if not zones:
        return Lack("the system shows no energy counter of the processor (RAPL in /sys/class/powercap)")
    why = next((why for why in map(_why_unreadable, zones) if why), "")
    return Lack(ROOT_ONLY, MEND) if why.startswith(ROOT_ONLY) else Lack(why) if why else None


class Rapl:
    """Samples the energy of each package and of its memory, in J since the sampler was opened."""

    def __init__(self, place: Place) -> None:
        self._root = place.root
        self._counters: list[tuple[str, KeptFile | None, Unwrapped]] = []
        self._missing: dict[str, str] = {}

    def open(self) -> Sequence[Column]:
        columns: list[Column] = []
        for zone in _zones(self._root):
            name = text_in(zone / "name")
            package = name if name.startswith("package") else f"{text_in(zone.parent / 'name')}_{name}"
            column = unused(f"rapl_{package.replace('-', '_')}_j", {one.name for one in columns})
            file, why = _opened(zone)
            self._counters.append((column, file, Unwrapped(max(number_in(zone / "max_energy_range_uj") or 0.0, 0.0))))
            columns.append(
                Column(name=column, unit="J", source="rapl", device=name, role="energy", feeds="cpu", step_s=STEP_S, missing=why)
            )
        if not columns:
            raise Vanished(str(lack(Place(root=self._root))))
        if any(column.missing for column in columns):
            # The energy of the processor is that of all its parts. Those that can be read are shown, and enter no figure.
            return [column if column.missing else replace(column, role="value") for column in columns]
        return columns

    def read(self) -> Values:
        return [None if file is None else self._joules(name, file, total) for name, file, total in self._counters]

    def missing(self) -> Mapping[str, str]:
        return self._missing

    def close(self) -> None:
        for _, file, _ in self._counters:
            if file is not None:
                file.close()

    def _joules(self, name: str, file: KeptFile, total: Unwrapped) -> float | None:
        if name in self._missing:
            return None
        try:
            return total.add(file.number()) / 1e6
        except OSError as error:
            self._missing[name] = f"the counter could not be read any more: {error.strerror or error}"
            return None


def _zones(root: Path) -> list[Path]:
    """Return the packages and what lies beside them, each once, however many links lead to it.

    AMD's counters have Intel's names. `intel-rapl-mmio` shows the same packages again.
    """
    zones = _without_mirrors(
        [zone for zone in sorted((root / FOLDER).glob("intel-rapl:*")) if text_in(zone / "name").startswith("package")]
    )
    parts = [part for zone in zones for part in sorted(zone.glob("intel-rapl:*")) if text_in(part / "name") in BESIDE_THE_PACKAGE]
    return list({os.path.realpath(zone): zone for zone in sorted([*zones, *parts], reverse=True)}.values())[::-1]


def _without_mirrors(zones: Sequence[Path]) -> list[Path]:
    """Return the zones without dies that show the counter of another die of their package.

    On some processors of AMD (Threadripper and EPYC of Zen 1 and 2), each die has a zone, such as `package-0-die-1`, and all of them show
    the one counter of the socket. Their sum would be several times the energy. On other processors each die has a counter of its own.
    """
    found: list[Path] = []
    for zone in zones:
        package, die, _ = text_in(zone / "name").partition("-die-")
        dies = [one for one in found if die and text_in(one / "name").startswith(f"{package}-die-")]
        if not any(_is_mirrored(one, zone) for one in dies):
            found.append(zone)
    return found


def _is_mirrored(one: Path, other: Path) -> bool:
    """Return whether two zones show the same counter: the value of one lies between two values of the other, some microseconds apart."""
    before, between, after = (number_in(zone / "energy_uj") for zone in (one, other, one))
    return before is not None and between is not None and after is not None and before <= between <= after


def _opened(zone: Path) -> tuple[KeptFile | None, str]:
    try:
        file = KeptFile(zone / "energy_uj")
        file.number()
    except PermissionError:
        return None, f"{ROOT_ONLY}; {MEND}"
    except OSError as error:
        return None, f"{zone.name}/energy_uj cannot be read: {error.strerror or error}"
    return file, ""


def _why_unreadable(zone: Path) -> str:
    file, why = _opened(zone)
    if file is not None:
        file.close()
    return why
