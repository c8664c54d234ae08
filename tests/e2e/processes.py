"""Starts processes for the end-to-end tests. Each is marked, so that all of its child processes can be found."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from worker.hardware.steering import NO_TELEMETRY

MARK = "TESTED_BY"
SMALL_RECIPE = """
name: small
model: squeezenet
on: [cpu.onnx]
inferences: 5
repeats: 2
warmup: {min_calls: 1, min_s: 0}
"""
LONG_RECIPE = """
name: long
model: squeezenet
on: [cpu.onnx]
inferences: 100000
repeats: 3
"""


class Command:
    """Runs a `fleetmark` command in its own folder."""

    program: tuple[str, ...] = (sys.executable, "-m", "cli.main")

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.mark = secrets.token_hex(8)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_") and name not in NO_TELEMETRY}
        self.stdout, self.stderr = folder / f"{self.mark}.out", folder / f"{self.mark}.err"
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [*self.program, *arguments],
                cwd=folder,
                env=kept | variables | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def wait(self, timeout_s: float = 600) -> int:
        return self.process.wait(timeout_s)

    def out(self) -> str:
        return self.stdout.read_text()

    def err(self) -> str:
        return self.stderr.read_text()

    def survivors(self) -> list[str]:
        """Return the command lines of all running processes that it has started, including itself."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found

    def assert_leaves_nothing(self, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while survivors := self.survivors():
            assert time.monotonic() < deadline, survivors
            time.sleep(0.1)

    def end(self) -> None:
        """End all processes, for a test that failed before it could do so."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class InstalledCommand(Command):
    """Runs the installed `fleetmark` from the PATH, which does not look for modules in the current folder."""

    program = (str(Path(sys.executable).with_name("fleetmark")),)


def wait_until(condition: Callable[[], object], command: Command, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert command.process.poll() is None, command.err()
        assert time.monotonic() < deadline, command.err()
        time.sleep(0.05)
