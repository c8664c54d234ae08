"""Makes a certificate authority, and puts TLS in front of a server without it. The packaged Redis server is built without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import trustme

from tests.server_threads import port_of, stream_thread


class Authority:
    """Signs certificates for this machine. A client must trust `ca_file`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.ca_file, self.cert_file, self.key_file = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "127.0.0.2", "localhost")
        authority.cert_pem.write_to_path(self.ca_file)
        issued.cert_chain_pems[0].write_to_path(self.cert_file)
        issued.private_key_pem.write_to_path(self.key_file)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        issued.configure_cert(self.context)


@contextlib.contextmanager
def tls_in_front_of(port: int, authority: Authority) -> Iterator[int]:
    """Yield a port of this machine that accepts TLS connections and forwards them to `port`."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, before = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, before), copy(behind, writer))

    with stream_thread(serve, authority.context) as in_front:
        yield port_of(in_front)
