"""Configures the HTTP server: uvicorn, with added limits against slow clients and against too many connections.

Uvicorn limits the size of a request's head and the pause between two requests. It does not limit how long a head may take to arrive, or
how long a client may leave an answer unread. One thread serves all connections, so a slow one costs memory and one of the allowed
connections. This module limits both.
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

KEEP_ALIVE_S = 5  # the longest pause between two requests of a connection
BACKLOG = 2048  # uvicorn's default
LINGER_S = 5.0  # how long a client may take to read the rest of the last answer of a connection


def server_config(app: FastAPI, settings: Settings, **more: Any) -> uvicorn.Config:
    """Return the configuration of the server, for production and for tests.

    Raises:
        OSError: the host in the settings does not resolve.
    """
    alone = resolves_to_loopback(settings.host)  # then every client is on this machine, for example a proxy

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
    """Open the sockets to listen on if the host is `::`. For any other host, return None, and uvicorn opens its own.

    asyncio listens on IPv6 only for `::`, but people mean every address of the machine. There is one socket for IPv6 and one for IPv4.
    On a common socket, IPv4 addresses would look like `::ffff:10.0.0.7` and match no entry of the trusted proxies.

    Raises:
        OSError: the port is taken, or this machine has no IPv6.
    """
    if host != "::":
        return None
    wide = _listener(socket.AF_INET6, host, port)
    try:
        narrow = _listener(socket.AF_INET, "0.0.0.0", wide.getsockname()[1])  # noqa: S104 (the user asked for every address)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # the machine has no IPv4
            return [wide]
        wide.close()
        raise
    return [narrow, wide]


def require_listenable(host: str, port: int) -> None:
    """Check that this process can listen there, before it does anything else.

    Raises:
        OSError: the port is taken, or the host is no address of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _listener(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio turns off Nagle's algorithm only then. With Nagle, every answer would take 40 ms longer.
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
    """Limits how long a connection waits for its client: for the head of a request, and for an answer to be read."""

    patience_s: float
    max_connections: int
    max_of_one: int  # connections from one network, so that one machine cannot use up all of them
    proxies: list[Network]
    of_each: ClassVar[Counter[str]]  # open connections by the client's network

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn declares it in this way
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
        """Answer data that is not HTTP, or whose head is larger than h11 accepts (64 kB)."""
        self._refuse(400, "Bad Request", "BadRequest", msg)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(LINGER_S, self.transport.abort)  # an answer that the client does not read would keep the connection open
        elif self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self._await_head()  # an unread body is still arriving, or the next request has begun

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
        """Start the timer while the head of a request is awaited. Further bytes of the same head do not restart it."""
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
        """Send an error in the usual shape, even if there is no complete request, and close the connection."""
        body = f'{{"error":"{error}","detail":"{detail}"}}'
        safe = (f"{name}: {value}" for name, value in SAFE.items())
        head = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
        self.transport.write("\r\n".join([*head, *safe, *more, "", body]).encode())
        self.transport.close()


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one. Return None, to be stored in its place."""
    if timer is not None:
        timer.cancel()
    return None
