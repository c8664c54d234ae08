"""Defines what every null server has in common; see `worker.load.null_server`."""

from __future__ import annotations

import asyncio
from typing import cast


class Null(asyncio.Protocol):
    """Is one connection to a null server."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
