"""Implements an engine whose durations are all known in advance. Its model file is a schedule in JSON.

    {"load_s": 0.05, "calls_s": [0.002, 0.004], "allocate_on_load_mb": 64, "allocate_in_passing_mb": 8}

- `calls_s`: how long each call takes. After the last value the list starts again. A call waits by reading the clock, because `sleep`
  adds tens of microseconds. The facts say how long each call really took, measured by the engine's own clock.
- `sleeps_s`: the same with `sleep`, which uses almost no CPU.
- `cpu_s`: the same, but measured by the CPU time of the thread, so that a call takes longer where other programs use the CPU as well.
- `inputs`: the signature, `[[name, type, shape], …]`. `table_rows`: the number of rows of the table that an input indexes.
- `allocate_on_load_mb` is kept; `allocate_in_passing_mb` is freed before the load ends.
- `dies_when_freed`: whether the process is killed when the engine is freed, as by a runtime that crashes then.
- `note_pid_in`: a file to which each process appends its id. `prints`: a text for stdout.

`then` makes the engine misbehave, during the load (`"when": "load"`) or at the call numbered `at_call`, to test the supervision:

- `crash:SIGSEGV`, `exit:<code>`, `hang`, `raise:<message>`, `defect` (an error that no engine explains)
- `device:<message>`: the device has failed, as an engine says it
- `chatter`: endless output; `chatter:binary`: endless bytes that are neither text nor lines
- `close_output`: closes stdout and stderr and continues
- `run`: runs `command` to its end
- `spawn`: leaves a grandchild and writes its id to `pid_file`. `spawn:daemon` starts it in a session of its own. `spawn:family` does so
  too, gives it a child, and writes both ids
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from time import perf_counter_ns, sleep, thread_time_ns
from typing import TYPE_CHECKING, Any

from shared.errors import DeviceFailed, JobError, ModelInvalid
from worker.engines.base import Facts, InputSpec, Limits, Options

if TYPE_CHECKING:
    from worker.engines.base import Arrays

MB = 2**20
_INPUTS = [["x", "float", ["batch", 2]]]


class FakeEngine:
    """Follows a schedule, as described at the top of this module. No worker advertises it: only a job for the capability `fake` uses it."""

    def __init__(self) -> None:
        self._schedule: dict[str, Any] = {}
        self._held: object = None
        self._calls_ns: list[int] = []

    def __del__(self) -> None:
        if self._schedule.get("dies_when_freed"):
            os.kill(os.getpid(), signal.SIGABRT)

    def load(self, model: Path, options: Options, capability: str) -> None:
        try:
            self._schedule = dict(json.loads(model.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ModelInvalid(f"{model.name} is not a schedule of the fake engine ({capability}): {error}") from error
        if "note_pid_in" in self._schedule:
            with Path(self._schedule["note_pid_in"]).open("a") as file:
                file.write(f"{os.getpid()}\n")
        _touched(self._schedule.get("allocate_in_passing_mb", 0))
        self._held = _touched(self._schedule.get("allocate_on_load_mb", 0))
        _wait(self._schedule.get("load_s", 0.0))
        if "prints" in self._schedule:
            sys.stdout.write(self._schedule["prints"] + "\n")
            sys.stdout.flush()
        if self._schedule.get("when") == "load":
            self._misbehave()

    def signature(self) -> list[InputSpec]:
        return [InputSpec(name, kind, tuple(shape)) for name, kind, shape in self._schedule.get("inputs", _INPUTS)]

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        rows: Mapping[str, int] = self._schedule.get("table_rows", {})
        return {name: Limits(low=0, high=count - 1, because=f"it indexes a table of {count} rows") for name, count in rows.items()}

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        sleeps = self._schedule.get("sleeps_s")
        used = self._schedule.get("cpu_s")
        durations = cycle([int(seconds * 1e9) for seconds in sleeps or used or self._schedule.get("calls_s", [0.0])])
        now = thread_time_ns if used else perf_counter_ns
        misbehaves = "then" in self._schedule and self._schedule.get("when") != "load"
        misbehave_at = self._schedule.get("at_call", 0) if misbehaves else None
        calls = 0

        def call() -> object:
            nonlocal calls
            begin = perf_counter_ns()
            end = now() + next(durations)
            if calls == misbehave_at:
                self._misbehave()
            calls += 1
            if sleeps:
                sleep(max(0, end - perf_counter_ns()) / 1e9)
            while now() < end:
                pass
            self._calls_ns.append(perf_counter_ns() - begin)
            return inputs

        return call

    def facts(self) -> Facts:
        inputs = [{"name": spec.name, "type": spec.element_type, "shape": list(spec.shape or ())} for spec in self.signature()]
        return Facts({"runtime": "fake", "version": "1", "inputs": inputs, "calls_ns": self._calls_ns}, {})

    def explain(self, error: Exception) -> JobError | None:
        return ModelInvalid(f"the fake model says: {error}") if isinstance(error, ArithmeticError) else None

    def unload(self) -> None:
        self._held = None

    def _misbehave(self) -> None:
        kind, _, argument = str(self._schedule.get("then", "")).partition(":")
        if kind == "crash":
            os.kill(os.getpid(), getattr(signal, argument or "SIGSEGV"))
        elif kind == "exit":
            os._exit(int(argument))
        elif kind == "device":
            raise DeviceFailed(argument)
        elif kind == "hang":
            while True:
                signal.pause()
        elif kind == "chatter":
            noise = b"\xff\xfe\x00" * 1000 if argument == "binary" else b"the same line again and again\n" * 100
            while True:
                os.write(1, noise)
                os.write(2, noise)
        elif kind == "close_output":
            sys.stderr.close()
            for descriptor in (1, 2):
                os.close(descriptor)
        elif kind == "spawn":
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
            pids = Path(self._schedule["pid_file"])
            if argument == "family":
                note = f"print(os.getpid(), subprocess.Popen({command!r}).pid, file=open({str(pids)!r}, 'w'), flush=True)"
                command = [sys.executable, "-c", f"import os, subprocess, time; {note}; time.sleep(600)"]
            child = subprocess.Popen(command, start_new_session=argument in ("daemon", "family"))
            if argument == "family":
                while not (pids.exists() and pids.read_text().endswith("\n")):
                    sleep(0.01)
            else:
                pids.write_text(str(child.pid))
        elif kind == "run":
            subprocess.run(self._schedule["command"], check=True)
        elif kind == "raise":
            raise ArithmeticError(argument)
        elif kind == "defect":
            raise LookupError("nobody explains this")


def _touched(megabytes: int) -> object:
    """Return memory in which every page was written to. Memory that is only reserved does not count as resident."""
    memory = mmap.mmap(-1, max(1, megabytes) * MB)
    for page in range(0, megabytes * MB, mmap.PAGESIZE):
        memory[page] = 1
    return memory


def _wait(seconds: float) -> None:
    end = perf_counter_ns() + int(seconds * 1e9)
    while perf_counter_ns() < end:
        pass
