"""Defines the interface of a launcher: a way in which the server of a service is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from worker.services.base import Place, Service


class Server(Protocol):
    """Is a server that was started. `stop` is called at its end, from any thread, and may be called more than once."""

    @property
    def pid(self) -> int:
        """Return the process below which the server runs. 0 if it has none."""

    @property
    def alive(self) -> bool: ...

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of a server that has ended, and None before."""

    def output(self) -> str:
        """Return the last lines that the server wrote, without logins, also after its end."""

    def stop(self) -> None:
        """End the server and everything that it started, and delete its own folder. Returns when nothing is left."""


class Launcher(Protocol):
    """Runs servers in one way. `own` are the launcher's settings of the recipe, such as the image of a container."""

    def check(self, service: Service, own: Mapping[str, Any]) -> str:
        """Return what will run, such as the version of a program or the image.

        Raises:
            EngineUnavailable: It cannot run on this device.
        """

    def start(self, service: Service, settings: Mapping[str, Any], place: Place, own: Mapping[str, Any]) -> Server:
        """Start the server. It may take a while until it is healthy.

        Raises:
            DeviceFailed: It cannot be started.
        """
