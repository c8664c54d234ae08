"""Finds and runs the program of a tool."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.errors import EngineUnavailable
from shared.masking import without_credentials
from shared.services.native_tools import TOOLS
from worker.tools.base import Ended, EndsEarly

VERSION_S = 20.0
LOOK_S = 0.1  # how often it is asked whether a program shall end early
GRACE_S = 5.0  # a program that was told to end may take so long


def find_program(tool: str, *further: Path, program: str = "") -> str:
    """Return the path of a tool's program: on the PATH, or in one of the further folders.

    Args:
        program: Its name, if it is not that of the tool.

    Raises:
        EngineUnavailable: It is not on this device.
    """
    program = program or tool
    if found := shutil.which(program):
        return found
    for folder in further:
        if os.access(folder / program, os.X_OK):
            return str(folder / program)
    raise EngineUnavailable(
        f"{tool} is not on this device: install it with `{TOOLS[tool].install}`, or leave `client.driver` out, and our own clients send"
    )


def version_of(program: str) -> str:
    """Return the first line that a program prints about its version."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=VERSION_S).stdout
    return said.strip().splitlines()[0] if said.strip() else f"{Path(program).name} of an unknown version"


def run_program(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    on_error_line: Callable[[str], None] | None = None,
    ends_early: EndsEarly = lambda: False,
    end_signal: signal.Signals = signal.SIGTERM,
) -> Ended:
    """Run a program until it ends, and return what it wrote. It is a child of the measured process, and ends with it.

    Args:
        environment: Variables that are added to those of the worker, without the worker's own logins.
        on_error_line: Called with each line of its standard error while it runs.
        ends_early: Says whether it shall end now.
        end_signal: What ends it early.
    """
    inherited = without_credentials(os.environ)  # noqa: TID251 - what any program inherits
    process = subprocess.Popen(
        list(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=folder,
        env={**inherited, "LC_ALL": "C", **(environment or {})},
    )
    errors: list[str] = []
    output: list[str] = []

    def read_errors() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            errors.append(line.rstrip())
            if on_error_line is not None:
                on_error_line(line.rstrip())

    def read_output() -> None:
        assert process.stdout is not None
        output.append(process.stdout.read())

    readers = [threading.Thread(target=read, daemon=True) for read in (read_errors, read_output)]
    with process:
        for reader in readers:
            reader.start()
        early = _await(process, ends_early, end_signal)
        for reader in readers:
            reader.join()
    return Ended(process.returncode, "".join(output), errors, early)


def _await(process: subprocess.Popen[str], ends_early: EndsEarly, end_signal: signal.Signals) -> bool:
    """Wait for the end of a program. Returns whether it was ended early."""
    while True:
        try:
            process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            if not ends_early():
                continue
            process.send_signal(end_signal)
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            return True
        else:
            return False
