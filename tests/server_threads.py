"""Runs the servers that tests need in threads of their own, until the end of a `with`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

POLL_S = 0.02  # how often a server looks whether it shall end
END_S = 15.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _QuietServer(_Server):
    def handle_error(self, *_request: object) -> None:
        """Print nothing."""


@contextmanager
def http_thread(
    handler: type[BaseHTTPRequestHandler], address: tuple[str, int] = ("127.0.0.1", 0), *, quiet: bool = False
) -> Iterator[int]:
    """Run a server of HTTP, and yield its port. Each connection has a thread.

    Args:
        quiet: Whether errors of the handler are not printed. This is for tests that cut connections on purpose.
    """
    with (_QuietServer if quiet else _Server)(address, handler) as server:
        thread = Thread(target=server.serve_forever, args=(POLL_S,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def stream_thread(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> Iterator[asyncio.Server]:
    """Run a server whose connections are served by a coroutine. All connections share one thread; see `port_of`."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls))

    async def end() -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(END_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
