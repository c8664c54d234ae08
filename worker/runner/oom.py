"""Detects whether the kernel's out-of-memory killer was active in our control group, by reading a counter before and after."""

from __future__ import annotations

from pathlib import Path

PROC_CGROUP = Path("/proc/self/cgroup")
SYS_CGROUP = Path("/sys/fs/cgroup")


def oom_kills(proc_cgroup: Path = PROC_CGROUP, sys_cgroup: Path = SYS_CGROUP) -> int | None:
    """Return how many processes the kernel has killed in this control group so far. None if the kernel does not count them.

    It reads cgroup version 2, or the memory controller of version 1.
    """
    try:
        groups = [line.split(":", 2) for line in proc_cgroup.read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, path in groups:
        relative = path.lstrip("/")
        if controllers == "":
            candidates = [sys_cgroup / relative / "memory.events", sys_cgroup / "memory.events"]
        elif "memory" in controllers.split(","):
            candidates = [sys_cgroup / "memory" / relative / "memory.oom_control", sys_cgroup / "memory" / "memory.oom_control"]
        else:
            continue
        for candidate in candidates:
            count = _count(candidate)
            if count is not None:
                return count
    return None


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None
