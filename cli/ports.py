"""Finds and checks ports of this machine."""

from __future__ import annotations

import socket

from cli.errors import PartFailed
from cli.settings import LOOPBACK


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free(bind: str, port: int, option: str = "--port or FLEETMARK_PORT") -> None:
    """Check that this process can listen on a port.

    Args:
        option: the option or variable by which the user can choose another port; part of the message.

    Raises:
        PartFailed: the port is taken, or the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise PartFailed(f"port {port} on {bind} cannot be used ({error.strerror or error}); name another with {option}") from error
