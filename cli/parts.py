"""Starts, watches and stops one process of the embedded stack. Its output is appended to a log file of limited size.

The process is started through `tether.py`, which ends it when the command line ends for any reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cli.errors import PartFailed
from shared.clock import Clock

TETHER = Path(__file__).with_name("tether.py")
GRACE_S = 5.0  # the time between SIGTERM and SIGKILL
POLL_S = 0.05
START_TIMEOUT_S = 90.0  # the very first start is slow, because Python compiles all imported modules
TAIL_LINES = 25
MAX_LOG_BYTES = 10 * 2**20  # the limit of one log file
KEPT_LOGS = 2  # how many older files are kept: redis.log.1 and redis.log.2


def readable(line: str) -> str:
    """Return a line of a log for people: one that is a JSON object as time, level, logger and message."""
    try:
        content = json.loads(line)
        said = f"{content['time']} {content['level'].upper():<7} {content['logger']}: {content['message']}"
        return "\n  ".join([said, *str(content.get("error", "")).splitlines()])
    except (ValueError, LookupError, TypeError, AttributeError):
        return line


class Part:
    """Manages a process that ends no later than the process that started it.

    Args:
        private: True if only this user may read its log and the files that it creates.
    """

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], log: Path, clock: Clock, *, private: bool = False
    ) -> None:
        self.name = name
        self._private = private
        self.log = log
        self._clock = clock
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0  # the size of the log when this process was started

    def start(self) -> None:
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.touch(mode=0o600 if self._private else 0o666)
        self._begin = self.log.stat().st_size
        limits = ("--log", str(self.log), str(MAX_LOG_BYTES), str(KEPT_LOGS))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(TETHER), str(GRACE_S), *limits, *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=dict(self._environment),
                umask=0o077 if self._private else -1,
                start_new_session=True,  # so Ctrl-C in the terminal reaches only the command line, which stops the parts in order
            )

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready` returns True.

        Raises:
            PartFailed: the process ended first, or it took longer than `START_TIMEOUT_S`. The message has the end of its log.
        """
        deadline = self._clock.monotonic() + START_TIMEOUT_S
        while not ready():
            if not self.is_running():
                raise self.failure("ended while starting")
            if self._clock.monotonic() > deadline:
                raise self.failure(f"was not ready after {START_TIMEOUT_S:g} s")
            self._clock.sleep(POLL_S)

    def failure(self, what: str) -> PartFailed:
        tail = "\n".join(f"  {readable(line)}" for line in self._last_lines()) or "  (it said nothing)"
        return PartFailed(f"{self.name} {what}. The end of {self.log}:\n{tail}")

    def _last_lines(self) -> list[str]:
        """Return the last lines that this process wrote. Its log also has those of earlier starts."""
        if not self.log.exists():
            return []
        said = self.log.read_bytes()
        if len(said) >= self._begin:  # otherwise the log was turned over since the start
            said = said[self._begin :]
        return said.decode(errors="replace").splitlines()[-TAIL_LINES:]

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def stop(self) -> None:
        """Ask the process to end, and kill it if it does not. Return when it has ended."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(GRACE_S + 2)
        except subprocess.TimeoutExpired:  # a tether does not hang, but it may be very slow on a machine that swaps
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None
