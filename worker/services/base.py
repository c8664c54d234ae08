"""Defines the interface of a type of service that a worker can start.

A service says how its server is started and asked. It starts nothing itself: a launcher (`worker.launchers`) does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Says where a server runs: its port, its own folder, and how many connections its clients will open.

    `user` is the id of the user that the server runs as; None means the worker's own.
    """

    port: int
    folder: Path
    connections: int = 1
    user: int | None = None


@dataclass(frozen=True)
class Command:
    """Describes the command line of a server.

    Attributes:
        words: The program and its arguments.
        environment: Variables that are added to the worker's.
        stop_signal: The number of the signal that ends the server in an orderly way.
    """

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = 15


@dataclass(frozen=True)
class Container:
    """Describes a server in a container.

    Attributes:
        arguments: What follows the image on the command line.
        data: The folder of the container that holds the data.
        environment: Variables of the container.
    """

    arguments: Sequence[str]
    data: str
    environment: Mapping[str, str] = field(default_factory=dict)


class NotHealthy(Exception):
    """Is raised by a health check that fails. The text is what the server said."""


class Service(Protocol):
    """Describes one type of service. `settings` are those of the recipe, with every default."""

    needs_other_user: bool
    """Whether the server refuses to run as root."""

    def version(self) -> str:
        """Return the name and version of the server program on this device.

        Raises:
            EngineUnavailable: There is none. The message says how to get one.
        """

    def check(self, settings: Mapping[str, Any]) -> None:
        """Check the settings against this device, before anything is started.

        Raises:
            ModelInvalid: A setting cannot be met, such as a data folder that is not empty.
        """

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        """Return the folder of the user in which the server's own folder is made. None means the system's temporary folder."""

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        """Return the commands that must end well before the server starts, such as making an empty database."""

    def command(self, settings: Mapping[str, Any], place: Place) -> Command: ...

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        """Return how the server is started in a container, where it listens on `port` of every address."""

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        """Return where clients find the server."""

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        """Ask the server whether it is ready, and make it ready for its clients if that takes a request, such as a database.

        Raises:
            NotHealthy: It is not ready.
        """

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        """Return what the server counts itself, such as hits of its cache. Empty if it does not answer."""
