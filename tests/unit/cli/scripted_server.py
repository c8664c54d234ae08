"""Provides a small real HTTP server that gives scripted answers and records the requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.server_threads import http_thread


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    content_type: str = "application/json"

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Answers each call with what `answers` has for it, for example for `GET /api/x`.

    The last answer is repeated. Any other call gets the API's 404.
    """

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def on(self, call: str, *bodies: Any, status: int = 200, content_type: str = "application/json") -> None:
        self.answers[call] = [Answer(status, body, content_type) for body in bodies]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        scripted = self.answers.get(f"{request.method} {request.path}")
        if not scripted:
            return Answer(404, {"error": "NotFound", "detail": f"there is no {request.path}"})
        return scripted.pop(0) if len(scripted) > 1 else scripted[0]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # otherwise each body waits 40 ms for the acknowledgement of its headers
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), body)
            answer = scripted.answer(request)
            content = answer.content()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve

        def log_message(self, *arguments: Any) -> None: ...

    with http_thread(Handler) as port:
        scripted.url = f"http://127.0.0.1:{port}"
        yield scripted
