"""Reads the records of workers, of one or of the whole fleet."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from orchestrator.domain.placement import Fleet, KnownWorker
from orchestrator.registry.copies import absent
from orchestrator.registry.link import Link
from orchestrator.registry.part import Part, no_worker
from orchestrator.registry.records import UNREADABLE, Pulse, Sight, WorkerRecord, pulse_of, record_of, registration_of
from orchestrator.registry.roster import Roster
from shared.protocol import keys
from shared.workers import WorkerStatus


class Looks(Part):
    """Reads records. A worker whose record cannot be read is left out of every list, and does not hide others."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        super().__init__(link, timeout_s)
        self._roster = Roster(link)
        self._last_fleet: Fleet | None = None

    def get(self, worker_id: str) -> WorkerRecord:
        """Return the record of a worker, also of one that has left.

        Raises:
            NotFound: no worker has this id, or its record cannot be read.
        """
        with self._link.answering():
            now = self._link.time()
            registration = self.redis.hget(keys.WORKERS, worker_id) or self.redis.hget(keys.DEPARTED, worker_id)
            state = self.redis.hgetall(keys.worker(worker_id))
        if not registration or not state:
            raise no_worker(worker_id)
        try:
            return record_of(worker_id, registration_of(str(registration)), cast("dict[str, str]", state), now)
        except UNREADABLE as error:
            absent(worker_id, error)
            raise no_worker(worker_id) from error

    def all(self) -> list[WorkerRecord]:
        """Return every worker that is registered and has not left or been removed, in the order of registration."""
        return [worker for worker in self.registered() if worker.status is not WorkerStatus.GONE]

    def registered(self) -> list[WorkerRecord]:
        """Return every worker that may still hold a job: those of `all`, and those that have just left."""
        seen = self._roster.read(keys.WORKERS)
        return [record for copy in seen.copies if (record := copy.record(seen.now)) is not None]

    def everyone(self) -> list[WorkerRecord]:
        """Return every known worker, including those that left within the last day, in the order of registration.

        The records are for display: a worker that has not changed since the last call has the same object as then. So `silent_s` is
        that of the moment when the record was made.
        """
        found: dict[str, WorkerRecord] = {}
        for index in (keys.DEPARTED, keys.WORKERS):
            seen = self._roster.read(index)
            found.update((copy.id, record) for copy in seen.copies if (record := copy.listed(seen.now)) is not None)
        return sorted(found.values(), key=lambda worker: (worker.registered_at, worker.id))

    def pulses(self, worker_ids: Collection[str]) -> dict[str, Pulse]:
        """Return the pulses of those of these workers that are registered, even if nothing else of their records can be read."""
        names = sorted(worker_ids)
        if not names:
            return {}
        with self._link.answering():
            now = self._link.time()
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.hmget(keys.WORKERS, names)
            for name in names:
                pipeline.hmget(keys.worker(name), "last_seen", "status")
            registered, *states = cast("list[list[str | None]]", pipeline.execute())
        known = zip(names, registered, states, strict=True)
        return {name: pulse_of(last_seen, status, now) for name, said, (last_seen, status) in known if said is not None}

    def sights(self, *, departed: bool = False) -> list[Sight]:
        """Return the sight of every registered worker. Workers that left are included only if `departed` is True."""
        found: dict[str, Sight] = {}
        for index in (keys.DEPARTED, keys.WORKERS) if departed else (keys.WORKERS,):
            seen = self._roster.read(index)
            found.update((copy.id, sight) for copy in seen.copies if (sight := copy.sight(seen.now)) is not None)
        return list(found.values())

    def fleets(self) -> tuple[Fleet, Fleet]:
        """Return the workers that can get work now, and the living workers that are in quarantine."""
        heard = [worker for worker in self.sights() if self.is_heard(worker)]
        able = tuple(worker.known for worker in heard if not worker.quarantined)
        resting = tuple(worker.known for worker in heard if worker.quarantined)
        return self._fleet_of(able), Fleet(resting)

    def _fleet_of(self, able: tuple[KnownWorker, ...]) -> Fleet:
        """Return the fleet of these workers. The last one is reused if nothing changed, as building one of 1 000 takes milliseconds."""
        last = self._last_fleet
        if last is None or last.workers != able:
            self._last_fleet = last = Fleet(able)
        return last

    def is_heard(self, worker: WorkerRecord | Sight) -> bool:
        """Return whether the worker, when it was read, had sent a heartbeat within the timeout and was neither faulty nor gone."""
        return worker.silent_s <= self.timeout_s and worker.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE)
