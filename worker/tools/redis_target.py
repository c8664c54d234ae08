"""Says which server a tool for Redis drives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shared.errors import ModelInvalid


class RedisTarget(NamedTuple):
    """Holds what a tool needs on its command line to reach a Redis."""

    host: str
    port: int
    database: str


def target_of(tool: str, address: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> RedisTarget:
    """Return the server of an address; `settings` name its database if the address does not.

    Raises:
        ModelInvalid: The server has a password, which the tool takes on its command line only.
    """
    parts = urlsplit(address if "://" in address else f"redis://{address}")
    if parts.password or secrets.get("password"):
        raise ModelInvalid(
            f"{tool} takes a password on its command line only, where every user of the device can read it; "
            "write `driver: fleetmark` for a server with a password"
        )
    return RedisTarget(parts.hostname or "127.0.0.1", parts.port or 6379, parts.path.strip("/") or str(settings.get("database") or 0))
