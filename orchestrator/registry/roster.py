"""Reads the whole fleet in one call: the state of every worker from Redis, and its registration from a cache.

A registration has a kilobyte or more and changes only when a device restarts, while the state changes with each heartbeat. So a
registration is read once. It is read again when the worker's state names another digest or another incarnation of its process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

from orchestrator.domain.placement import KnownWorker
from orchestrator.registry.link import Link
from orchestrator.registry.records import UNREADABLE, known_worker, registration_of
from shared.protocol import scripts
from shared.workers import Registration

log = logging.getLogger(__name__)

_VERSION = ("said", "incarnation")  # a registration with the same two values has not changed


class Said(NamedTuple):
    """Holds a registration in the forms in which it is used."""

    version: tuple[str | None, ...]
    registration: Registration
    known: KnownWorker
    device_info: dict[str, Any]


class Entry(NamedTuple):
    """Holds one worker: its registration, and the requested fields of its state that exist."""

    id: str
    said: Said
    state: dict[str, str]


class Seen(NamedTuple):
    """Holds the fleet at one moment of Redis' clock, in seconds since 1970."""

    now: float
    entries: list[Entry]


class Roster:
    """Reads the fleet. Each process has one, used by all of its threads."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._fleet = link.redis.register_script(scripts.FLEET)
        self._remembered: dict[str, dict[str, Said]] = {}  # the cache: index -> worker id -> registration

    def read(self, index: str, fields: Sequence[str]) -> Seen:
        """Return the workers that are listed under this key. A worker that cannot be read is left out and does not hide others.

        Args:
            index: `keys.WORKERS` or `keys.DEPARTED`.

        Raises:
            Unavailable: Redis does not answer.
        """
        with self._link.answering():
            now_ms, ids, rows = self._look(index, [*_VERSION, *fields])
            known = self._recall(index, {worker_id: tuple(row[: len(_VERSION)]) for worker_id, row in zip(ids, rows, strict=True)})
        return Seen(now_ms / 1000, list(self._entries(known, ids, rows, fields)))

    def states(self, index: str, fields: Sequence[str]) -> dict[str, list[str | None]]:
        """Return these fields of every worker that is listed under this key, even if its registration cannot be read.

        Raises:
            Unavailable: Redis does not answer.
        """
        with self._link.answering():
            _, ids, rows = self._look(index, fields)
        return dict(zip(ids, rows, strict=True))

    def _look(self, index: str, fields: Sequence[str]) -> tuple[int, list[str], list[list[str | None]]]:
        now_ms, ids, *rows = cast("list[Any]", self._fleet(args=[index, *fields]))
        return now_ms, ids, rows

    def _entries(self, known: dict[str, Said], ids: list[str], rows: list[list[str | None]], fields: Sequence[str]) -> Iterator[Entry]:
        for worker_id, row in zip(ids, rows, strict=True):
            found = known.get(worker_id)
            state = {name: value for name, value in zip(fields, row[len(_VERSION) :], strict=True) if value is not None}
            if found is not None and state:
                yield Entry(worker_id, found, state)

    def _recall(self, index: str, versions: dict[str, tuple[str | None, ...]]) -> dict[str, Said]:
        """Return the registrations of these workers. Those that are not cached or have changed are read.

        A registration without a digest is read each time. Each call makes a dictionary of its own, which then becomes the cache. So two
        threads never change the same dictionary, and at worst a registration is read twice.
        """
        remembered = self._remembered.get(index, {})
        known: dict[str, Said] = {}
        wanted: list[str] = []
        for worker_id, version in versions.items():
            found = remembered.get(worker_id)
            if version[0] is None or found is None or found.version != version:
                wanted.append(worker_id)
            else:
                known[worker_id] = found
        texts = cast("list[str | None]", self._link.redis.hmget(index, wanted)) if wanted else []
        for worker_id, text in zip(wanted, texts, strict=True):
            try:
                registration = registration_of(text or "")
                device_info = registration.device_info.model_dump(mode="json")
                known[worker_id] = Said(versions[worker_id], registration, known_worker(worker_id, registration), device_info)
            except UNREADABLE as error:  # a device may register with any content
                log.warning("what %s said when it registered cannot be read, so it counts as absent: %s", worker_id, error)
        self._remembered[index] = known
        return known
