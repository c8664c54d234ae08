"""Samples the measured processes: the children of the guard with all their descendants, without the process that samples.

`/proc/<pid>/task/<pid>/children` names the descendants without a search through all processes of the machine. Where a kernel or a system
has no such file, psutil searches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.clock import SystemClock
from shared.columns import Column
from worker.samplers.base import Lack, Place, Values

MB = 2**20
MAX_PROCESSES = 200  # more are left out, so that a model that starts thousands of processes does not stop the sampling
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Use:
    """Holds what one process has used since its start. Bytes are None where the system does not tell."""

    cpu_s: float
    resident_bytes: float
    read_bytes: float | None
    written_bytes: float | None


def lack(place: Place) -> Lack | None:
    return None if place.guard else Lack("no process is measured")


class ProcessTree:
    """Samples CPU, memory and disk I/O of the measured processes, summed up."""

    def __init__(self, place: Place) -> None:
        # Plain texts: to join paths as objects takes as much time as to read the files.
        self._proc, self._guard = str(place.root / "proc"), place.guard
        self._by_proc = Path(self._proc).exists()
        self._clock = SystemClock()
        self._own = os.getpid()
        self._at: float | None = None
        self._last: dict[int, Use] = {}

    def open(self) -> Sequence[Column]:
        self.read()
        return [
            Column(name="tree_cpu_percent", unit="percent of a core", source="processes"),
            Column(name="tree_memory_mb", unit="MB", source="processes"),  # shared pages count once for each process that has them
            Column(name="tree_processes", unit="count", source="processes"),
            Column(name="tree_read_mb_per_s", unit="MB/s", source="processes"),
            Column(name="tree_written_mb_per_s", unit="MB/s", source="processes"),
        ]

    def read(self) -> Values:
        now, found = self._clock.monotonic(), self._uses()
        passed = None if self._at is None else now - self._at
        cpu = self._grown(found, [(pid, use.cpu_s) for pid, use in found.items()], "cpu_s")
        read = self._grown(found, [(pid, use.read_bytes) for pid, use in found.items()], "read_bytes")
        written = self._grown(found, [(pid, use.written_bytes) for pid, use in found.items()], "written_bytes")
        self._at, self._last = now, found
        memory = sum(use.resident_bytes for use in found.values()) / MB
        if not passed or not found:
            return (None, memory, float(len(found)), None, None)
        return (
            None if cpu is None else 100 * cpu / passed,
            memory,
            float(len(found)),
            None if read is None else read / MB / passed,
            None if written is None else written / MB / passed,
        )

    def missing(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        self._last = {}

    def _grown(self, found: Mapping[int, Use], values: Sequence[tuple[int, float | None]], name: str) -> float | None:
        """Return by how much the processes' values grew. A process that has started since counts completely. None if one is unknown."""
        total = 0.0
        for pid, value in values:
            if value is None:
                return None
            before = getattr(self._last[pid], name) if pid in self._last else 0.0
            total += max(0.0, value - (before or 0.0))
        return total

    def _uses(self) -> dict[int, Use]:
        pids = self._pids()
        found = {}
        for pid in pids[:MAX_PROCESSES]:
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
                found[pid] = self._use(pid)
        return found

    def _use(self, pid: int) -> Use:
        if not self._by_proc:
            return _by_psutil(pid)
        # The name in parentheses may contain spaces and parentheses. utime, stime and rss are the fields 14, 15 and 24 of proc(5).
        fields = _text(f"{self._proc}/{pid}/stat").rpartition(")")[2].split()
        read = written = None
        with contextlib.suppress(OSError):  # the process belongs to another user, or the kernel has no task accounting
            lines = dict(line.split(": ", 1) for line in _text(f"{self._proc}/{pid}/io").splitlines() if ": " in line)
            read, written = float(lines["read_bytes"]), float(lines["write_bytes"])
        return Use((int(fields[11]) + int(fields[12])) / TICKS_PER_S, int(fields[21]) * PAGE_BYTES, read, written)

    def _pids(self) -> list[int]:
        """Return the measured processes and their descendants."""
        found: list[int] = []
        waiting = [self._guard]
        while waiting and len(found) < MAX_PROCESSES:
            children = [pid for pid in self._children(waiting.pop()) if pid != self._own and pid not in found]
            found += children
            waiting += children
        return found

    def _children(self, pid: int) -> list[int]:
        try:
            return [int(word) for word in _text(f"{self._proc}/{pid}/task/{pid}/children").split()]
        except (OSError, ValueError):
            return [] if Path(f"{self._proc}/{self._own}/task/{self._own}/children").exists() else _children_by_psutil(pid)


def _text(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096).decode("ascii", errors="replace")
    finally:
        os.close(descriptor)


def _children_by_psutil(pid: int) -> list[int]:
    import psutil  # used where /proc tells nothing: macOS, Windows, a kernel without CONFIG_PROC_CHILDREN

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def _by_psutil(pid: int) -> Use:
    import psutil  # macOS and Windows

    try:
        process = psutil.Process(pid)
        times, memory = process.cpu_times(), process.memory_info()
        io = process.io_counters() if hasattr(process, "io_counters") else None
    except psutil.Error as error:
        raise OSError(str(error)) from error
    return Use(times.user + times.system, memory.rss, io.read_bytes if io else None, io.write_bytes if io else None)
