"""Reads the address of an orchestrator in the forms that people type."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from shared.addresses import shown_address
from shared.hosts import in_url, reached_at, without_brackets

DEFAULT_PORT = 5000


def orchestrator_address(value: str, default_port: int = DEFAULT_PORT) -> str:
    """Return `http://name:port` for what people type: a bare name or address, name:port, a trailing slash or `/api`.

    If the address means every address of a machine (`0.0.0.0`, `::`), the loopback address is returned in its place.

    Raises:
        ValueError: it is not an address of an HTTP server, or it has a login in it. The message does not repeat the login.
    """
    typed = value.strip()
    if _is_address(bare := without_brackets(typed)):
        typed = in_url(bare)
    whole = typed if "://" in typed else f"http://{typed}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise ValueError(
            f"{shown_address(typed) if '@' in typed else typed!r} is no address of an orchestrator; write it as http://name:{DEFAULT_PORT}"
        )
    if "@" in parts.netloc:
        raise ValueError(
            f"{shown_address(whole)!r} has a login in it, which is not sent to an orchestrator: leave it out, and set FLEETMARK_TOKEN "
            "(or give --token-file) to a token of the orchestrator. A server in front of it must not ask for a login of its own"
        )
    name = in_url(reached_at(parts.hostname))
    if port is None and parts.scheme == "http" and "://" not in typed:
        port = default_port
    path = parts.path.rstrip("/").removesuffix("/api")
    return f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{path}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
