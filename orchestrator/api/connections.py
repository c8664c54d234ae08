"""The HTTP server: uvicorn, and what it lacks against clients that are many or slow.

Uvicorn bounds the size of a request's head and the pause between two requests, not how long a head may take, nor how long a client may
leave an answer unread. One thread serves all connections, so a slow one costs memory and a place; both are bounded here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from typing import Any, ClassVar

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.api.headers import SAFE
from orchestrator.api.hosts import Network, is_among, network_of, networks_of, resolves_to_loopback
from orchestrator.settings import Settings

KEEP_ALIVE_S = 5  # between two requests of a connection
BACKLOG = 2048  # as uvicorn has it
LINGER_S = 5.0  # for the last bytes of an answer after which the connection is closed


def server_config(app: FastAPI, settings: Settings, **more: Any) -> uvicorn.Config:
    """Return how the API is served, in production and in the tests.

    Raises:
        OSError: the host of the settings is no address.
    """
    alone = resolves_to_loopback(settings.host)  # whoever reaches us is this machine, or a proxy on it

    class Connection(BoundedConnection):
        patience_s = settings.request_timeout_s
        max_connections = settings.max_connections
        max_of_one = settings.max_connections if alone else settings.max_connections_per_address
        proxies = networks_of(settings.trusted_proxies)
        of_each: ClassVar[Counter[str]] = Counter()

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        **more,
    )


def open_sockets(host: str, port: int) -> list[socket.socket] | None:
    """Open the sockets to listen on where uvicorn's own would not do. Returns None where they do.

    To asyncio `::` is IPv6 alone, whereas people mean every address of the machine. There are two sockets and not one for both: on one,
    addresses of IPv4 would look like `::ffff:10.0.0.7`, which no list of trusted proxies knows.

    Raises:
        OSError: the port is taken, or this machine speaks no IPv6.
    """
    if host != "::":
        return None
    wide = _listener(socket.AF_INET6, host, port)
    try:
        narrow = _listener(socket.AF_INET, "0.0.0.0", wide.getsockname()[1])  # noqa: S104 (the user asked for every address)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # a machine without IPv4
            return [wide]
        wide.close()
        raise
    return [narrow, wide]


def _listener(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only on sockets that say they are TCP; with it every answer would wait 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


class BoundedConnection(H11Protocol):
    """A connection whose every wait for the client ends: for a head, and for an answer to be taken."""

    patience_s: float
    max_connections: int
    max_of_one: int  # of the same network; one machine shall not take all places
    proxies: list[Network]
    of_each: ClassVar[Counter[str]]  # connections, by the network at their other end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        address = self.client[0] if self.client is not None else ""
        self._network = network_of(address)
        self.of_each[self._network] += 1
        if len(self.connections) > self.max_connections:
            self._refuse(503, "Service Unavailable", "Unavailable", "too many connections; try again in a moment", "Retry-After: 5")
        elif self.of_each[self._network] > self.max_of_one and not is_among(address, self.proxies):
            detail = f"too many connections from {self._network}: at most {self.max_of_one} (FLEETMARK_MAX_CONNECTIONS_PER_ADDRESS)"
            self._refuse(503, "Service Unavailable", "Unavailable", detail, "Retry-After: 5")
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()

    def send_400_response(self, msg: str) -> None:
        """What comes in is no HTTP, or its head is larger than h11 takes (64 kB)."""
        self._refuse(400, "Bad Request", "BadRequest", msg)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(LINGER_S, self.transport.abort)  # an answer that nobody takes would keep it open
        elif self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self._await_head()  # a body that was not wanted still comes, or the next request has begun

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._write_timer = _cancelled(self._write_timer)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer = _cancelled(self._head_timer)
        super().connection_lost(exc)
        self.of_each[self._network] -= 1
        if not self.of_each[self._network]:
            del self.of_each[self._network]
        self._write_timer = _cancelled(self._write_timer)

    def _await_head(self) -> None:
        """Arm the timer while a head is outstanding; it is not moved by the bytes of one that trickles in."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_timer = _cancelled(self._head_timer)
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.patience_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            detail = f"the head of the request was not whole after {self.patience_s:g} s (FLEETMARK_REQUEST_TIMEOUT_S)"
            self._refuse(408, "Request Timeout", "TooSlow", detail)
        else:
            self.transport.close()

    def _refuse(self, status: int, reason: str, error: str, detail: str, *more: str) -> None:
        """Answer without a request to answer, in the one shape of errors, and hang up."""
        body = f'{{"error":"{error}","detail":"{detail}"}}'
        safe = (f"{name}: {value}" for name, value in SAFE.items())
        head = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
        self.transport.write("\r\n".join([*head, *safe, *more, "", body]).encode())
        self.transport.close()


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Nothing, which is what is left of a timer that was cancelled."""
    if timer is not None:
        timer.cancel()
    return None
