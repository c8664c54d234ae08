"""Tests that `serve --host ::` listens on all IPv4 and IPv6 addresses of the machine."""

from __future__ import annotations

import errno
import socket

import pytest

from orchestrator.api.connections import open_sockets
from tests.servers import speaks_ipv6


def test_uvicorn_listens_by_itself_on_every_other_address() -> None:
    assert open_sockets("127.0.0.1", 0) is None
    assert open_sockets("0.0.0.0", 0) is None
    assert open_sockets("::1", 0) is None


def test_every_address_is_one_socket_of_each_family_on_one_port() -> None:
    if not speaks_ipv6():  # without IPv6 there is nothing to listen on, so the function raises an error
        with pytest.raises(OSError):
            open_sockets("::", 0)
        return
    listeners = open_sockets("::", 0) or []
    try:
        port = listeners[0].getsockname()[1]
        assert [listener.getsockname()[:2] for listener in listeners] == [("0.0.0.0", port), ("::", port)]
        # asyncio turns off Nagle's algorithm only on sockets whose protocol is set to TCP. Without this, every answer waits 40 ms.
        assert {listener.proto for listener in listeners} == {socket.IPPROTO_TCP}
        for host, seen_as in (("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
            with socket.create_connection((host, port), timeout=5):
                answering = next(each for each in listeners if (each.family == socket.AF_INET6) == (":" in host))
                accepted, address = answering.accept()
                accepted.close()
                assert address[0] == seen_as  # the address is not `::ffff:127.0.0.1`, which no list of trusted proxies contains
        with pytest.raises(OSError) as taken:
            open_sockets("::", port)
        assert taken.value.errno == errno.EADDRINUSE
    finally:
        for listener in listeners:
            listener.close()
