"""Keeps a copy of the whole fleet in this process, and reads from Redis only what has changed since the last look.

Redis reports which workers have changed (see `orchestrator.tracking`). So a look at a large fleet costs one short command, one script
that reads the changed workers, and a walk over the copies. A registration has a kilobyte or more and changes only when a device
restarts, while the state changes with each heartbeat. So a registration is read when the worker's state names another digest or another
incarnation of its process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from orchestrator.registry.copies import VERSION, Copy, Row, Said, said_of
from orchestrator.registry.link import Link
from orchestrator.registry.records import RECORD_FIELDS
from orchestrator.tracking import Script, Tracking
from shared.protocol import keys, scripts

AT_ONCE = 1_000  # workers per script call; each call blocks Redis for a few milliseconds
_FIELDS = (*VERSION, *(name for name in RECORD_FIELDS if name not in VERSION))
_STATES = Script(scripts.STATES)


class Seen(NamedTuple):
    """Holds the fleet at one moment of Redis' clock, in seconds since 1970. The workers are in the order of registration."""

    now: float
    copies: list[Copy]


class Roster:
    """Reads the fleet. Each process has one, used by all of its threads."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._tracking = Tracking(link.url)
        self._members: dict[str, list[str]] = {}  # index -> the worker ids in it; an index that has changed is missing
        self._rows: dict[str, Row] = {}  # worker id -> the values of `_FIELDS`; a worker that has changed is missing
        self._copies: dict[str, dict[str, Copy]] = {}  # index -> worker id -> its copy, in the order of registration

    def read(self, index: str) -> Seen:
        """Return the workers that are listed under this key. A worker that cannot be read is left out and does not hide others.

        Args:
            index: `keys.WORKERS` or `keys.DEPARTED`.

        Raises:
            Unavailable: Redis does not answer.
        """
        with self._link.answering(), self._tracking.session():
            now = self._look(index)
            return Seen(now, [copy for copy in self._copies[index].values() if copy.said is not None and copy.state])

    def states(self, index: str, fields: Sequence[str]) -> dict[str, list[str | None]]:
        """Return these fields of every worker that is listed under this key, even if its registration cannot be read.

        Raises:
            Unavailable: Redis does not answer.
        """
        places = [_FIELDS.index(name) for name in fields]
        with self._link.answering(), self._tracking.session():
            self._look(index)
            return {worker_id: [self._rows[worker_id][place] for place in places] for worker_id in self._members[index]}

    def close(self) -> None:
        self._tracking.close()

    def _look(self, index: str) -> float:
        """Bring the copies of the workers under this key up to date. Return the time of Redis' clock, in seconds since 1970."""
        now, changed = self._tracking.look()
        if changed is None:
            self._members.clear()
            self._rows.clear()
        else:
            for name in changed:
                self._members.pop(name, None)
                self._rows.pop(name.removeprefix(keys.WORKER), None)
        entered = index not in self._members
        if entered:
            self._members[index] = cast("list[str]", self._tracking.ask("HKEYS", index, reads=[index]))
        members = self._members[index]
        kept = self._copies.setdefault(index, {})
        for some in _batches([worker_id for worker_id in members if worker_id not in self._rows]):
            now = max(now, self._read_states(some))
        if entered:
            for worker_id in kept.keys() - set(members):
                del kept[worker_id]
            self._forget_rows()
        self._renew(index, [name for name in members if (copy := kept.get(name)) is None or copy.row is not self._rows[name]], entered)
        return now

    def _read_states(self, worker_ids: Sequence[str]) -> float:
        reads = [keys.worker(worker_id) for worker_id in worker_ids]
        now_ms, *rows = self._tracking.run(_STATES, len(_FIELDS), *_FIELDS, *worker_ids, reads=reads)
        self._rows.update((worker_id, tuple(row)) for worker_id, row in zip(worker_ids, rows, strict=True))
        return float(now_ms) / 1000

    def _forget_rows(self) -> None:
        """Drop the states of workers that are in no index any more."""
        if len(self._rows) > sum(map(len, self._members.values())):
            listed = {worker_id for ids in self._members.values() for worker_id in ids}
            self._rows = {worker_id: row for worker_id, row in self._rows.items() if worker_id in listed}

    def _renew(self, index: str, worker_ids: Sequence[str], entered: bool) -> None:
        """Make the copies of these workers, whose states have changed, and of those whose registrations may have changed.

        Args:
            entered: whether the index has changed. Then registrations without a digest may have changed too.
        """
        kept = self._copies[index]
        doubtful = [name for name, copy in kept.items() if copy.version[0] is None] if entered else []
        said: dict[str, Said | None] = {}
        unread: list[str] = []
        for name in dict.fromkeys([*worker_ids, *doubtful]):
            copy = kept.get(name)
            if copy is None or copy.version != self._rows[name][: len(VERSION)] or name in doubtful:
                unread.append(name)
            else:
                said[name] = copy.said
        for some in _batches(unread):
            texts = cast("list[str | None]", self._tracking.ask("HMGET", index, *some, reads=[]))  # the ids in the index are not read again
            said |= {name: said_of(name, text) for name, text in zip(some, texts, strict=True)}
        same_order = True
        for name, registration in said.items():
            copy, kept[name] = kept.get(name), Copy(name, registration, _FIELDS, self._rows[name])
            same_order = same_order and copy is not None and copy.age == kept[name].age
        if not same_order:
            self._copies[index] = dict(sorted(kept.items(), key=lambda item: item[1].age))


def _batches(worker_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (worker_ids[start : start + AT_ONCE] for start in range(0, len(worker_ids), AT_ONCE))
