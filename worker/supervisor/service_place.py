"""Finds the port, the folder and the user for a server that is started."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from shared.errors import DeviceFailed, ModelInvalid
from worker.services.base import LOOPBACK

NOBODY = 65_534  # some servers refuse to run as root


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def port_for(wanted: int | None) -> int:
    """Return the port for a server: the wanted one, or a free one.

    Raises:
        ModelInvalid: The wanted port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted or 0))
        except OSError as error:
            raise ModelInvalid(
                f"service.settings.port: port {wanted} of this device cannot be used ({error.strerror}); "
                "leave `port` out, and a free one is taken"
            ) from error
        return int(probe.getsockname()[1])


def own_folder(parent: Path | None, user: int | None) -> Path:
    """Make an empty folder for a server. Its user can enter it.

    Raises:
        DeviceFailed: It cannot be made.
    """
    try:
        if parent is not None and not parent.exists():
            parent.mkdir(parents=True)
            parent.chmod(0o755 if user is not None else 0o700)
        folder = Path(tempfile.mkdtemp(prefix="fleetmark-service-", dir=parent))
        folder.chmod(0o755)
        if user is not None:
            os.chown(folder, user, user)
    except OSError as error:
        raise DeviceFailed(f"no folder for the service could be made: {error}") from error
    return folder
