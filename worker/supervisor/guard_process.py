"""Starts and controls the guard process: it writes commands to one pipe, and a thread reads events from the other."""

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
from worker.interpreter import runner_command
from worker.measured.request import RunRequest
from worker.runner.plan import GuardPlan
from worker.samplers.request import SampleRequest

CLOSE_PATIENCE_S = 10.0


@dataclass(frozen=True)
class GuardEvent:
    """Holds one line from the guard (see `worker.runner.guard`). The event `lost` is added here when the guard has ended."""

    event: str
    facts: dict[str, Any]


class GuardProcess:
    """Controls a running guard.

    Its plan says what it imports, whether it may fork, and the environment variables of its measured processes. With `spawn` it never
    forks. Every event of its runs is put into `inbox`. `ready` is set once the guard has imported the runtime, or has died. `steering`
    holds the environment variables that influence the runtime in the measured processes.
    """

    def __init__(self, inbox: SimpleQueue[Any], plan: GuardPlan, *, spawn: bool = False) -> None:
        self._inbox = inbox
        self._routes: dict[int, SimpleQueue[GuardEvent]] = {}  # of the processes that sample, by number
        self.spawned = spawn or not plan.forks
        self.ready = threading.Event()
        self._ended = threading.Event()  # set before the reader waits for the end of the process
        of_worker = os.environ  # noqa: TID251 - the models' runtimes inherit it, without the secrets that they do not need
        needed = {name: of_worker[name] for name in plan.credentials if name in of_worker}
        environment = without_credentials(of_worker) | dict(plan.environment)
        self.steering = steering_variables(environment)
        self._process = subprocess.Popen(
            runner_command(",".join(plan.preload), *(["--spawn"] if self.spawned else [])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment | NO_TELEMETRY | needed,
            start_new_session=sys.platform != "win32",  # Ctrl-C in the terminal must reach the worker only
        )
        self._reader = threading.Thread(target=self._read, name="fleetmark-guard-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        # While the reader waits for the end, `poll` cannot find out whether the process has ended, and says that it lives.
        return self._process.poll() is None and not self._ended.is_set()

    def run(self, number: int, request: RunRequest) -> None:
        self._send({"do": "run", "id": number, "request": request.to_json()})

    def sample(self, number: int, request: SampleRequest, inbox: SimpleQueue[GuardEvent]) -> None:
        """Start a process that samples beside the measured ones. Its events are put into a queue of its own.

        Args:
            number: Below 0, so that it is never the number of a run.
        """
        self._routes[number] = inbox
        self._send({"do": "sample", "id": number, "request": request.to_json()})

    def end(self, number: int) -> None:
        """Make the process that samples write what it has, and end."""
        self._send({"do": "end", "id": number})

    def forget(self, number: int) -> None:
        """Give up the queue of a process that samples. Call it when the process has ended."""
        self._routes.pop(number, None)

    def kill(self, number: int) -> None:
        self._send({"do": "kill", "id": number})

    def ask(self, number: int) -> None:
        """Ask the guard how long the process of a run has stood still so far. It answers with the event `stillness`."""
        self._send({"do": "ask", "id": number})

    def close(self) -> None:
        """End the guard and all its measured processes. Returns when the guard has ended."""
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
        """Kill the guard itself. On Linux the kernel then kills the measured process, unless it hangs in a driver."""
        self._process.kill()

    def _send(self, command: dict[str, Any]) -> None:
        # A broken pipe is ignored here: the reader thread notices the end of the guard and reports `lost`.
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
                    self._routes.get(facts.get("id"), self._inbox).put(GuardEvent(facts.pop("event"), facts))
        self._ended.set()
        self.ready.set()
        lost = GuardEvent("lost", {"returncode": self._process.wait(), "pid": self._process.pid})
        for inbox in (self._inbox, *self._routes.values()):
            inbox.put(lost)


def kill_group(runner: int) -> None:
    """Kill the process group of a measured process whose guard has died. Does nothing on Windows, which has no process groups."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(runner, signal.SIGKILL)
