"""The standard streams of a command, as cron, pipes and old consoles hand them over."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def settle_streams() -> None:
    """Make standard output and standard error take everything that is printed.

    A stream that was closed (`>&-`) is replaced by one that leads nowhere. A character that the stream's encoding does not have, such as
    `→` in a file that Windows writes, becomes a `?` instead of an error.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open until the process ends)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def takes_unicode(stream: io.TextIOBase | object) -> bool:
    """Whether a stream can take every character."""
    return str(getattr(stream, "encoding", "") or "").lower().replace("-", "").startswith("utf")
