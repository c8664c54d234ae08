"""Imports the libraries of a generator once in a process of their own: an installed library may not import, and importing takes seconds."""

from __future__ import annotations

from functools import cache
from typing import Any

from worker.hardware.short_process import answer_of


@cache
def answer_once(probe: str, what: str, library: str) -> dict[str, Any]:
    """Return what a module that probes says (see `answer_of`). This process remembers it, because it does not change meanwhile."""
    return answer_of(probe, what=what, library=library)
