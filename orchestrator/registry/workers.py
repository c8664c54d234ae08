"""Registers workers in Redis, and reads and changes their state."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from typing import Any, cast

from redis.commands.core import Script

from orchestrator.domain.placement import Fleet, KnownWorker
from orchestrator.registry.faults import Faults
from orchestrator.registry.histograms import Histograms
from orchestrator.registry.letters import DeadLetters
from orchestrator.registry.link import Link
from orchestrator.registry.logins import Logins
from orchestrator.registry.marks import ANSWER_S, Marks
from orchestrator.registry.monitor import Monitor
from orchestrator.registry.records import (
    LISTED_FIELDS,
    RECORD_FIELDS,
    SIGHT_FIELDS,
    UNREADABLE,
    Pulse,
    Sight,
    WorkerRecord,
    pulse_of,
    record_of,
    registration_of,
    sight_of,
)
from orchestrator.registry.roster import Roster
from shared.errors import Conflict, IdentityInUse, IllegalTransition, NotFound
from shared.ids import new_worker_id, worker_id_of
from shared.protocol import keys, scripts
from shared.protocol.condition import Trouble, troubles
from shared.workers import Registration, WorkerStatus, following, may_become

log = logging.getLogger(__name__)

GONE_KEPT_S = 86_400.0  # a worker that left is still listed for a day
FAULTY_KEPT_S = 7 * 86_400.0  # a silent device stays listed so that people can look for it; it is forgotten after a week
FORMER_KEPT_S = ANSWER_S  # a forgotten worker may still send results, so its id is kept for as long as answers are


class Registry:
    """Holds the registry of workers. Every method raises `Unavailable` if Redis does not answer."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Make a client for this address. No connection is opened yet.

        Args:
            timeout_s: a worker that was silent for longer no longer counts as living.
        """
        self.timeout_s = timeout_s
        self._link = Link(url)
        self.redis = self._link.redis
        self.marks, self.monitor, self.letters = Marks(self._link, timeout_s), Monitor(self._link), DeadLetters(self._link)
        self.faults = Faults(self._link)
        self.histograms = Histograms(self._link)
        self.logins = Logins(self._link)
        self._register = self.redis.register_script(scripts.REGISTER)
        self._may_register = self.redis.register_script(scripts.MAY_REGISTER)
        self._heartbeat = self.redis.register_script(scripts.HEARTBEAT)
        self._deregister = self.redis.register_script(scripts.DEREGISTER)
        self._step = self.redis.register_script(scripts.STEP)
        self._reset = self.redis.register_script(scripts.RESET)
        self._condemn = self.redis.register_script(scripts.CONDEMN)
        self._depart = self.redis.register_script(scripts.DEPART)
        self._forget = self.redis.register_script(scripts.FORGET)
        self._roster = Roster(self._link)
        self._last_fleet: Fleet | None = None

    def ping_ms(self) -> float:
        """Return how long a small write takes by Redis' clock, in milliseconds. It writes because a read-only or full Redis is unusable."""
        with self._link.answering():
            before = self._link.time()
            self.redis.set(keys.PREFIX + "ping", "", px=1000)
            return max(0.0, (self._link.time() - before) * 1000)

    def troubles(self) -> list[Trouble]:
        """Return what is wrong with a Redis that answers: for example it may evict keys, is full, or is a replica or a Sentinel.

        Raises:
            Unavailable: it does not answer.
        """
        with self._link.answering():
            return troubles(self.redis)

    def id_for(self, registration: Registration) -> str:
        """Return the id under which `register` would enter this worker. Write nothing.

        Raises:
            IdentityInUse: another living process uses this UDID.
        """
        return self._enter(self._may_register, self._arguments(registration))[0]

    def register(self, registration: Registration, clock_offset_s: float | None = None, worker_id: str | None = None) -> tuple[str, str]:
        """Register a worker.

        Args:
            clock_offset_s: how far its clock is ahead of ours, if it sent its time.
            worker_id: what `id_for` returned, if it was asked. A device without a UDID gets another id each time otherwise.

        Returns:
            Its id, and `created` or `reconnected` (the UDID was known already).

        Raises:
            IdentityInUse: another living process uses this UDID.
        """
        arguments = self._arguments(registration, worker_id)
        if clock_offset_s is not None:
            arguments.append(int(clock_offset_s * 1000))
        return self._enter(self._register, arguments)

    def _arguments(self, registration: Registration, worker_id: str | None = None) -> list[str | int]:
        udid = registration.device_info.UDID
        proposed = worker_id or (worker_id_of(udid) if udid else new_worker_id())
        return [proposed, udid, registration.model_dump_json(), registration.incarnation, int(self.timeout_s * 1000)]

    def _enter(self, script: Script, arguments: list[str | int]) -> tuple[str, str]:
        udid = arguments[1]
        with self._link.answering():
            worker_id, action = cast("list[str]", script(args=arguments))
        if action == "conflict":
            raise IdentityInUse(
                f"{worker_id} (UDID {udid}) is alive in another process; stop that one, or, if this disk is a clone, "
                "delete the identity file in the worker's state folder and start again"
            )
        return worker_id, action

    def heartbeat(
        self, worker_id: str, status: WorkerStatus | None = None, current_job: str = "", metrics: dict[str, Any] | None = None
    ) -> WorkerStatus:
        """Record a heartbeat of a device that uses REST. Return its status after it.

        Raises:
            NotFound: no worker has this id.
            IllegalTransition: the table of states does not allow this step.
            Conflict: the worker is gone.
        """
        if status is not None:
            self._check_step(worker_id, status)
        arguments = [worker_id, "", status or "", current_job, "[]", "", "", json.dumps(metrics) if metrics else ""]
        with self._link.answering():
            answer = cast("list[str]", self._heartbeat(args=arguments))
        if answer[0] == "unknown":
            raise _gone(self.get(worker_id).id)
        return WorkerStatus(answer[1])

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
            raise _no_worker(worker_id)
        try:
            return record_of(worker_id, registration_of(str(registration)), cast("dict[str, str]", state), now)
        except UNREADABLE as error:
            _absent(worker_id, error)
            raise _no_worker(worker_id) from error

    def all(self) -> list[WorkerRecord]:
        """Return every worker that is registered and has not left or been removed, in the order of registration."""
        return [worker for worker in self.registered() if worker.status is not WorkerStatus.GONE]

    def registered(self) -> list[WorkerRecord]:
        """Return every worker that may still hold a job: those of `all`, and those that have just left."""
        return self._records(keys.WORKERS)

    def everyone(self) -> list[WorkerRecord]:
        """Return every known worker, including those that left within the last day, in the order of registration.

        The records are for display. Fields that only the watch needs, such as the attempts that a worker holds, are left empty.
        """
        found = {worker.id: worker for index in (keys.DEPARTED, keys.WORKERS) for worker in self._records(index, LISTED_FIELDS)}
        return sorted(found.values(), key=_by_age)

    def _records(self, index: str, fields: Sequence[str] = RECORD_FIELDS) -> list[WorkerRecord]:
        seen = self._roster.read(index, fields)
        found = []
        for entry in seen.entries:
            try:
                record = record_of(entry.id, entry.said.registration, entry.state, seen.now, entry.said.device_info)
            except UNREADABLE as error:
                _absent(entry.id, error)
                continue
            if record.unread:
                log.warning("%s: %s of its state cannot be read, and count as absent", entry.id, ", ".join(record.unread))
            found.append(record)
        return sorted(found, key=_by_age)

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
        found = {}
        for index in (keys.DEPARTED, keys.WORKERS) if departed else (keys.WORKERS,):
            seen = self._roster.read(index, SIGHT_FIELDS)
            for entry in seen.entries:
                try:
                    found[entry.id] = sight_of(entry.said.known, entry.state, seen.now)
                except UNREADABLE as error:
                    _absent(entry.id, error)
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

    def _check_step(self, worker_id: str, wanted: WorkerStatus) -> WorkerStatus:
        seen = self.get(worker_id).status
        if not may_become(seen, wanted):
            steps = " or ".join(following(seen))
            what = f"it cannot become {wanted}, only {steps}" if steps else "it has to register again"
            raise IllegalTransition(f"worker {worker_id} is {seen}; {what}")
        return seen

    def set_status(self, worker_id: str, wanted: WorkerStatus) -> None:
        """Change the status of a worker.

        Raises:
            NotFound: no worker has this id.
            IllegalTransition: the table of states does not allow this step.
        """
        while True:  # try again if the status changed between our check and our write
            seen = self._check_step(worker_id, wanted)
            with self._link.answering():
                if self._step(args=[worker_id, seen, wanted]):
                    return

    def condemn(self, worker_id: str) -> bool:
        """Mark a silent worker as faulty. Its next heartbeat makes it active again.

        Return False if it sent a heartbeat in the meantime, or if another watch was faster.
        """
        with self._link.answering():
            return bool(self._condemn(args=[worker_id, int(self.timeout_s * 1000)]))

    def reset(self, worker_id: str) -> None:
        """Make a worker `active` and end its quarantine, whatever its status. This counts as a heartbeat.

        Raises:
            NotFound: no worker has this id.
            Conflict: the worker is gone.
        """
        with self._link.answering():
            done = self._reset(args=[worker_id])
        if not done:
            raise _gone(self.get(worker_id).id)

    def remove(self, worker_id: str) -> None:
        """Remove a worker: its status becomes `gone`.

        Raises:
            NotFound: no worker has this id.
        """
        with self._link.answering():
            if not self.redis.hexists(keys.WORKERS, worker_id) and not self.redis.hexists(keys.DEPARTED, worker_id):
                raise _no_worker(worker_id)
            self._deregister(args=[worker_id, ""])

    def tidy(self) -> list[str]:
        """Move workers that left to the list of departed workers, and forget workers that left or fell silent long ago.

        Results of their work are kept.

        Returns:
            The ids of the workers that were forgotten.
        """
        times = (WorkerStatus.GONE, self.timeout_s), (WorkerStatus.FAULTY, FAULTY_KEPT_S)
        with self._link.answering():
            now_ms = self._link.time() * 1000
            old = [
                (worker_id, status)
                for worker_id, (said, last_seen) in self._roster.states(keys.WORKERS, ("status", "last_seen")).items()
                for status, kept_s in times
                if said == status and now_ms - _ms(last_seen) > kept_s * 1000
            ]
            for worker_id, status in old:
                if status is WorkerStatus.GONE:  # only after the timeout: its last messages may still arrive, and the watch waits for them
                    self._depart(args=[worker_id])
            left = [(worker_id, WorkerStatus.GONE) for worker_id in self._roster.states(keys.DEPARTED, ("status",))]
            return [worker_id for worker_id, status in (*left, *old) if self._forgets(worker_id, status)]

    def _forgets(self, worker_id: str, status: WorkerStatus) -> bool:
        kept_s = GONE_KEPT_S if status is WorkerStatus.GONE else FAULTY_KEPT_S
        return bool(self._forget(args=[worker_id, status, int(kept_s * 1000), int(FORMER_KEPT_S * 1000)]))

    def clear(self) -> None:
        """Delete every key of ours in Redis except the queues: workers, claims, tombstones, answers, dead letters and counters."""
        with self._link.answering():
            batch = [str(name) for name in self.redis.scan_iter(match=f"{keys.PREFIX}*", count=1000)]
            for start in range(0, len(batch), 1000):
                self.redis.unlink(*batch[start : start + 1000])

    def entered(self, worker_ids: Collection[str]) -> set[str]:
        """Return those of these ids that have registered, including workers that left, or that were forgotten within two weeks."""
        names = sorted(worker_ids)
        if not names:
            return set()
        with self._link.answering():
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.hmget(keys.WORKERS, names)
            pipeline.hmget(keys.DEPARTED, names)
            pipeline.zmscore(keys.FORMER, names)
            found = cast("list[list[object]]", pipeline.execute())
        return {name for name, *known in zip(names, *found, strict=True) if any(one is not None for one in known)}

    def registrations(self, worker_ids: Collection[str]) -> dict[str, Registration]:
        """Return the last registration of each of these workers, including workers that left. Unknown workers are left out."""
        names = sorted(worker_ids)
        if not names:
            return {}
        with self._link.answering():
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.hmget(keys.WORKERS, names)
            pipeline.hmget(keys.DEPARTED, names)
            present, departed = cast("list[list[str | None]]", pipeline.execute())
        found: dict[str, Registration] = {}
        for name, *texts in zip(names, present, departed, strict=True):
            text = next(filter(None, texts), None)
            try:
                found |= {name: registration_of(text)} if text else {}
            except UNREADABLE as error:
                _absent(name, error)
        return found

    def close(self) -> None:
        self.redis.close()


def _ms(text: str | None) -> float:
    """Return a time that a worker wrote, or 0 if it is not a number."""
    try:
        return float(text or "")
    except ValueError:
        return 0.0


def _by_age(worker: WorkerRecord) -> tuple[float, str]:
    return worker.registered_at, worker.id


def _absent(worker_id: str, error: Exception) -> None:
    """Log that a worker is left out. A worker writes its own state, so it may hold anything."""
    log.warning("the state of %s cannot be read, so it counts as absent: %s", worker_id, error)


def _no_worker(worker_id: str) -> NotFound:
    return NotFound(f"no worker has the id {worker_id!r}; GET /api/workers lists them, POST /api/register enters one")


def _gone(worker_id: str) -> Conflict:
    return Conflict(f"worker {worker_id} is gone; it has to register again")
