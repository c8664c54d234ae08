"""Reads the CPU quota of a process: how many cores its control groups allow, and how often they made it wait.

A quota can be set on the process's own group and on each group above it; the smallest one counts. Both versions of
control groups are read: `cpu.max` and `cpu.stat` (version 2), `cpu.cfs_quota_us`, `cpu.cfs_period_us` and `cpu.stat` (version 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

V2 = "cgroup2"


@dataclass(frozen=True)
class Group:
    """Describes one control group with a quota, and its counters since it was created."""

    path: str
    cores: float  # the quota in CPU seconds per second
    periods: int  # how many periods the group was ready to run in
    throttled: int  # in how many of these the quota was used up, so that the group had to wait
    throttled_s: float  # the waiting time, summed over the CPUs


@dataclass(frozen=True)
class Throttling:
    """Holds how often a quota made the process wait between two looks."""

    periods: int
    throttled: int
    throttled_s: float


def read_quotas(pid: int, root: Path = Path("/")) -> tuple[Group, ...]:
    """Return the control groups of a process that have a quota, its own group first. Empty if there are none.

    Args:
        root: The folder that contains `/proc` and the mounted control groups. Tests give another one.
    """
    found = []
    for folder, version in folders_of(pid, root, "cpu"):
        cores = _cores(folder, version)
        if cores is not None:
            found.append(_group(folder, cores))
    return tuple(found)


def cores_allowed(quotas: tuple[Group, ...]) -> float | None:
    """Return the smallest quota in cores. None without a quota."""
    return min((group.cores for group in quotas), default=None)


def throttling_between(before: tuple[Group, ...], after: tuple[Group, ...]) -> Throttling | None:
    """Return the throttling by the group that throttled the process in the most periods. None if no group had a quota at both looks."""
    earlier = {group.path: group for group in before}
    steps = [
        Throttling(
            group.periods - earlier[group.path].periods,
            group.throttled - earlier[group.path].throttled,
            group.throttled_s - earlier[group.path].throttled_s,
        )
        for group in after
        if group.path in earlier
    ]
    return max(steps, key=lambda step: (step.throttled, step.throttled_s), default=None)


def parse_cpu_max(text: str) -> float | None:
    """Return the cores in `cpu.max`, which holds a quota and a period in microseconds. None for `max`, which means no quota."""
    quota, _, period = text.strip().partition(" ")
    return None if quota == "max" else int(quota) / int(period or 100_000)


def parse_cpu_stat(text: str) -> tuple[int, int, float]:
    """Return periods, throttled periods and throttled seconds from the `cpu.stat` of either version."""
    counters = {name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines()) if value.strip().isdigit()}
    seconds = counters["throttled_usec"] / 1e6 if "throttled_usec" in counters else counters.get("throttled_time", 0) / 1e9
    return counters.get("nr_periods", 0), counters.get("nr_throttled", 0), seconds


def _cores(folder: Path, version: str) -> float | None:
    try:
        if version == V2:
            return parse_cpu_max((folder / "cpu.max").read_text())
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError):  # the root group has no quota; and a group may be removed meanwhile
        return None


def _group(folder: Path, cores: float) -> Group:
    try:
        counters = parse_cpu_stat((folder / "cpu.stat").read_text())
    except OSError:
        counters = (0, 0, 0.0)
    return Group(str(folder), cores, *counters)


def folders_of(pid: int, root: Path, controller: str) -> list[tuple[Path, str]]:
    """Return the folders of the process's group and of all visible groups above it, with the type of their file system.

    Args:
        controller: `cpu` or `memory`; in version 1 each has groups of its own.
    """
    try:
        groups = (root / f"proc/{pid}/cgroup").read_text().splitlines()
        mounts = [_mount(line) for line in (root / f"proc/{pid}/mountinfo").read_text().splitlines()]
    except OSError:
        return []
    paths: dict[str, str] = {}
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            paths[V2] = path
        elif controller in controllers.split(","):
            paths["cgroup"] = path
    found: list[tuple[Path, str]] = []
    for top, point, kind, options in mounts:
        if kind not in paths or (kind == "cgroup" and controller not in options):
            continue
        # A container without its own cgroup namespace sees the host's path, but only its own part of the tree.
        relative = paths[kind].removeprefix(top.rstrip("/")).strip("/")
        base = root / point.lstrip("/")
        parts = [part for part in relative.split("/") if part not in ("", "..")]
        found += [(base.joinpath(*parts[:depth]), kind) for depth in range(len(parts), -1, -1)]
    return found


def _mount(line: str) -> tuple[str, str, str, tuple[str, ...]]:
    """Return the root within its file system, the mount point, the type and the options of one mount (proc(5), mountinfo)."""
    before, _, after = line.partition(" - ")
    fields, kind = before.split(), after.split()
    if len(fields) < 5 or len(kind) < 3:
        return "", "", "", ()
    return fields[3], fields[4], kind[0], tuple(kind[2].split(","))
