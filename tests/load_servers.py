"""Runs servers whose behaviour is known, for tests of a load: a proxy that cuts connections, and an HTTP server that keeps a log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns

from tests.server_threads import port_of, stream_thread

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


class CuttingProxy:
    """Forwards bytes to a server, in the event loop of the test, and can hurt the connections that go through it.

    Attributes:
        accepted: how many connections were opened.
        cut_after: a connection is closed after so many answers' reads, in the middle of that read; then it is set back to 0.
        silent: nothing that the server sends is forwarded.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.accepted = 0
        self.cut_after = 0
        self.silent = False
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.place = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # the tasks of the connections see that they are closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._forward(reader, back), self._answers(there, writer, back), return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self.silent:
                continue
            if self.cut_after:
                self.cut_after -= 1
                if not self.cut_after:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    writer.close()
                    back.transport.abort()
                    return
            writer.write(data)
        writer.close()


@dataclass
class HttpTruth:
    """Is a server of HTTP in a thread of its own. It answers each request as `answer` says, and logs when it did.

    Attributes:
        answer: gets the number of a request, and returns after how many seconds it is answered, and with which bytes. No bytes close the
            connection; None never answers.
        log: for each answered request: when its last byte had arrived and when its answer was written, by `perf_counter_ns`.
        stalls: begin and length of a stall, in seconds after the first request: the server does nothing in it.
    """

    answer: Callable[[int], tuple[float, bytes | None]] = lambda _number: (0.0, OK)
    stalls: tuple[float, float] | None = None
    log: list[tuple[int, int]] = field(default_factory=list)
    requests: int = 0
    accepted: int = 0
    port: int = 0
    first: int = 0
    listening: asyncio.Server | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
                await reader.readexactly(length)
                received = perf_counter_ns()
                self.first = self.first or received
                number, self.requests = self.requests, self.requests + 1
                seconds, data = self.answer(number)
                seconds = max(seconds, self._stall(received))
                if seconds:
                    await asyncio.sleep(seconds)
                if data is None:
                    await asyncio.sleep(3_600)
                    return
                self.log.append((received, perf_counter_ns()))
                writer.write(data)
                if not data.endswith(b"OK"):  # half an answer, or none
                    await writer.drain()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _stall(self, now: int) -> float:
        if self.stalls is None:
            return 0.0
        begin, length = self.stalls
        into = (now - self.first) / 1e9 - begin
        return length - into if 0 <= into < length else 0.0


@contextmanager
def http_truth(truth: HttpTruth) -> Iterator[HttpTruth]:
    """Run the server in a thread."""
    with stream_thread(truth.serve) as truth.listening:
        truth.port = port_of(truth.listening)
        yield truth
