"""Is a server that does nothing but answer: `python -m worker.load.null_server redis 256` prints its port.

Driven by the same clients as the service, on the same host, it shows how much the clients themselves can do. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec

from worker.load.null_language_model import NullOllama, NullOpenAi
from worker.load.null_protocol import Null
from worker.load.null_triton import NullTriton


class NullRedis(Null):
    """Answers GET with a value of one size, and every other command with OK."""

    def __init__(self, size: int) -> None:
        import hiredis  # imported here, because each wire needs its own library

        super().__init__()
        self._reader = hiredis.Reader()
        self._value = b"$%d\r\n%b\r\n" % (size, b"v" * size)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        answers = []
        while (command := reader.gets()) is not False:
            answers.append(self._value if command[0] == b"GET" else b"+OK\r\n")
        if answers:
            self.write(answers[0] if len(answers) == 1 else b"".join(answers))


class NullHttp(Null):
    """Answers each request with status 200 and a body of `size` bytes."""

    def __init__(self, size: int) -> None:
        import httptools  # imported here, because each wire needs its own library

        super().__init__()
        self._parser = httptools.HttpRequestParser(self)
        self._head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        self._answer = self._head + b"v" * size

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.write(self._head if self._parser.get_method() == b"HEAD" else self._answer)


class NullMinio(NullHttp):
    """Answers GET with an object of `size` bytes, and every other request with status 200 and no body."""

    DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def on_message_complete(self) -> None:
        self.write(self._answer if self._parser.get_method() == b"GET" else self.DONE)


class NullChroma(NullHttp):
    """Answers each request with the numbers and distances of `size` vectors, as Chroma does."""

    def __init__(self, size: int) -> None:
        super().__init__(0)
        found = {"ids": [[str(number) for number in range(size)]], "distances": [[0.123456789] * size]}
        self._answer = _in_http(json.dumps(found, separators=(",", ":")).encode())


class NullQdrant(NullHttp):
    """Answers each request with the numbers and scores of `size` vectors, as Qdrant does."""

    def __init__(self, size: int) -> None:
        super().__init__(0)
        points = [{"id": number, "version": 0, "score": 0.123456789} for number in range(size)]
        found = {"result": {"points": points}, "status": "ok", "time": 0.0001}
        self._answer = _in_http(json.dumps(found, separators=(",", ":")).encode())


def _in_http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class NullPostgres(Null):
    """Lets everybody in, and answers each statement with one row, or with none if it is an INSERT."""

    READY = b"Z\0\0\0\5I"

    def __init__(self, size: int) -> None:
        super().__init__()
        self._data = b""
        self._greeted = False
        self._returns: dict[bytes, bool] = {}  # whether a prepared statement returns a row
        self._now = False  # whether the one that was bound last does
        self._row = _message(b"D", b"\0\1" + size.to_bytes(4, "big") + b"v" * size)
        # One column, named `value`, of the type text (25).
        self._columns = _message(b"T", b"\0\1value\0" + bytes(4) + b"\0\0" + (25).to_bytes(4, "big") + b"\xff\xff\xff\xff\xff\xff\0\0")

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._greeted:
            self._greet()
            return
        answers: list[bytes] = []
        place, data = 0, self._data
        while len(data) - place >= 5:
            length = int.from_bytes(data[place + 1 : place + 5], "big") + 1
            if len(data) - place < length:
                break
            answers.append(self._answer(data[place : place + 1], data[place + 5 : place + length]))
            place += length
        self._data = data[place:]
        self.write(b"".join(answers))

    def _greet(self) -> None:
        length = int.from_bytes(self._data[:4], "big")
        if len(self._data) < 8 or len(self._data) < length:
            return
        asked, self._data = self._data[4:8], self._data[length:]
        if asked == (80877103).to_bytes(4, "big"):  # SSLRequest
            self.write(b"N")
            return
        self._greeted = True
        told = ((b"server_version", b"16.0"), (b"client_encoding", b"UTF8"), (b"standard_conforming_strings", b"on"))
        self.write(
            _message(b"R", bytes(4)) + b"".join(_message(b"S", name + b"\0" + value + b"\0") for name, value in told)
            + _message(b"K", bytes(8)) + self.READY
        )  # fmt: skip

    def _answer(self, kind: bytes, body: bytes) -> bytes:
        if kind == b"P":
            name, _, rest = body.partition(b"\0")
            self._returns[name] = not rest.upper().startswith(b"INSERT")
            return _message(b"1", b"")
        if kind == b"D":
            returns = self._returns.get(body[1:].rstrip(b"\0"), True)
            told = _message(b"t", b"\0\1" + (20 if returns else 25).to_bytes(4, "big"))  # one parameter: a bigint, or text
            return told + (self._columns if returns else _message(b"n", b""))
        if kind == b"B":
            self._now = self._returns.get(body.split(b"\0", 2)[1], True)
            return _message(b"2", b"")
        if kind == b"E":
            return self._row + _message(b"C", b"SELECT 1\0") if self._now else _message(b"C", b"INSERT 0 1\0")
        if kind == b"S":
            return self.READY
        if kind == b"C":
            return _message(b"3", b"")
        if kind == b"Q":
            return _message(b"C", b"SET\0") + self.READY
        return b""


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


WIRES: dict[str, Callable[[int], Null]] = {
    "redis": NullRedis,
    "http": NullHttp,
    "postgres": NullPostgres,
    "minio": NullMinio,
    "chroma": NullChroma,
    "qdrant": NullQdrant,
    "openai": NullOpenAi,
    "ollama": NullOllama,
    "triton": NullTriton,
}


async def _serve(wire: str, size: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: WIRES[wire](size), "127.0.0.1", 0, backlog=1_024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Serve one wire until stdin ends."""
    wire, size = arguments
    if find_spec("uvloop") is not None and platform.system() != "Windows":
        import uvloop

        uvloop.run(_serve(wire, int(size)))
    else:
        asyncio.run(_serve(wire, int(size)))


if __name__ == "__main__":
    main(sys.argv[1:])
