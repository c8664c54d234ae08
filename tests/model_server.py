"""Is a server of a language model whose behaviour is known, for tests of its clients. It writes on a schedule and logs what it writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

from tests.server_threads import port_of, stream_thread

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
Step = tuple[float, bytes | None]  # after how many seconds which bytes are written; None closes the connection


@dataclass
class Served:
    """Holds the log of one request: when its last byte had arrived, and when each step was written, by `perf_counter_ns`."""

    received: int
    body: dict[str, Any]
    head: str
    writes: list[int] = field(default_factory=list)


@dataclass
class ModelServer:
    """Answers each POST with the steps that `answer` returns for its number, and each GET with `pages`."""

    answer: Callable[[int], Sequence[Step]]
    pages: dict[str, Any] = field(default_factory=lambda: {"/v1/models": {"data": [{"id": "tiny"}]}})
    log: list[Served] = field(default_factory=list)
    accepted: int = 0
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                if head.startswith("GET"):
                    page = self.pages.get(head.split()[1])
                    writer.write(page_answer(page))
                    continue
                served = Served(perf_counter_ns(), json.loads(body), head)
                self.log.append(served)
                for seconds, data in self.answer(len(self.log) - 1):
                    if seconds:
                        await asyncio.sleep(seconds)
                    if data is None:
                        await writer.drain()
                        writer.transport.abort()
                        return
                    served.writes.append(perf_counter_ns())
                    writer.write(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@contextmanager
def model_server(server: ModelServer) -> Iterator[ModelServer]:
    """Run a server in a thread."""
    with stream_thread(server.serve) as listening:
        server.port = port_of(listening)
        yield server


def page_answer(page: Any) -> bytes:
    if isinstance(page, str):
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page.encode())
    return json_answer(404 if page is None else 200, {"error": {"message": "no such page"}} if page is None else page)


def json_answer(status: int, content: Any, *headers: str) -> bytes:
    body = json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(content: Any) -> bytes:
    """Return one event of SSE, without the frame of HTTP."""
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def delta(text: str | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def last_words(prompt: int, completion: int) -> bytes:
    return chunk(event(usage(prompt, completion))) + chunk(event(b"[DONE]")) + END


def streamed(tokens: int, first_s: float = 0.0, gap_s: float = 0.0, prompt: int = 5) -> list[Step]:
    """Return an answer in which each token is an event in a write of its own. The headers and the first event are sent at once."""
    steps: list[Step] = [(0.0, HEAD + chunk(event(delta("", role="assistant"))))]
    finishes = [None] * (tokens - 1) + ["length"]
    steps += [(gap_s if n else first_s, chunk(event(delta(f" {n}", finish)))) for n, finish in enumerate(finishes)]
    return [*steps, (0.0, last_words(prompt, tokens))]
