"""Provides a small server that answers a worker's calls like an orchestrator, and records the requests."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.server_threads import http_thread

_SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass
class Orchestrator:
    """Holds the next answers of the server, and the requests that it has received."""

    url: str = ""
    register: tuple[int, Any] = (200, {})  # a text is sent unchanged, anything else as JSON
    knows: Collection[str] | None = None  # a registration with another capability is refused as by the real orchestrator
    registrations: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    files: dict[str, bytearray] = field(default_factory=dict)
    pieces: list[tuple[int, int]] = field(default_factory=list)
    head_status: int | None = None  # these are sent instead of the real answer
    put_status: int | None = None
    die_after_pieces: int | None = None


def refusal(place: int, name: str) -> tuple[int, Any]:
    """Return the answer to a registration whose capability at this place is unknown. The real one names the first one only, too."""
    said = f"unknown compute unit {name!r}"
    return 422, {"error": "InvalidInput", "detail": said, "fields": [{"path": f"capabilities.{place}", "message": said}]}


@contextmanager
def orchestrator() -> Iterator[Orchestrator]:
    state = Orchestrator()

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # otherwise each body waits 40 ms for the acknowledgement of its headers

        def _answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
            text = body if isinstance(body, str) else json.dumps({} if body is None else body)
            content = text.encode() if self.command != "HEAD" else b""
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))

        def do_POST(self) -> None:
            state.tokens.append(self.headers.get("Authorization"))
            state.registrations.append(json.loads(self._body()))
            names = state.registrations[-1]["capabilities"]
            unknown = [place for place, name in enumerate(names) if state.knows is not None and name not in state.knows]
            self._answer(*(refusal(unknown[0], names[unknown[0]]) if unknown else state.register))

        def do_HEAD(self) -> None:
            if state.head_status is not None:
                self._answer(state.head_status)
            elif self.path in state.files:
                self._answer(200, headers={"Upload-Offset": str(len(state.files[self.path]))})
            else:
                self._answer(404)

        def do_PUT(self) -> None:
            body = self._body()
            span = _SPAN.fullmatch(self.headers["Content-Range"])
            assert span is not None
            assert self.headers["Digest"].startswith("sha-256=")
            first, last, _ = (int(part) for part in span.groups())
            assert last - first + 1 == len(body)
            if state.put_status is not None:
                self._answer(state.put_status, {"error": "Conflict", "detail": "no"})
                return
            if state.die_after_pieces is not None and len(state.pieces) >= state.die_after_pieces:
                self.close_connection = True
                return  # the connection breaks without an answer
            there = state.files.setdefault(self.path, bytearray())
            assert first == len(there)
            there += body
            state.pieces.append((first, last))
            self._answer(200)

        def log_message(self, *args: Any) -> None: ...

    with http_thread(Handler) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state
