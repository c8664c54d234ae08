"""Controls a server that runs below a keeper, so that it ends when the worker does."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shared.masking import masked
from worker.launchers import keeper

GRACE_S = 10.0
LOG = "server.log"  # in the server's own folder
END_S = 20.0  # how long a keeper may take after the grace, to kill what is left and to delete the folder


@dataclass(frozen=True)
class Kept:
    """Says what a keeper runs: the words of the command, its folder, and what happens at its end (see `keeper`)."""

    words: Sequence[str]
    folder: str
    log: str
    environment: Mapping[str, str]
    stop_signal: int
    user: int | None = None
    grace_s: float = GRACE_S
    after: Sequence[str] = ()
    remove: Sequence[str] = field(default_factory=tuple)


class KeptServer:
    """Is a server that was started. `stop` must be called at its end, from any thread; it may be called more than once.

    Raises:
        OSError: No process can be started.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=sys.platform != "win32",
        )
        self._last = b""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(asdict(kept)).encode() + b"\n")
                self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Return the process id of the keeper; the server is below it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def output(self) -> str:
        """Return the last lines that the server wrote, without logins."""
        if self.alive:
            with contextlib.suppress(FileNotFoundError), Path(self._kept.log).open("rb") as file:
                file.seek(max(0, Path(self._kept.log).stat().st_size - keeper.LAST_BYTES))
                self._last = file.read()
        elif self._process.stdout is not None and not self._process.stdout.closed:
            self._last = self._process.stdout.read() or self._last
            self._process.stdout.close()
        return masked(self._last.decode(errors="replace").strip())

    def stop(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, OSError):
                self._process.stdin.close()
        try:
            self._process.wait(self._kept.grace_s + END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.output()
