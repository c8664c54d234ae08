"""How busy the CPUs are, in cores: with work of other programs, with our own, and with work of the hypervisor's other guests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from shared.clock import Clock

TETHER = "tether.py"  # what `fleetmark up` and `demo` start each of their parts with


@dataclass(frozen=True)
class CpuTime:
    """Seconds since the start of the machine, of one CPU or of several added up."""

    busy_s: float
    steal_s: float
    total_s: float


@dataclass(frozen=True)
class Look:
    """The CPUs that the measured process may use, at one moment, and the CPU time of our own processes."""

    at: float  # monotonic seconds
    cpus: CpuTime
    ours_s: Mapping[int, float]  # by process id: this worker and its guard, with all their children that have ended
    relatives_s: Mapping[int, float]  # the other parts of the same `fleetmark up`


def look(clock: Clock, allowed: frozenset[int] | None, ours: Iterable[int], relatives: Iterable[int]) -> Look:
    """
    Args:
        allowed: the numbers of the CPUs to look at; None for all.
    """
    return Look(clock.monotonic(), _added(read_cpus(), allowed), _cpu_seconds(ours), _cpu_seconds(relatives))


def read_cpus() -> dict[int, CpuTime]:
    stat = Path("/proc/stat")
    if stat.exists():
        return parse_stat(stat.read_text())
    return dict(enumerate(_of_psutil(times) for times in psutil.cpu_times(percpu=True)))


def parse_stat(text: str, ticks_per_s: int = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100) -> dict[int, CpuTime]:
    """The CPUs that are online, by number, from /proc/stat (proc(5)). Guest time is part of user time already."""
    found = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, idle, iowait, irq, softirq, steal = (int(field) / ticks_per_s for field in (*fields, *"00000000")[:8])
            busy = user + nice + system + irq + softirq
            found[int(name[3:])] = CpuTime(busy, steal, busy + idle + iowait + steal)
    return found


def other_cores(before: Look | None, after: Look | None, measured_s: float, *, relatives_are_ours: bool) -> float | None:
    """How many cores other programs kept busy between two looks; None for a window in which no clock ticked.

    Args:
        measured_s: CPU time of measured processes that the guard's own account does not hold (it does on Linux).
        relatives_are_ours: whether the other parts of the same `fleetmark up` count as our own work.
    """
    if before is None or after is None or (wall_s := after.at - before.at) <= 0 or after.cpus.total_s <= before.cpus.total_s:
        return None
    ours_s = measured_s + _grown(before.ours_s, after.ours_s)
    if relatives_are_ours:
        ours_s += _grown(before.relatives_s, after.relatives_s)
    return max(0.0, (after.cpus.busy_s - before.cpus.busy_s - ours_s) / wall_s)


def steal_share(before: Look | None, after: Look | None) -> float | None:
    """The share of the CPUs' time that the hypervisor gave to its other guests."""
    if before is None or after is None or (total_s := after.cpus.total_s - before.cpus.total_s) <= 0:
        return None
    return (after.cpus.steal_s - before.cpus.steal_s) / total_s


def allowed_cpus(pid: int) -> frozenset[int] | None:
    """The CPUs that a process may run on, by its affinity and its cpuset; None where the system does not tell."""
    return frozenset(os.sched_getaffinity(pid)) if sys.platform == "linux" else None


def relatives_of(pid: int) -> frozenset[int]:
    """The other parts of the `fleetmark up` or `demo` that started this process; empty for a worker that was started alone."""
    try:
        parent = psutil.Process(pid).parent()
        if parent is None or not any(Path(word).name == TETHER for word in parent.cmdline()[:6]):
            return frozenset()
        starter = parent.parent()
        if starter is None:
            return frozenset()
        mine = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
        return frozenset({starter.pid, *(child.pid for child in starter.children(recursive=True))} - mine)
    except psutil.Error:  # one of them has just ended
        return frozenset()


def _cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """CPU time of each process that lives; on Linux with the children that it has seen end."""
    found = {}
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        found[pid] = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return found


def _grown(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """By how much the CPU time grew. A process that began between the looks counts whole."""
    return sum(max(0.0, seconds - before.get(pid, 0.0)) for pid, seconds in after.items())


def _added(cpus: Mapping[int, CpuTime], allowed: frozenset[int] | None) -> CpuTime:
    chosen = [time for number, time in cpus.items() if allowed is None or number in allowed] or list(cpus.values())
    return CpuTime(sum(cpu.busy_s for cpu in chosen), sum(cpu.steal_s for cpu in chosen), sum(cpu.total_s for cpu in chosen))


def _of_psutil(times: psutil._ntuples.scputimes) -> CpuTime:
    idle = float(times.idle) + float(getattr(times, "iowait", 0.0))
    steal = float(getattr(times, "steal", 0.0))
    total = sum(times) - float(getattr(times, "guest", 0.0)) - float(getattr(times, "guest_nice", 0.0))
    return CpuTime(total - idle - steal, steal, total)
