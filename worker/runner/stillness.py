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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shared.clock import Clock

BEAT_S = 0.5  # how often the guard looks. Each look takes less than 100 µs, which is 0.02 % of one core.
LATE_S = 0.5  # an overloaded machine delays a process that is ready to run by less than this
RAN = 0.1  # a runner that used one CPU for this share of a gap was not stopped, even on a busy machine
SLEPT_S = 0.05  # tolerance, because the two clocks are read one after the other
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class CpuTime:
    """Holds the CPU seconds of a process and of its main thread (0 where the system does not tell), and its number of threads."""

    all_s: float = 0.0
    main_s: float = 0.0
    threads: int = 1


@dataclass
class Stillness:
    """Holds what is known about one runner's times without running."""

    still_s: float = 0.0  # measured on the monotonic clock, which the timings use as well
    asleep_s: float = 0.0  # while the machine was suspended; on Linux the monotonic clock stops meanwhile
    times: int = 0  # how often it happened
    stopped: bool = False  # whether it is stopped at this moment
    cpu: CpuTime = field(default_factory=CpuTime)  # used until the last look

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
        self._cpus = os.cpu_count() or 1

    def look(self, runners: Collection[Watched]) -> None:
        now, asleep_s = self._clock.monotonic(), slept_s()
        passed_s, slept = now - self._at, asleep_s - self._asleep_s
        self._at, self._asleep_s = now, asleep_s
        for runner in runners:
            one = runner.stillness
            before, one.cpu = one.cpu, cpu_time(runner.pid)
            if one.stopped:
                one.still_s += passed_s
            elif passed_s > BEAT_S + LATE_S and not self._ran(before, one.cpu, passed_s):
                one.still_s += passed_s
                one.times += 1
            if slept > SLEPT_S:
                one.asleep_s += slept
                one.times += 1
            _hear(runner.pid, one)

    def _ran(self, before: CpuTime, now: CpuTime, passed_s: float) -> bool:
        """Return whether a runner used more CPU time than it can have used before the gap began, which was one beat at most.

        One thread can use one beat of CPU time in a beat, and all together one beat for each thread or CPU. So the main thread, which
        makes the measured calls, tells even where 64 CPUs would allow 32 s in half a second.
        """
        most_s = BEAT_S * max(1, min(self._cpus, now.threads))
        needed_s = RAN * passed_s
        return now.all_s - before.all_s >= max(most_s, needed_s) or now.main_s - before.main_s >= max(BEAT_S, needed_s)


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


def cpu_time(pid: int) -> CpuTime:
    """Return the CPU time of a process. Returns 0 if it cannot be read, so that a gap counts as standing still."""
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may contain spaces and parentheses. utime, stime and num_threads are the fields 14, 15 and 20 of
            # proc(5), and 11, 12 and 17 after the name.
            process, main = (
                Path(path).read_text().rpartition(")")[2].split() for path in (f"/proc/{pid}/stat", f"/proc/{pid}/task/{pid}/stat")
            )
        except OSError:
            return CpuTime()
        all_s, main_s = ((int(fields[11]) + int(fields[12])) / TICKS_PER_S for fields in (process, main))
        return CpuTime(all_s, main_s, int(process[17]))
    import psutil

    try:
        one = psutil.Process(pid)
        times, threads = one.cpu_times(), one.num_threads()
    except psutil.Error:
        return CpuTime()
    return CpuTime(float(times.user + times.system), 0.0, threads)


def slept_s() -> float:
    """Return how long the machine has been suspended since its start. Returns 0 on systems without such a clock."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
