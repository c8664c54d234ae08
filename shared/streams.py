"""Prepares the standard streams of a command. Under cron, in pipes and on old consoles they may be closed or not support Unicode."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def settle_streams() -> None:
    """Make standard output and standard error accept all text without an error.

    A closed stream (`>&-`) is replaced by one that discards everything. A character that the encoding of the stream lacks, such as `→` in
    a file on Windows, is written as `?`.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open until the process ends)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def takes_unicode(stream: io.TextIOBase | object) -> bool:
    """Return whether a stream can encode every character."""
    return str(getattr(stream, "encoding", "") or "").lower().replace("-", "").startswith("utf")
