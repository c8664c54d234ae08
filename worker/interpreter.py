"""Builds the command lines of our own Python processes. They use this interpreter and this installation of the code."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that calls `main` of a module with the arguments."""
    # -P: never import from the current directory. Our own folder is added explicitly, because the package may not be installed.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {module} import main; main(sys.argv[1:])"
    return [sys.executable, "-P", "-c", code, *arguments]


def runner_command(*arguments: str) -> list[str]:
    """Return the command of a guard, or of a single measured process."""
    return python_command("worker.runner.__main__", *arguments)


def sampler_command() -> list[str]:
    """Return the command of the process that samples beside a measurement."""
    return python_command("worker.samplers.loop")
