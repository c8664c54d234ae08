"""Connects to servers. It checks an address before it connects to it, and limits every wait.

A name is resolved once, and the connection goes to the address that was checked. So a name that gets another address a moment later
(DNS rebinding) has no effect. Each redirect is a separate request and is checked in the same way.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from shared.clock import Clock
from shared.errors import InvalidInput, ModelUnavailable
from shared.web import by_way_of, usable_proxy
from worker.models.addresses import is_public, resolve

CONNECT_S, READ_S = 10.0, 30.0  # after READ_S without a single byte the connection counts as dead, not as slow
MAX_REDIRECTS = 10
USER_AGENT = "Fleetmark (a worker of benchmarks)"  # wikis refuse requests that do not say who asks
SETTING = "FLEETMARK_WORKER_ALLOW_PRIVATE_URLS"


class Patience:
    """Limits the time of a whole fetch, and checks whether it is still wanted. It is asked before each piece of data is read or written.

    Args:
        limit_s: The time limit of the whole fetch, however much data arrives.
        on_progress: Called with the fraction done, or None if unknown. If it raises, the fetch ends.
        on_wait: Called before each wait for a server.
    """

    def __init__(
        self,
        source: str,
        clock: Clock,
        limit_s: float,
        on_progress: Callable[[float | None], None],
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._clock, self._limit_s, self._on_progress, self.on_wait = source, clock, limit_s, on_progress, on_wait
        self._end = clock.monotonic() + limit_s
        self._share: float | None = None
        self._part: tuple[int, int, int] | None = None  # bytes before the file that is fetched now, of this file, and of all files

    @contextmanager
    def of_part(self, before: int, size: int, total: int) -> Iterator[None]:
        """Count the progress of one file as a part of a model of several files. All are numbers of bytes."""
        self._part = (before, size, total)
        try:
            yield
        finally:
            self._part = None

    def look(self) -> None:
        """Check the time, and report the progress.

        Raises:
            ModelUnavailable: The time is over.
        """
        if self._clock.monotonic() >= self._end:
            raise ModelUnavailable(
                f"{self._source} was not fetched within {self._limit_s / 3600:g} h; what came is kept, and the next try goes on from there"
            )
        self._on_progress(self._share)

    def tick(self, share: float | None) -> None:
        if self._part is not None and share is not None:
            before, size, total = self._part
            share = min(1.0, (before + share * size) / max(1, total))
        self._share = share
        self.look()

    @contextmanager
    def waiting(self, timeout_s: float | None, *, ready: bool = False) -> Iterator[float]:
        """Give the timeout for one wait: the smaller of `timeout_s` and the time that is left for the fetch.

        Args:
            ready: Whether the data has arrived already, so that there will be no wait.
        """
        self.look()
        if not ready:
            self.on_wait()
        left = max(0.001, self._end - self._clock.monotonic())  # 0 would mean not to wait at all
        try:
            yield left if timeout_s is None else min(timeout_s, left)
        except httpcore.TimeoutException:
            self.look()  # raises if the time of the whole fetch is over
            raise


class Refused(Exception):
    """Raised for a request that this worker does not make. The text continues a sentence that begins with the URL: `is at …`."""

    url: httpx.URL | None = None  # the URL of the refused request, which may be the target of a redirect


class Transport(httpx.BaseTransport):
    """Sends each request on a new connection.

    Args:
        own_host: A host that this worker's own settings name (its orchestrator or its hub). It may have a private address.
        allow_private: Whether every host may have a private address.
    """

    def __init__(self, tls: ssl.SSLContext, patience: Patience, *, own_host: str | None, allow_private: bool) -> None:
        self._tls, self._patience, self._own_host, self._allow_private = tls, patience, own_host, allow_private

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response.

        Raises:
            Refused: The address, or the proxy for it, is not allowed.
            httpx.TransportError: The request failed.
        """
        try:
            return self._send(request, request.url)
        except Refused as refused:
            refused.url = request.url
            raise

    def _send(self, request: httpx.Request, url: httpx.URL) -> httpx.Response:
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"the scheme {url.scheme!r} of {url}")
        anywhere = self._allow_private or url.host == self._own_host
        try:
            used = usable_proxy(str(url), self._tls)
        except InvalidInput as error:
            raise Refused(f"cannot be fetched: {error.detail}") from error
        proxy = None if used is None else httpcore.Proxy(str(used.url), auth=used.raw_auth, ssl_context=used.ssl_context)
        if proxy is not None and not anywhere:
            raise Refused(
                f"would be fetched{by_way_of(str(url))}, and what address that one connects to cannot be seen here: "
                f"list the host in NO_PROXY, set {SETTING}=true on this worker to trust the proxy, or upload the model to the orchestrator"
            )
        pool = httpcore.ConnectionPool(
            self._tls, proxy, max_connections=1, network_backend=_Backend(self._patience, only_public=not anywhere)
        )
        asked = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = pool.handle_request(asked)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Stream(answer, pool), extensions=answer.extensions)


def open_client(transport: Transport) -> httpx.Client:
    timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
    return httpx.Client(
        transport=transport,
        headers={"User-Agent": USER_AGENT},
        trust_env=False,  # the transport finds the proxy itself
        timeout=timeout,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        event_hooks={"response": [_keep_secure]},
    )


def _keep_secure(response: httpx.Response) -> None:
    """Refuse a redirect from https to http: the user who wrote https relies on the encrypted connection."""
    if response.has_redirect_location:
        target = response.url.join(response.headers["Location"])
        if response.url.scheme == "https" and target.scheme == "http":
            raise Refused(f"redirects from https to {target.scheme}://{target.host}, where anyone on the way could change the file")


class _Backend(httpcore.NetworkBackend):
    """Connects to the same address that it has checked."""

    def __init__(self, patience: Patience, *, only_public: bool) -> None:
        self._patience, self._only_public = patience, only_public
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        self._patience.on_wait()  # a name server may take half a minute
        try:
            addresses = resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host!r} is not known here: {error}") from error
        if self._only_public and (private := next((address for address in addresses if not is_public(address)), None)):
            raise Refused(
                f"is at {private}, which is no public address: what a recipe names is not fetched from this worker's own network. "
                f"Upload the model to the orchestrator, or set {SETTING}=true on this worker"
            )
        for address in addresses:
            try:
                with self._patience.waiting(timeout) as most:
                    stream = self._sockets.connect_tcp(address, port, most, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
            else:
                return _PatientStream(stream, self._patience)
        raise httpcore.ConnectError(f"{host!r} has no address")


class _PatientStream(httpcore.NetworkStream):
    """Limits each wait on a connection to the time left for the fetch, so that a server cannot keep it alive with single bytes."""

    def __init__(self, stream: httpcore.NetworkStream, patience: Patience) -> None:
        self._stream, self._patience = stream, patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._patience.waiting(timeout, ready=bool(self._stream.get_extra_info("is_readable"))) as most:
            return self._stream.read(max_bytes, most)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._patience.waiting(timeout) as most:
            self._stream.write(buffer, most)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> _PatientStream:
        with self._patience.waiting(timeout) as most:
            return _PatientStream(self._stream.start_tls(ssl_context, server_hostname, most), self._patience)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Stream(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, pool: httpcore.ConnectionPool) -> None:
        self._answer, self._pool = answer, pool

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()
        self._pool.close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Convert the errors of httpcore to the errors of httpx with the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
