"""Runs the server of the fake service in a thread of this process. No recipe asks for it: only tests use it.

Settings of the launcher: `says` is what the server writes, `lives_s` is after how long it ends by itself (with exit code 3), `refuse` is
why it cannot run here, and `fail` is why it cannot be started.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.clock import SystemClock
from shared.errors import DeviceFailed, EngineUnavailable
from shared.masking import masked
from worker.launchers.base import Server
from worker.services.base import LOOPBACK, Place, Service

LOOK_S = 0.02
ENDED_BY_ITSELF, STOPPED = 3, 143  # as a process that exits, and one that is ended by SIGTERM


class FakeLauncher:
    """Implements `worker.launchers.base.Launcher`."""

    def check(self, service: Service, own: Mapping[str, Any]) -> str:
        if refused := own.get("refuse"):
            raise EngineUnavailable(refused)
        return f"{service.version()} in a thread"

    def start(self, service: Service, settings: Mapping[str, Any], place: Place, own: Mapping[str, Any]) -> Server:
        del service, settings
        if failed := own.get("fail"):
            raise DeviceFailed(failed)
        return FakeServer(place.port, place.folder, str(own.get("says", "here")), float(own.get("lives_s", 60.0)))


class FakeServer:
    """Answers each connection as the fake service does, until it is stopped or its time is over."""

    pid = 0

    def __init__(self, port: int, folder: Path, says: str, lives_s: float) -> None:
        self._folder, self._says = folder, says
        self._code: int | None = None
        self._stopped = threading.Event()
        self._listening = socket.create_server((LOOPBACK, port))
        self._listening.settimeout(LOOK_S)
        self._thread = threading.Thread(target=self._serve, args=(SystemClock().monotonic() + lives_s,), name="fake server", daemon=True)
        self._thread.start()

    def _serve(self, end: float) -> None:
        with self._listening:
            while not self._stopped.is_set() and SystemClock().monotonic() < end:
                with contextlib.suppress(TimeoutError), self._listening.accept()[0] as connection:
                    connection.sendall(b"ready")
        self._code = STOPPED if self._stopped.is_set() else ENDED_BY_ITSELF
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def alive(self) -> bool:
        return self._code is None

    @property
    def exit_code(self) -> int | None:
        return self._code

    def output(self) -> str:
        return masked(self._says)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
