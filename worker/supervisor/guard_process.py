"""The supervisor's end of the guard: a process, two pipes and a thread that reads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from shared.masking import without_credentials
from worker.hardware.steering import NO_TELEMETRY, steering_variables
from worker.runner.command import runner_command
from worker.runner.request import RunRequest

CLOSE_PATIENCE_S = 10.0


@dataclass(frozen=True)
class GuardEvent:
    """One line from the guard (see `worker.runner.guard`), or `lost` when it has ended."""

    event: str
    facts: dict[str, Any]


class GuardProcess:
    """A running guard. Every event of its runs goes into `inbox`; `ready` is set once it has imported the runtimes, or died.

    `steering` holds the environment variables that steer the runtimes in its measured processes.
    """

    def __init__(self, inbox: SimpleQueue[Any], *, spawn: bool = False) -> None:
        self._inbox = inbox
        self.spawned = spawn
        self.ready = threading.Event()
        environment = without_credentials(os.environ)  # noqa: TID251 - handed on to the models' runtimes, as it is but for the secrets
        self.steering = steering_variables(environment)
        self._process = subprocess.Popen(
            runner_command(*(["--spawn"] if spawn else [])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment | NO_TELEMETRY,
            start_new_session=sys.platform != "win32",  # the terminal's Ctrl-C is the worker's to answer
        )
        self._reader = threading.Thread(target=self._read, name="fleetmark-guard-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, number: int, request: RunRequest) -> None:
        self._send({"do": "run", "id": number, "request": request.to_json()})

    def kill(self, number: int) -> None:
        self._send({"do": "kill", "id": number})

    def ask(self, number: int) -> None:
        """Have the guard say how long the process of a run stood still so far (the event `stillness`)."""
        self._send({"do": "ask", "id": number})

    def close(self) -> None:
        """End the guard, and with it every runner it still has. Returns when it is gone."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(CLOSE_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(CLOSE_PATIENCE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def destroy(self) -> None:
        """Kill the guard itself; the kernel ends its runners with it (on Linux), as far as it can end them."""
        self._process.kill()

    def _send(self, command: dict[str, Any]) -> None:
        # A broken pipe needs no answer here: the reader meets the end of the same process and says `lost`.
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def _read(self) -> None:
        pipe = self._process.stdout
        pending = b""
        while pipe is not None and (data := pipe.read(65_536)):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                facts = json.loads(line)
                if facts["event"] == "ready":
                    self.ready.set()
                else:
                    self._inbox.put(GuardEvent(facts.pop("event"), facts))
        self.ready.set()
        self._inbox.put(GuardEvent("lost", {"returncode": self._process.wait(), "pid": self._process.pid}))


def kill_group(runner: int) -> None:
    """Kill a runner whose guard has died, with whatever it started in its own session. On Windows there is no group to kill."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(runner, signal.SIGKILL)
