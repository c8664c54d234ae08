"""Samples what Redis tells of itself (`INFO`), once a second. No library is needed for this."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from worker.drivers.registry import credentials
from worker.samplers.base import Lack, Place
from worker.samplers.polled import TIMEOUT_S, NoAnswer, PolledService, lack_of

SERVICE = "redis"
MOST_BYTES = 2**20


def lack(place: Place) -> Lack | None:
    return lack_of(RedisInfo(place))


class RedisInfo(PolledService):
    source = SERVICE
    units: ClassVar[Mapping[str, str]] = {
        "used_memory": "B",
        "used_memory_rss": "B",
        "mem_fragmentation_ratio": "ratio",
        "connected_clients": "count",
        "blocked_clients": "count",
        "instantaneous_ops_per_sec": "1/s",
        "total_commands_processed": "count",
        "total_net_input_bytes": "B",
        "total_net_output_bytes": "B",
        "keyspace_hits": "count",
        "keyspace_misses": "count",
        "evicted_keys": "count",
        "expired_keys": "count",
        "used_cpu_sys": "s",
        "used_cpu_user": "s",
    }

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._connection: socket.socket | None = None

    def ask(self) -> Mapping[str, float]:
        parts = urlsplit(self.place.service_address)
        where = f"{parts.hostname}:{parts.port or 6379}"
        try:
            if self._connection is None:
                self._connection = socket.create_connection((parts.hostname or "", parts.port or 6379), TIMEOUT_S)
                secret = credentials(SERVICE, os.environ).get("password") or unquote(parts.password or "")  # noqa: TID251 - keys are there
                login = [unquote(parts.username or ""), secret]
                if secret:
                    self._said("AUTH", *filter(None, login))
            told = self._said("INFO")
        except OSError as error:
            raise NoAnswer(f"Redis at {where} does not answer: {error}") from error
        pairs = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        found = {name: float(pairs[name]) for name in self.units if _is_number(pairs.get(name, ""))}
        if not found:
            raise NoAnswer(f"Redis at {where} does not tell its statistics: {told.strip()[:200]}")
        return found

    def _said(self, *words: str) -> str:
        """Send one command, and return its answer as text.

        Raises:
            OSError: There is no whole answer.
        """
        assert self._connection is not None
        parts = [part.encode() for part in words]
        self._connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        data = self._more(b"")
        while b"\r\n" not in data:
            data = self._more(data)
        head, _, body = data.partition(b"\r\n")
        if head[:1] != b"$":  # a status or an error, which is one line
            return head[1:].decode(errors="replace")
        length = int(head[1:]) + 2
        while len(body) < min(length, MOST_BYTES):
            body = self._more(body)
        return body.decode(errors="replace")

    def _more(self, data: bytes) -> bytes:
        assert self._connection is not None
        if not (received := self._connection.recv(65_536)):
            raise ConnectionResetError("it closed the connection")
        return data + received

    def hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _is_number(text: str) -> bool:
    return text.strip().replace(".", "", 1).isdigit()
