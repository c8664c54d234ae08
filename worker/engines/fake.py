"""An engine whose every duration is known beforehand: the model file is a JSON schedule.

    {"load_s": 0.05, "calls_s": [0.002, 0.004], "allocate_on_load_mb": 64, "allocate_on_call_mb": 8}

Calls go through `calls_s` in a circle. It waits on the clock and not in the scheduler: `sleep` adds tens of
microseconds that are not in the schedule. `then` makes it misbehave, so that the supervision can be proved:
`crash` (a real SIGSEGV), `exit:<code>`, `hang`, `chatter` (endless output), `spawn` (leaves a grandchild), `raise`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from shared.errors import JobError, ModelInvalid
from worker.engines.base import Facts, InputSpec, Options

if TYPE_CHECKING:
    from worker.engines.base import Arrays

MB = 2**20


class FakeEngine:
    """See the module. Not advertised by any worker: only a job that names the capability `fake` reaches it."""

    def __init__(self) -> None:
        self._schedule: dict[str, Any] = {}
        self._held: list[bytearray] = []
        self._shape: tuple[int, ...] = ()

    def load(self, model: Path, options: Options, capability: str) -> None:
        try:
            self._schedule = dict(json.loads(model.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ModelInvalid(f"{model.name} is not a schedule of the fake engine ({capability}): {error}") from error
        self._shape = (options.batch_size or 1, 2)
        self._hold(self._schedule.get("allocate_on_load_mb", 0))
        _wait(self._schedule.get("load_s", 0.0))
        if self._schedule.get("when") == "load":
            self._misbehave()

    def signature(self) -> list[InputSpec]:
        return [InputSpec("x", "float", self._shape)]

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        durations = cycle([int(seconds * 1e9) for seconds in self._schedule.get("calls_s", [0.0])])
        self._hold(self._schedule.get("allocate_on_call_mb", 0))
        misbehave_at = self._schedule.get("at_call", 0) if "then" in self._schedule and self._schedule.get("when") != "load" else None
        calls = 0

        def call() -> object:
            nonlocal calls
            end = perf_counter_ns() + next(durations)
            if calls == misbehave_at:
                self._misbehave()
            calls += 1
            while perf_counter_ns() < end:
                pass
            return inputs

        return call

    def facts(self) -> Facts:
        inputs = [{"name": "x", "type": "float", "shape": list(self._shape)}]
        return Facts({"runtime": "fake", "version": "1", "inputs": inputs}, {})

    def explain(self, error: Exception) -> JobError | None:
        return ModelInvalid(f"the fake model says: {error}") if isinstance(error, ArithmeticError) else None

    def unload(self) -> None:
        self._held.clear()

    def _hold(self, megabytes: int) -> None:
        if megabytes:
            self._held.append(bytearray(b"\x01" * (megabytes * MB)))

    def _misbehave(self) -> None:
        kind, _, argument = str(self._schedule.get("then", "")).partition(":")
        if kind == "crash":
            os.kill(os.getpid(), getattr(signal, argument or "SIGSEGV"))
        elif kind == "exit":
            os._exit(int(argument))
        elif kind == "hang":
            while True:
                signal.pause()
        elif kind == "chatter":
            while True:
                sys.stderr.write("the same line again and again\n" * 100)
        elif kind == "spawn":
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
            child = subprocess.Popen(command, start_new_session=argument == "daemon")
            Path(self._schedule["pid_file"]).write_text(str(child.pid))
        elif kind == "raise":
            raise ArithmeticError(argument)


def _wait(seconds: float) -> None:
    end = perf_counter_ns() + int(seconds * 1e9)
    while perf_counter_ns() < end:
        pass
