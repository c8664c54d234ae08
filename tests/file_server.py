"""Provides a real HTTP server on the loopback that serves files, correctly or with chosen faults."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.server_threads import http_thread


@dataclass
class FileServer:
    """Holds the files to serve, the faults to show, and the requests that were received."""

    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    ranges: bool = True
    validators: bool = True
    cut_after: int | None = None  # end the connection after this many bytes of a body, once for each path
    cut_always: bool = False
    chunked: bool = False  # send no Content-Length
    headers: dict[str, str] = field(default_factory=dict)  # headers for every file; they override the correct ones
    if_range: bool = True  # False ignores If-Range, and continues with the current content of the file
    redirects: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    stall: threading.Event | None = None  # stop in the middle of a body until this event is set
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    bytes_sent: int = 0
    cut_paths: set[str] = field(default_factory=set)


def _handler(state: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # otherwise each body waits 40 ms for the acknowledgement of its headers
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class'
            """Print nothing."""

        def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            state.answers.append(status)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers and not (state.chunked and body):
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            self._send(body)

        def _send(self, body: bytes) -> None:
            cut = state.cut_after
            if cut is not None and (state.cut_always or self.path not in state.cut_paths) and body:
                state.cut_paths.add(self.path)
                body = body[:cut]
                self.close_connection = True
            half = len(body) // 2 if state.stall else len(body)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body[:half])
                self.wfile.flush()
                if state.stall:
                    state.stall.wait(20)
                    self.wfile.write(body[half:])
                state.bytes_sent += len(body)

        def do_GET(self) -> None:
            state.requests.append((self.path, dict(self.headers.items())))
            path = self.path.partition("?")[0]
            if path in state.redirects:
                return self._answer(302, {"Location": state.redirects[path]})
            content = state.files.get(path)
            if state.status is not None:
                return self._answer(state.status, {}, b"refused")
            if content is None:
                return self._answer(404, {}, b"not here")
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            headers = {"ETag": etag} if state.validators else {}
            if state.validators and self.headers.get("If-None-Match") == etag:
                return self._answer(304, headers)
            wanted = self.headers.get("Range", "")
            headers |= state.headers
            if state.ranges and wanted and (not state.if_range or self.headers.get("If-Range") == etag):
                begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if begin >= len(content):
                    return self._answer(416, headers)
                headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
                return self._answer(206, headers, content[begin:])
            return self._answer(200, headers, content)

    return Handler


@contextlib.contextmanager
def file_server(address: tuple[str, int] = ("127.0.0.1", 0), **files: bytes) -> Iterator[FileServer]:
    state = FileServer({f"/{name.replace('__', '.')}": content for name, content in files.items()})
    with http_thread(_handler(state), address, quiet=True) as port:
        state.url = f"http://{address[0]}:{port}"
        yield state
