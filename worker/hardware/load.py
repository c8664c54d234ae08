"""Measures how busy the CPUs are, in cores: with other programs' work, with our own, and with the hypervisor's other guests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from shared.clock import Clock

TETHER = "tether.py"  # the script that `fleetmark up` and `demo` use to start each of their processes


@dataclass(frozen=True)
class CpuTime:
    """Holds the seconds since the machine started, of one CPU or summed over several."""

    busy_s: float
    steal_s: float
    total_s: float
    count: int = 1  # how many CPUs these times are of


@dataclass(frozen=True)
class Look:
    """Holds the state at one moment: the times of the CPUs that the measured process may use, and the CPU time of our own processes."""

    at: float  # monotonic seconds
    cpus: CpuTime
    ours_s: Mapping[int, float]  # keyed by process id: this worker and its guard, each with its ended children
    relatives_s: Mapping[int, float]  # the other processes of the same `fleetmark up`


def look(clock: Clock, allowed: frozenset[int] | None, ours: Iterable[int], relatives: Iterable[int]) -> Look:
    """Read the CPU times now.

    Args:
        allowed: The numbers of the CPUs to read. None for all.
        ours: The process ids of this worker and its guard.
        relatives: The process ids of the other parts of the same `fleetmark up`.
    """
    return Look(clock.monotonic(), _added(read_cpus(), allowed), _cpu_seconds(ours), _cpu_seconds(relatives))


def read_cpus() -> dict[int, CpuTime]:
    stat = Path("/proc/stat")
    if stat.exists():
        return parse_stat(stat.read_text())
    return dict(enumerate(_of_psutil(times) for times in psutil.cpu_times(percpu=True)))


def parse_stat(text: str, ticks_per_s: int = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100) -> dict[int, CpuTime]:
    """Return the CPUs that are online, keyed by number, from /proc/stat (proc(5)). User time already includes guest time."""
    found = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, idle, iowait, irq, softirq, steal = (int(field) / ticks_per_s for field in (*fields, *"00000000")[:8])
            busy = user + nice + system + irq + softirq
            found[int(name[3:])] = CpuTime(busy, steal, busy + idle + iowait + steal)
    return found


def other_cores(before: Look | None, after: Look | None, measured_s: float, *, relatives_are_ours: bool) -> float | None:
    """Return how many cores other programs kept busy between two looks. None if the kernel's counters did not advance in between.

    Args:
        measured_s: CPU time of measured processes that is not included in the guard's own CPU time. On Linux it is included.
        relatives_are_ours: Whether the other parts of the same `fleetmark up` count as our own work.
    """
    if before is None or after is None or (wall_s := after.at - before.at) <= 0 or after.cpus.total_s <= before.cpus.total_s:
        return None
    ours_s = measured_s + _grown(before.ours_s, after.ours_s)
    if relatives_are_ours:
        ours_s += _grown(before.relatives_s, after.relatives_s)
    cores = (after.cpus.busy_s - before.cpus.busy_s - ours_s) / wall_s
    # On a busy machine some time passes between reading the clock and reading the CPUs. A short window then seems to hold more CPU time
    # than the CPUs have.
    return min(max(0.0, cores), float(after.cpus.count))


def steal_share(before: Look | None, after: Look | None) -> float | None:
    """Return the share of the CPUs' time that the hypervisor gave to its other guests."""
    if before is None or after is None or (total_s := after.cpus.total_s - before.cpus.total_s) <= 0:
        return None
    return (after.cpus.steal_s - before.cpus.steal_s) / total_s


def allowed_cpus(pid: int) -> frozenset[int] | None:
    """Return the CPUs that a process may run on, by its affinity and its cpuset. None where the system does not tell."""
    return frozenset(os.sched_getaffinity(pid)) if sys.platform == "linux" else None


def relatives_of(pid: int) -> frozenset[int]:
    """Return the other processes of the `fleetmark up` or `demo` that started this process. Empty if the worker was started alone."""
    try:
        parent = psutil.Process(pid).parent()
        if parent is None or not any(Path(word).name == TETHER for word in parent.cmdline()[:6]):
            return frozenset()
        starter = parent.parent()
        if starter is None:
            return frozenset()
        mine = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
        return frozenset({starter.pid, *(child.pid for child in starter.children(recursive=True))} - mine)
    except psutil.Error:  # a process has just ended
        return frozenset()


def _cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """Return the CPU time of each living process. On Linux this includes its children that have ended."""
    found = {}
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        found[pid] = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return found


def _grown(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Return by how much the CPU time grew. A process that started between the looks counts completely."""
    return sum(max(0.0, seconds - before.get(pid, 0.0)) for pid, seconds in after.items())


def _added(cpus: Mapping[int, CpuTime], allowed: frozenset[int] | None) -> CpuTime:
    chosen = [time for number, time in cpus.items() if allowed is None or number in allowed] or list(cpus.values())
    return CpuTime(sum(cpu.busy_s for cpu in chosen), sum(cpu.steal_s for cpu in chosen), sum(cpu.total_s for cpu in chosen), len(chosen))


def _of_psutil(times: psutil._ntuples.scputimes) -> CpuTime:
    idle = float(times.idle) + float(getattr(times, "iowait", 0.0))
    steal = float(getattr(times, "steal", 0.0))
    total = sum(times) - float(getattr(times, "guest", 0.0)) - float(getattr(times, "guest_nice", 0.0))
    return CpuTime(total - idle - steal, steal, total)
