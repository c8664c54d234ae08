"""The command line of a guard or of a measured process: this interpreter, and this installation of the code."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def runner_command(*arguments: str) -> list[str]:
    # -P: never import from the folder the worker happens to stand in; our own is put on the path by name instead.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from worker.runner.__main__ import main; main(sys.argv[1:])"
    return [sys.executable, "-P", "-c", code, *arguments]
