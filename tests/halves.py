"""Stands for another process that is writing a file at this moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WRITER = """
import fcntl, sys
file = open(sys.argv[1], "wb")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(sys.argv[2].encode())
file.flush()
print("writing", flush=True)
sys.stdin.read()
"""


@contextmanager
def being_written(part: Path, content: bytes = b"half") -> Iterator[None]:
    """Let a process of its own hold the partial file, as `orchestrator.whole_files` does, until the block ends. The file stays."""
    command = [sys.executable, "-S", "-c", _WRITER, str(part), content.decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        yield
        assert writer.stdin is not None
        writer.stdin.close()
