"""Reads the address of a service that answers HTTP, opens connections to it, and writes requests to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from shared.errors import ModelInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 30.0  # for the answer to a single request
HANDSHAKE_S = 10.0  # a server without TLS may wait for more of a request that it does not understand
NO_TLS = "if the service has no TLS, write http:// and leave out `use_https`"
OURS = ("host", "content-length", "connection", "transfer-encoding")  # headers that say how a request is read
P = TypeVar("P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True)
class HttpAddress:
    """Says where a service answers HTTP.

    Attributes:
        path: The path and the query of the address, which may be empty.
        named: The host as the address writes it, with its port; what the header `Host` says.
    """

    host: str
    port: int
    tls: bool
    path: str
    named: str

    @classmethod
    def of(cls, address: str) -> HttpAddress:
        """Read an address such as `http://127.0.0.1:8000/predict`. Without a scheme, it is taken for `http`.

        Raises:
            ModelInvalid: It is none.
        """
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelInvalid(f"{address!r} is no address of a service that answers HTTP; write it like http://HOST:PORT/PATH")
        tls = parts.scheme == "https"
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, path, parts.netloc.rpartition("@")[2])

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    async def connect(self, make: Callable[[], P]) -> P:
        """Open a connection.

        Raises:
            OSError: It cannot be opened, or the service does not speak the TLS that the address asks for.
        """
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_connection(
                make, self.host, self.port, ssl=True if self.tls else None, ssl_handshake_timeout=HANDSHAKE_S if self.tls else None
            )
        except ssl.SSLError as error:
            raise ConnectionError(
                f"{self.place} does not speak TLS, or its certificate is not trusted on this device ({error.reason or error}); {NO_TLS}"
            ) from error
        except ConnectionAbortedError as error:
            raise ConnectionError(f"{self.place} has not answered in TLS within {HANDSHAKE_S:g} s; {NO_TLS}") from error
        return protocol

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        """Return the bytes of a request.

        Raises:
            ModelInvalid: A header is one that is written here, or has a line break.
        """
        return self.head(method, path, headers, len(body)) + body

    def head(self, method: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
        """Return the bytes of a request before its body of `length` bytes; see `request`."""
        if ours := [name for name in headers if name.lower() in OURS]:
            raise ModelInvalid(f"client.settings.headers has {ours[0]!r}, which the driver writes itself; leave it out")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.named}", *(f"{name}: {value}" for name, value in headers.items())]
        if bad := [line for line in lines if "\r" in line or "\n" in line]:
            raise ModelInvalid(f"{bad[0].partition(':')[0]!r} has a line break in its value, which no header may have")
        if length or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode()
