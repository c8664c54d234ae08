"""Runs commands of `fleetmark` in the process of the tests, because starting a process for each would take most of the time."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.main import main


@dataclass(frozen=True)
class Ended:
    """Holds what a command has written, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def fleetmark(*arguments: str, host: str = "", folder: Path | None = None, **variables: str) -> Ended:
    """Run a command to its end, with streams that are no terminals. An exception that would end in a traceback is raised.

    Args:
        host: the address of the orchestrator, as FLEETMARK_HOST names it.
        folder: the current folder of the command.
        variables: variables of its environment. It sees no other FLEETMARK_* variable.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name in os.environ:
            if name.startswith("FLEETMARK_"):
                patch.delenv(name)
        for name, value in (variables | ({"FLEETMARK_HOST": host} if host else {})).items():
            patch.setenv(name, value)
        if folder is not None:
            patch.chdir(folder)
        patch.setattr(sys, "argv", ["fleetmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    return Ended(code if isinstance(code, int) else int(code is not None), _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer
    assert isinstance(content, io.BytesIO)
    return content.getvalue().decode()
