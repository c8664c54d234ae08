"""Reads the size of the last-level cache, which decides how large an array must be before a test measures memory and not a cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
ASSUMED_BYTES = 32 * 2**20  # more than small boards have, and about what one part of a server's processor has
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class LastLevelCache:
    """Holds the size of all last-level caches together. `source` says where it comes from: the system, or an assumption."""

    size_bytes: int
    source: str


def read_last_level_cache(cpus: Path = CPUS) -> LastLevelCache:
    """Return the sum of the caches of the highest level over all processors. Caches that several CPUs share count once."""
    found: dict[tuple[int, str], int] = {}
    for folder in cpus.glob("cpu[0-9]*/cache/index[0-9]*"):
        level, size, kind = (_text(folder / name) for name in ("level", "size", "type"))
        shared = _text(folder / "shared_cpu_list") or folder.parents[1].name
        if kind != "Instruction" and level and level.isdigit() and (in_bytes := _in_bytes(size or "")) > 0:
            found[(int(level), shared)] = in_bytes
    if not found:
        return LastLevelCache(ASSUMED_BYTES, f"assumed, because {cpus}/cpu*/cache says nothing")
    highest = max(level for level, _ in found)
    total = sum(size for (level, _), size in found.items() if level == highest)
    return LastLevelCache(total, f"level {highest} of {cpus}/cpu*/cache")


def _in_bytes(size: str) -> int:
    """Return a size such as `32768K` in bytes, and 0 for anything else."""
    number, unit = size[:-1], size[-1:]
    if unit.isdigit():
        number, unit = size, ""
    return int(number) * UNITS.get(unit, 1) if number.isdigit() and (unit in UNITS or not unit) else 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
