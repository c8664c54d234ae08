"""Finds the programs of servers on this device, and asks them for their versions."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from shared.errors import EngineUnavailable

VERSION_S = 10.0


class BrokenProgram(EngineUnavailable):
    """Is raised when a program is there and does not say its version."""


def found(name: str, *, packaged: bool = False) -> Path | None:
    """Return the path of a program on the PATH or, if it may be `packaged`, among the programs of this Python environment."""
    path = shutil.which(name) or (shutil.which(name, path=sysconfig.get_path("scripts")) if packaged else None)
    return Path(path) if path else None


def needed(name: str, how: str, *, packaged: bool = False) -> Path:
    """Return what `found` does.

    Args:
        how: What the user can do to have the program.

    Raises:
        EngineUnavailable: It is not there.
    """
    if (path := found(name, packaged=packaged)) is not None:
        return path
    raise EngineUnavailable(f"no program `{name}` on this device: {how}, or give the `address` of a server that runs")


def said_by(program: Path, arguments: Sequence[str] = ("--version",), timeout_s: float = VERSION_S, *, errors: bool = False) -> str:
    """Return what a program writes to its standard output when it is asked for its version.

    Args:
        errors: Whether the standard error belongs to the answer, too.

    Raises:
        BrokenProgram: It cannot be started, or does not end in time.
    """
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokenProgram(f"the program {program} does not say its version: {error}; repair it, or remove it from this device") from error
    return done.stdout + (done.stderr if errors else "")
