"""Implements the guard for systems where forking an imported runtime is unsafe (macOS) or impossible (Windows).

Each repeat is a new interpreter, `python -m worker.runner --once`, which does its own imports before it measures. It reads its
request from a pipe whose other end only the guard holds. When that pipe closes, the runner ends itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from queue import Empty, SimpleQueue
from typing import IO, Any

from shared.clock import SystemClock
from worker.interpreter import runner_command, sampler_command
from worker.measured.request import RunRequest
from worker.runner.child import run_here
from worker.runner.guard import Reporter, Running, preload
from worker.runner.oom import oom_kills
from worker.runner.stillness import BEAT_S, StillnessWatch

ENDED = "ended"


class SpawningGuard:
    """Owns the measured processes. Threads read the commands, the output and the exits, and one loop acts on them."""

    def __init__(self, commands: int, reporter: Reporter, modules: list[str]) -> None:
        self._commands, self._modules = commands, modules
        self._reporter = reporter
        self._inbox: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._runners: dict[int, tuple[Running, subprocess.Popen[bytes]]] = {}  # keyed by the number of the run
        self._watch = StillnessWatch(SystemClock())
        self._reaping = threading.Lock()  # held while a group is killed, and while its process is reaped

    def serve(self) -> None:
        """Serve until the commands end or nobody reads the events. Then kill the processes that still run."""
        threading.Thread(target=self._read_commands, daemon=True).start()
        try:
            while not self._reporter.unread:
                item = self._next()
                self._watch.look([runner for runner, _ in self._runners.values() if not runner.samples])
                if item == ("command", None):
                    break
                if item is not None:
                    self._handle(*item)
        finally:
            for _, process in self._runners.values():
                self._kill(process)
                process.wait()

    def _next(self) -> tuple[str, Any] | None:
        try:
            return self._inbox.get(timeout=BEAT_S if self._runners else None)
        except Empty:
            return None

    def _handle(self, what: str, value: Any) -> None:
        if what == "command" and value["do"] in ("run", "sample"):
            self._start(value["id"], value["request"], samples=value["do"] == "sample")
        elif what == "command" and value["id"] in self._runners:
            runner, process = self._runners[value["id"]]
            if value["do"] == "ask":
                self._reporter.stillness(runner)
            elif value["do"] == "end":
                with contextlib.suppress(OSError):  # it has ended already
                    if process.stdin is not None:
                        process.stdin.close()
            else:
                runner.killed_by_us = True
                self._kill(process)
        elif what == "phase":
            self._reporter.phases(*value)
        elif what == ENDED:
            self._finish(value)

    def _read_commands(self) -> None:
        with os.fdopen(self._commands, "rb", closefd=False) as lines:
            for line in lines:
                self._inbox.put(("command", json.loads(line)))
        self._inbox.put(("command", None))

    def _start(self, number: int, request: dict[str, Any], *, samples: bool) -> None:
        kills = oom_kills()
        process = None
        try:
            process = subprocess.Popen(
                sampler_command() if samples else runner_command(",".join(self._modules), "--once"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=sys.platform != "win32",
            )
            runner = Running(number, process.pid, oom_kills_before=kills, samples=samples)
            reader = threading.Thread(target=_drain, args=(process.stderr, runner), daemon=True)
            reader.start()
            threading.Thread(target=self._follow, args=(runner, process, reader), daemon=True).start()
        except (OSError, RuntimeError) as error:  # too many processes or files, too little memory; RuntimeError: no thread starts
            if process is not None:
                self._kill(process)
                process.wait()
                _close(process)
            self._reporter.send("not_started", id=number, error=str(error))
            return
        self._runners[number] = (runner, process)
        self._reporter.send("started", id=number, pid=process.pid)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # the process has already died; its exit is reported elsewhere
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()  # stays open: when it closes, the runner ends itself

    def _follow(self, runner: Running, process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
        while process.stdout is not None and (data := os.read(process.stdout.fileno(), 65_536)):
            self._inbox.put(("phase", (runner, data)))
        _wait_for_end(process)
        if sys.platform != "win32":
            self._kill(process)  # kills what the runner left in its group, which may hold the pipe open
        with self._reaping:
            process.wait()
        reader.join(timeout=5)
        self._inbox.put((ENDED, runner.id))

    def _finish(self, number: int) -> None:
        runner, process = self._runners.pop(number)
        _close(process)
        code = process.returncode
        killed = code < 0
        self._reporter.exited(runner, code=None if killed else code, signal=-code if killed else None, max_rss_mb=None, cpu_s=None)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process with its group. Does nothing if it was reaped: its number may then be that of another process."""
        with self._reaping:
            if process.returncode is not None:
                return
            if sys.platform == "win32":
                # Kill the process tree: Windows has no process groups.
                subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], check=False, capture_output=True)
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended, and leave it as a zombie, so that its number still belongs to its group."""
    if sys.platform == "win32":
        process.wait()
    elif sys.platform == "darwin":  # macOS has no waitid before Python 3.13
        # ProcessLookupError means that it has ended already
        with contextlib.suppress(ProcessLookupError), contextlib.closing(select.kqueue()) as queue:
            queue.control([select.kevent(process.pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)], 1)
    else:
        with contextlib.suppress(ChildProcessError):  # the guard is ending, and has reaped it already
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def _drain(pipe: IO[bytes] | None, runner: Running) -> None:
    while pipe is not None and (data := os.read(pipe.fileno(), 65_536)):
        runner.output.feed(data)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def run_once(modules: list[str]) -> None:
    """Run in the new interpreter: read one request from stdin, measure, and end. Ends early if stdin is closed."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 65_536)
        if not data:
            return
        line += data
    preload(modules)  # before the first phase, so that imports count nowhere, as in a forked runner
    threading.Thread(target=_end_with_guard, daemon=True).start()
    run_here(RunRequest(**json.loads(line)))
    os._exit(0)


def _end_with_guard() -> None:
    """End this process when the guard closes stdin or dies. Until then this blocks in a read, which does not disturb the measurement."""
    while os.read(0, 1):
        pass
    os._exit(1)
