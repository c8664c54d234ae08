"""Provides a real HTTP proxy on the loopback that records its requests. It forwards `http://` and tunnels `https://`."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.server_threads import http_thread

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass
class ProxyServer:
    """Runs a proxy. `asked` holds each request line. `leads_to` maps host names that only this proxy knows to real servers."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    leads_to: dict[str, str] = field(default_factory=dict)
    refuses_with: int | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment variables, in upper and lower case, that send every request through this proxy."""
        values = dict.fromkeys(VARIABLES, self.url) | {"NO_PROXY": ""} | more
        return {spelling(name): value for name, value in values.items() for spelling in (str.upper, str.lower)}


@contextmanager
def proxy_server() -> Iterator[ProxyServer]:
    state = ProxyServer()

    class Handler(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            state.asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            place = state.leads_to.get(parts.netloc)
            if state.refuses_with is not None or place is None:
                self.send_error(state.refuses_with or 502, explain="this is the proxy's own page")
                return
            way = http.client.HTTPConnection(place, timeout=10)
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            way.request(self.command, target, body, dict(self.headers))
            answer = way.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            way.close()

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _forward

        def do_CONNECT(self) -> None:
            state.asked.append(f"CONNECT {self.path}")
            place = state.leads_to.get(self.path)
            if state.refuses_with is not None or place is None:
                self.send_error(state.refuses_with or 502)
                return
            host, _, port = place.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10) as far:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pump, args=(far, self.connection))
                back.start()
                _pump(self.connection, far)
                back.join()

        def log_message(self, *arguments: Any) -> None: ...

    with http_thread(Handler) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
