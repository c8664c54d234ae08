"""Tests many and slow clients: every wait for a client has a limit, and no client delays others."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from orchestrator.operations.context import Context
from tests.integration.api.conftest import serving

PATIENCE_S = 1.5  # the patience of the server; a busy machine may delay a client by a second
BOUND_S = 60.0  # this only stops a test that hangs; it is not an expected duration, because the machine may be busy


@contextlib.contextmanager
def impatient(ctx: Context, **more: object) -> Iterator[httpx.Client]:
    with serving(replace(ctx, settings=ctx.settings.model_copy(update={"request_timeout_s": PATIENCE_S, **more}))) as client:
        yield client


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=BOUND_S)


def trickle(connection: socket.socket, start: bytes, piece: bytes) -> bytes:
    """Send one piece after another until the server answers. Return everything that the server sent."""
    connection.sendall(start)
    connection.settimeout(PATIENCE_S / 10)
    said, until = b"", time.monotonic() + BOUND_S
    while time.monotonic() < until:
        try:
            received = connection.recv(65_536)
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                connection.sendall(piece)
        except ConnectionError:
            return said
        else:
            if not received:
                return said
            said += received
    raise AssertionError(f"the connection was still open after {BOUND_S:g} s; the server had said {said!r}")


def is_healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/api/health").status_code == 200
    except httpx.TransportError:  # the server has closed the connection
        return False


def error_in(said: bytes) -> tuple[int, str]:
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_a_head_that_trickles_ends_with_408(ctx: Context) -> None:
    with impatient(ctx) as client, connect(client) as connection:
        assert error_in(trickle(connection, b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nX-", b"a")) == (408, "TooSlow")


def test_a_connection_that_says_nothing_is_closed(ctx: Context) -> None:
    with impatient(ctx) as client, connect(client) as connection:
        assert connection.recv(1) == b""


def test_the_second_head_of_a_connection_may_take_no_longer(ctx: Context) -> None:
    with impatient(ctx) as client, connect(client) as connection:
        request = b"GET /api/nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
        said = trickle(connection, request + request[:20], b"a")
        assert said.startswith(b"HTTP/1.1 404")
        assert b"HTTP/1.1 408" in said


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", [b"/api/campaigns", b"/api/models?name=m.onnx"])
def test_a_body_that_trickles_ends_with_408_and_leaves_nothing(ctx: Context, framing: bytes, path: bytes) -> None:
    piece = b"1\r\na\r\n" if b"chunked" in framing else b"a"
    with impatient(ctx) as client, connect(client) as connection:
        start = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n"
        said = trickle(connection, start, piece)
        assert error_in(said) == (408, "TooSlow")
        assert b"connection: close" in said.lower()
    assert not [path for path in ctx.settings.models_dir.rglob("*") if path.is_file()]


def test_a_body_that_comes_steadily_may_take_longer(ctx: Context) -> None:
    """A large model may be uploaded over a slow line. Each piece that arrives extends the time that the client gets."""
    pieces = 5

    def steadily() -> Iterator[bytes]:
        for number in range(pieces):
            time.sleep(PATIENCE_S / 2 if number else 0)
            yield b"m" * 100_000

    with impatient(ctx) as client:
        answer = client.post("/api/models?name=m.onnx", content=steadily())
        assert (answer.status_code, answer.json()["size"]) == (201, pieces * 100_000)


def test_a_body_nobody_wants_is_not_read_for_ever(ctx: Context) -> None:
    """The server sends its answer at once. It drops the rest of the body, and then closes the connection."""
    with impatient(ctx) as client, connect(client) as connection:
        start = b"POST /api/nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert trickle(connection, start, b"1\r\na\r\n").startswith(b"HTTP/1.1 404")


def test_slow_uploads_hold_no_thread(ctx: Context) -> None:
    """There are more slow uploads than the server has threads, and every other call is still answered."""
    start = b"POST /api/models?name=m.onnx HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\na"
    with serving(ctx) as client, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connect(client)).sendall(start)
        parts = ctx.settings.models_dir
        until = time.monotonic() + BOUND_S
        while len(list(parts.glob(".part-*"))) < 60:  # wait until every upload has begun
            assert time.monotonic() < until
            time.sleep(0.02)
        assert client.get("/api/campaigns").status_code == 200
        assert client.post("/api/models?name=quick.onnx", content=b"quick").status_code == 201
    until = time.monotonic() + BOUND_S
    while list(parts.glob(".part-*")):  # a client that disconnects leaves no file
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_client_that_takes_no_answer_is_cut_off(ctx: Context) -> None:
    large = ctx.settings.models_dir.parent / "outputs" / "large.csv"
    large.parent.mkdir()
    with large.open("wb") as file:
        file.truncate(200_000_000)
    with impatient(ctx) as client, connect(client) as connection:
        connection.sendall(b"GET /api/results/download/large.csv HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # the client gets only what the kernel has buffered, because the server has closed the connection meanwhile
        time.sleep(4 * PATIENCE_S)
        received = 0
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1_000_000):
                received += len(piece)
        assert 0 < received < 200_000_000


@pytest.mark.parametrize(
    "start", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 100_000]
)
def test_what_is_no_request_is_400_in_the_shape_of_every_error(ctx: Context, start: bytes) -> None:
    with serving(ctx) as client, connect(client) as connection:
        said = trickle(connection, start, b"")
        assert error_in(said) == (400, "BadRequest")
        assert b"X-Content-Type-Options: nosniff" in said


def test_one_connection_too_many_is_answered_503_and_the_others_go_on(ctx: Context) -> None:
    with serving(replace(ctx, settings=ctx.settings.model_copy(update={"max_connections": 3}))) as client:
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(connect(client)) for _ in range(3)]
            said = trickle(stack.enter_context(connect(client)), b"", b"")
            assert error_in(said) == (503, "Unavailable")
            assert b"Retry-After: 5" in said
            for connection in others:
                connection.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
        until = time.monotonic() + BOUND_S
        while not is_healthy(client):  # their places are free as soon as the server notices
            assert time.monotonic() < until
            time.sleep(0.05)


def test_one_address_does_not_take_every_place(ctx: Context) -> None:
    """This limit is only for addresses beyond the loopback. A caller from the loopback is this machine, or a proxy on it."""
    crowded: dict[str, object] = {"host": "0.0.0.0", "max_connections": 6, "max_connections_per_address": 3}
    for more, taken in (({}, 3), ({"trusted_proxies": "10.0.0.1, 127.0.0.0/8"}, 6), ({"host": "127.0.0.1"}, 6)):
        settings = ctx.settings.model_copy(update=crowded | more)
        with serving(replace(ctx, settings=settings)) as client, contextlib.ExitStack() as stack:
            others = [stack.enter_context(connect(client)) for _ in range(taken)]
            said = trickle(stack.enter_context(connect(client)), b"", b"")
            assert error_in(said) == (503, "Unavailable")
            assert (b"FLEETMARK_MAX_CONNECTIONS_PER_ADDRESS" in said) == (taken == 3)
            others.pop().close()
            until = time.monotonic() + BOUND_S
            while not is_healthy(client):  # wait until the place of the closed connection is free
                assert time.monotonic() < until
                time.sleep(0.05)


@pytest.mark.long
def test_a_connection_without_a_request_is_closed_after_its_keep_alive(ctx: Context) -> None:
    with serving(ctx) as client, connect(client) as connection:
        connection.sendall(b"GET /api/nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        while piece := connection.recv(65_536):  # the loop ends when the server closes the connection
            said += piece
        assert said.count(b"HTTP/1.1") == 1
