"""How long a measured process could not run: because it was stopped, because everything was frozen, or because the machine slept.

Three sources, as none of them sees everything:

- The kernel tells the guard when one of its children is stopped (SIGSTOP) or continued.
- The guard looks twice a second. If much more time than that has passed, the guard itself stood still: it was stopped, its
  container was frozen, or its virtual machine was paused. Its runners then most likely stood still as well. A runner that used
  the CPU all the same did run, and its time counts.
- Linux has a clock that goes on while the machine sleeps, and one that does not. Their difference is the sleep.
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

BEAT_S = 0.5  # how often the guard looks. Each look takes it about 50 µs, a ten-thousandth of one core
LATE_S = 0.5  # more than an overloaded machine delays a process that wants to run
RAN = 0.1  # a runner that used one CPU for this share of a gap ran through it, on however busy a machine
SLEPT_S = 0.05  # the two clocks are read one after the other
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass
class Stillness:
    """What is known of one runner."""

    still_s: float = 0.0  # on the monotonic clock, which the timings are read from
    asleep_s: float = 0.0  # while the machine slept; on Linux the monotonic clock stands still meanwhile
    times: int = 0  # how often it happened
    stopped: bool = False  # at this moment
    cpu_s: float = 0.0  # at the last look

    def facts(self) -> dict[str, Any]:
        return {"still_s": self.still_s, "asleep_s": self.asleep_s, "times": self.times}


class Watched(Protocol):
    @property
    def pid(self) -> int: ...

    @property
    def stillness(self) -> Stillness: ...


class StillnessWatch:
    """The guard's own look at its runners. `look` is called after every wait of the guard, which lasts `BEAT_S` at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic()
        self._asleep_s = slept_s()
        self._beat_at_most_s = BEAT_S * (os.cpu_count() or 1)  # what a runner can have used since the last look before a gap began

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
    """Take what the kernel has to tell of stops and continuations; only the latest of them is kept for us."""
    if not hasattr(os, "waitid") or not hasattr(os, "WCONTINUED"):  # Windows, and macOS before Python 3.13
        return
    with contextlib.suppress(ChildProcessError):  # it has ended
        while (event := os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)) is not None:
            stopped = event.si_code != os.CLD_CONTINUED
            if stopped != one.stopped:
                one.times += stopped
            elif not stopped:
                one.times += 1  # it was stopped and continued since the last look
            one.stopped = stopped


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process; 0 where it cannot be read, so that a gap counts as standing still."""
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may hold spaces and parentheses; utime and stime are the fields 14 and 15 (proc(5)).
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
    """How long the machine has slept since its start; 0 where no clock tells."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
