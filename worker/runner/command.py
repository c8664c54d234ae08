"""Builds the command line of a guard or a measured process. It uses this Python interpreter and this installation of the code."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def runner_command(*arguments: str) -> list[str]:
    # -P: never import from the current directory. Our own folder is added to the path explicitly.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from worker.runner.__main__ import main; main(sys.argv[1:])"
    return [sys.executable, "-P", "-c", code, *arguments]
