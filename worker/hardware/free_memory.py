"""Reads how much memory this process can still use: what the machine has free, and what the limits of its control groups leave.

A process that takes more than its control group allows is killed, however much memory the machine has free, as in a container.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from worker.hardware.quota import V2, folders_of

# The files with the limit and with what is used, and the part of that which the kernel gives back on demand (kernel documentation,
# cgroup-v2 and cgroup-v1/memory).
FILES = {
    V2: ("memory.max", "memory.current", "inactive_file"),
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory_bytes(pid: int | None = None, root: Path = Path("/")) -> int:
    """Return the smallest of what the machine has available and what each control group of the process leaves.

    Args:
        root: The folder that contains `/proc` and the mounted control groups. Tests give another one.
    """
    left = (_left(folder, version) for folder, version in folders_of(pid or os.getpid(), root, "memory"))
    return max(0, min([psutil.virtual_memory().available, *(one for one in left if one is not None)]))


def _left(folder: Path, version: str) -> int | None:
    """Return what a group leaves, in bytes, or None if it has no limit. Version 1 writes a very large number where it has none."""
    limit, used, reclaimable = FILES[version]
    try:
        most = int((folder / limit).read_text())
        taken = int((folder / used).read_text())
    except (OSError, ValueError):  # the root group has no limit, `max` is none, and a group may be removed meanwhile
        return None
    return most - taken + _counter(folder / "memory.stat", reclaimable)


def _counter(path: Path, name: str) -> int:
    try:
        return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.split()[:1] == [name]), 0)
    except (OSError, ValueError, IndexError):
        return 0
