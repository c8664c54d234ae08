"""Defines the interface of a launcher: a way in which the server of a service is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from worker.launchers.kept import KeptServer
from worker.services.base import Place, Service


class Launcher(Protocol):
    """Runs servers in one way. `own` are the launcher's settings of the recipe, such as the image of a container."""

    def check(self, service: Service, own: Mapping[str, Any]) -> str:
        """Return what will run, such as the version of a program or the image.

        Raises:
            EngineUnavailable: It cannot run on this device.
        """

    def start(self, service: Service, settings: Mapping[str, Any], place: Place, own: Mapping[str, Any]) -> KeptServer:
        """Start the server. It may take a while until it is healthy.

        Raises:
            DeviceFailed: It cannot be started.
        """
