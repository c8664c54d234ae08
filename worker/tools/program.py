"""Finds and runs the program of a tool."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.errors import EngineUnavailable
from shared.masking import without_credentials
from shared.services.native_tools import TOOLS
from worker.tools.base import Ended

VERSION_S = 20.0


def find_program(tool: str, *further: Path) -> str:
    """Return the path of a tool's program: on the PATH, or in one of the further folders.

    Raises:
        EngineUnavailable: It is not on this device.
    """
    if found := shutil.which(tool):
        return found
    for folder in further:
        if os.access(folder / tool, os.X_OK):
            return str(folder / tool)
    raise EngineUnavailable(
        f"{tool} is not on this device: install it with `{TOOLS[tool].install}`, or leave `client.driver` out, and our own clients send"
    )


def version_of(program: str) -> str:
    """Return the first line that a program prints about its version."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=VERSION_S).stdout
    return said.strip().splitlines()[0] if said.strip() else f"{Path(program).name} of an unknown version"


def run_program(
    words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, on_error_line: Callable[[str], None] | None = None
) -> Ended:
    """Run a program until it ends, and return what it wrote. It is a child of the measured process, and ends with it.

    Args:
        environment: Variables that are added to those of the worker, without the worker's own logins.
        on_error_line: Called with each line of its standard error while it runs.
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

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            errors.append(line.rstrip())
            if on_error_line is not None:
                on_error_line(line.rstrip())

    reading = threading.Thread(target=read, daemon=True)
    with process:
        reading.start()
        assert process.stdout is not None
        output = process.stdout.read()
        code = process.wait()
        reading.join()
    return Ended(code, output, errors)
