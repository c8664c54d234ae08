"""Finds out how long a measured process could not run: it was stopped, everything was frozen, or the machine was suspended.

There are three sources, because none of them sees every case:

- The kernel tells the guard when one of its children is stopped (SIGSTOP) or continued.
- The guard looks twice a second. If much more time than that has passed, the guard itself stood still: it was stopped, its
  container was frozen, or its virtual machine was paused. Its runners then most likely stood still as well. If a runner used
  the CPU in that time, it did run, and the time counts as running.
- Linux has one clock that continues while the machine is suspended, and one that does not. Their difference is the suspended time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shared.clock import Clock

BEAT_S = 0.5  # how often the guard looks. Each look takes about 50 µs, which is 0.01 % of one core.
LATE_S = 0.5  # an overloaded machine delays a process that is ready to run by less than this
RAN = 0.1  # a runner that used one CPU for this share of a gap was not stopped, even on a busy machine
SLEPT_S = 0.05  # tolerance, because the two clocks are read one after the other
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass
class Stillness:
    """Holds what is known about one runner's times without running."""

    still_s: float = 0.0  # measured on the monotonic clock, which the timings use as well
    asleep_s: float = 0.0  # while the machine was suspended; on Linux the monotonic clock stops meanwhile
    times: int = 0  # how often it happened
    stopped: bool = False  # whether it is stopped at this moment
    cpu_s: float = 0.0  # CPU seconds used until the last look

    def facts(self) -> dict[str, Any]:
        return {"still_s": self.still_s, "asleep_s": self.asleep_s, "times": self.times}


class Watched(Protocol):
    @property
    def pid(self) -> int: ...

    @property
    def stillness(self) -> Stillness: ...


class StillnessWatch:
    """Watches the guard's runners. The guard calls `look` after every wait, and each wait lasts `BEAT_S` at most while a runner exists."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic()
        self._asleep_s = slept_s()
        self._beat_at_most_s = BEAT_S * (os.cpu_count() or 1)  # the most CPU time used before a gap began

    def look(self, runners: Collection[Watched]) -> None:
        now, asleep_s = self._clock.monotonic(), slept_s()
        passed_s, slept = now - self._at, asleep_s - self._asleep_s
        self._at, self._asleep_s = now, asleep_s
        for runner in runners:
            one = runner.stillness
            cpu_s = cpu_seconds(runner.pid)
            ran_s, one.cpu_s = cpu_s - one.cpu_s, cpu_s
            if one.stopped:
                one.still_s += passed_s
            elif passed_s > BEAT_S + LATE_S and ran_s < max(self._beat_at_most_s, RAN * passed_s):
                one.still_s += passed_s
                one.times += 1
            if slept > SLEPT_S:
                one.asleep_s += slept
                one.times += 1
            _hear(runner.pid, one)


def _hear(pid: int, one: Stillness) -> None:
    """Read from the kernel whether the process was stopped or continued. The kernel keeps only the latest of these events."""
    if not hasattr(os, "waitid") or not hasattr(os, "WCONTINUED"):  # Windows, and macOS before Python 3.13
        return
    with contextlib.suppress(ChildProcessError):  # the process has ended
        while (event := os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)) is not None:
            stopped = event.si_code != os.CLD_CONTINUED
            if stopped != one.stopped:
                one.times += stopped
            elif not stopped:
                one.times += 1  # the process was stopped and continued since the last look
            one.stopped = stopped


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process. Returns 0 if it cannot be read, so that a gap counts as standing still."""
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may contain spaces and parentheses. utime and stime are fields 14 and 15 (proc(5)).
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def slept_s() -> float:
    """Return how long the machine has been suspended since its start. Returns 0 on systems without such a clock."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
