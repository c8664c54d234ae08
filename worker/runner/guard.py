"""Defines the protocol between the guard and the worker. Both kinds of guard, forking and spawning, use it.

A runner is a measured process. The guard reads commands as lines of JSON from stdin and writes events as lines of JSON to stdout:

    {"do": "run", "id": 1, "request": {…}}     -> started, phase …, exited; or not_started
    {"do": "kill", "id": 1}                    -> exited, with the signal
    {"do": "ask", "id": 1}                     -> stillness
    {"do": "sample", "id": -1, "request": {…}} -> started, phase …, exited; a process that samples beside the runners (`worker.samplers`)
    {"do": "end", "id": -1}                    -> exited: the process that samples writes what it has, and ends
    end of stdin, or nobody reads stdout       -> every runner's group is killed and the guard ends

    {"event": "ready", "preloaded": ["numpy", …]}
    {"event": "started", "id": 1, "pid": 4711}
    {"event": "not_started", "id": 1, "error": "[Errno 11] Resource temporarily unavailable"}
    {"event": "phase", "id": 1, "phase": "warming up"}
    {"event": "stillness", "id": 1, "still_s": 103.2, "asleep_s": 0.0, "times": 1}
    {"event": "exited", "id": 1, "code": null, "signal": 11, "killed_by_us": false, "oom_kill": false,
     "at": 1234.5, "max_rss_mb": 80.1, "cpu_s": 1.9, "output": "the last lines", "still_s": 0.0, "asleep_s": 0.0, "times": 0}

`at` is the time of the end on the host's monotonic clock. `killed_by_us` is false if the runner had ended by itself before the kill.
`still_s`, `asleep_s` and `times` say how long and how often the runner could not run (see `worker.runner.stillness`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from shared.clock import SystemClock
from worker.runner.oom import oom_kills
from worker.runner.stillness import Stillness
from worker.runner.tail import Tail

PHASE_BYTES = 256  # if a library writes to the pipe of the phases, it must neither end the guard nor fill its memory


@dataclass
class Running:
    """Holds what the guard knows of one runner."""

    id: int
    pid: int
    output: Tail = field(default_factory=Tail)
    partial: bytes = b""  # the beginning of a phase's line whose end has not arrived
    killed_by_us: bool = False
    oom_kills_before: int | None = None
    stillness: Stillness = field(default_factory=Stillness)
    samples: bool = False  # it is no measured process: it samples beside them


class Reporter:
    """Writes events to the guard's original stdout. Everything that the guard itself prints goes to stderr.

    When nobody reads the pipe any more, `unread` becomes true and nothing more is written. No error is raised, because the guard must
    still be able to end its runners.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.unread = False

    def send(self, event: str, **facts: Any) -> None:
        data = json.dumps({"event": event, **facts}).encode() + b"\n"
        try:
            while data and not self.unread:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # BrokenPipeError, or another OSError on Windows
            self.unread = True

    def stillness(self, running: Running) -> None:
        self.send("stillness", id=running.id, **running.stillness.facts())

    def phases(self, running: Running, data: bytes) -> None:
        *lines, partial = (running.partial + data).split(b"\n")
        running.partial = partial[-PHASE_BYTES:]
        for line in lines:
            self.send("phase", id=running.id, phase=line[-PHASE_BYTES:].decode(errors="replace"))

    def exited(self, running: Running, *, code: int | None, signal: int | None, max_rss_mb: float | None, cpu_s: float | None) -> None:
        kills = oom_kills()
        # Windows has no signals: a killed process has the exit code 1.
        by_our_kill = signal == 9 or (sys.platform == "win32" and code == 1)
        oom = None if kills is None or running.oom_kills_before is None else signal == 9 and kills > running.oom_kills_before
        self.send(
            "exited",
            id=running.id,
            code=code,
            signal=signal,
            killed_by_us=running.killed_by_us and by_our_kill,
            oom_kill=oom,
            at=SystemClock().monotonic(),
            max_rss_mb=max_rss_mb,
            cpu_s=cpu_s,
            output=running.output.text(),
            **running.stillness.facts(),
        )


def preload(modules: list[str]) -> list[str]:
    """Import the modules that every runner needs. Returns the modules that could be imported.

    If a module cannot be imported, the runner imports it again, and its error becomes the job's error.
    """
    done = []
    for module in modules:
        try:
            import_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plug-in may be of another package, and its code may raise anything
            with contextlib.suppress(OSError):  # the worker's terminal or log may be gone
                sys.stderr.write(f"fleetmark guard: {module} was not preloaded: {error}\n")
        else:
            done.append(module)
    return done


def sample_once(request: dict[str, Any]) -> None:
    """Sample in this process until its stdin is closed."""
    from worker.samplers.loop import sample_here  # not in the guard itself, whose memory is the baseline of the measured processes
    from worker.samplers.request import SampleRequest

    sample_here(SampleRequest(**{**request, "samplers": tuple(request["samplers"])}))
