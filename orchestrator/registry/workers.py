"""Workers and heartbeats in Redis."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from typing import Any, cast

from orchestrator.registry.faults import Faults
from orchestrator.registry.letters import DeadLetters
from orchestrator.registry.link import Link
from orchestrator.registry.logins import Logins
from orchestrator.registry.marks import Marks
from orchestrator.registry.monitor import Monitor
from orchestrator.registry.records import UNREADABLE, WorkerRecord, record_of
from shared.errors import Conflict, IdentityInUse, IllegalTransition, NotFound
from shared.ids import new_worker_id, worker_id_of
from shared.protocol import keys, scripts
from shared.protocol.condition import Trouble, troubles
from shared.workers import Registration, WorkerStatus, following, may_become

log = logging.getLogger(__name__)


class Registry:
    """The registry of workers. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """
        Args:
            timeout_s: silence after which a worker no longer counts as living.
        """
        self.timeout_s = timeout_s
        self._link = Link(url)
        self.redis = self._link.redis
        self.marks, self.monitor, self.letters = Marks(self._link, timeout_s), Monitor(self._link), DeadLetters(self._link)
        self.faults = Faults(self._link)
        self.logins = Logins(self._link)
        self._register = self.redis.register_script(scripts.REGISTER)
        self._heartbeat = self.redis.register_script(scripts.HEARTBEAT)
        self._deregister = self.redis.register_script(scripts.DEREGISTER)
        self._step = self.redis.register_script(scripts.STEP)
        self._condemn = self.redis.register_script(scripts.CONDEMN)
        self._fleet = self.redis.register_script(scripts.FLEET)

    def ping_ms(self) -> float:
        """Time of one small write by Redis' own count, in milliseconds: a Redis that only reads or has no room is no use."""
        with self._link.answering():
            before = self._link.time()
            self.redis.set(keys.PREFIX + "ping", "", px=1000)
            return max(0.0, (self._link.time() - before) * 1000)

    def troubles(self) -> list[Trouble]:
        """What is wrong with the Redis, though it answers: it may evict, is full, a replica, a Sentinel.

        Raises:
            Unavailable: it does not answer.
        """
        with self._link.answering():
            return troubles(self.redis)

    def register(self, registration: Registration) -> tuple[str, str]:
        """Enter a worker.

        Returns:
            Its id, and `created` or `reconnected` (the same UDID was known).

        Raises:
            IdentityInUse: another living process speaks for this UDID.
        """
        udid = registration.device_info.UDID
        arguments: list[str | int] = [
            worker_id_of(udid) if udid else new_worker_id(),
            udid,
            registration.model_dump_json(),
            registration.incarnation,
        ]
        arguments.append(int(self.timeout_s * 1000))
        with self._link.answering():
            worker_id, action = cast("list[str]", self._register(args=arguments))
        if action == "conflict":
            raise IdentityInUse(
                f"{worker_id} (UDID {udid}) is alive in another process; stop that one, or, if this disk is a clone, "
                "delete the identity file in the worker's state folder and start again"
            )
        return worker_id, action

    def heartbeat(
        self, worker_id: str, status: WorkerStatus | None = None, current_job: str = "", metrics: dict[str, Any] | None = None
    ) -> WorkerStatus:
        """One beat of a device that is driven by REST.

        Raises:
            NotFound: no worker has this id.
            IllegalTransition: the table of states has no such step.
            Conflict: it is gone.
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
        """
        Raises:
            NotFound: no worker has this id.
        """
        with self._link.answering():
            now = self._link.time()
            registration = self.redis.hget(keys.WORKERS, worker_id)
            state = self.redis.hgetall(keys.worker(worker_id))
        found = _read(worker_id, cast("str | None", registration), cast("dict[str, str]", state), now)
        if found is None:
            raise _no_worker(worker_id)
        return found

    def all(self) -> list[WorkerRecord]:
        """Every registered worker that has not been removed, in the order of registration."""
        with self._link.answering():
            now_ms, *workers = cast("list[Any]", self._fleet())
        found = [_read(worker_id, text, dict(zip(*[iter(state)] * 2, strict=True)), now_ms / 1000) for worker_id, text, state in workers]
        return sorted(filter(None, found), key=lambda worker: (worker.registered_at, worker.id))

    def living(self) -> list[WorkerRecord]:
        """Workers that are heard of within the timeout, and neither faulty nor gone."""
        return [worker for worker in self.all() if self.is_heard(worker)]

    def is_heard(self, worker: WorkerRecord) -> bool:
        """Whether it was living when it was read."""
        return worker.silent_s <= self.timeout_s and worker.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE)

    def _check_step(self, worker_id: str, wanted: WorkerStatus) -> WorkerStatus:
        seen = self.get(worker_id).status
        if not may_become(seen, wanted):
            steps = " or ".join(following(seen))
            what = f"it cannot become {wanted}, only {steps}" if steps else "it has to register again"
            raise IllegalTransition(f"worker {worker_id} is {seen}; {what}")
        return seen

    def set_status(self, worker_id: str, wanted: WorkerStatus) -> None:
        """
        Raises:
            IllegalTransition: the table of states has no such step.
        """
        while True:  # until nobody else has taken a step between our look and ours
            seen = self._check_step(worker_id, wanted)
            with self._link.answering():
                if self._step(args=[worker_id, seen, wanted]):
                    return

    def condemn(self, worker_id: str) -> bool:
        """Mark a silent worker faulty; its next beat makes it active again.

        False when it was heard of meanwhile, or another watch was first.
        """
        with self._link.answering():
            return bool(self._condemn(args=[worker_id, int(self.timeout_s * 1000)]))

    def reset(self, worker_id: str) -> None:
        """Back to `active` and out of quarantine, whatever it was, unless it is gone; counts as a beat."""
        self.heartbeat(worker_id)
        self.faults.forgive(worker_id)
        with self._link.answering():
            self.redis.hset(keys.worker(worker_id), "status", WorkerStatus.ACTIVE)

    def remove(self, worker_id: str) -> None:
        """
        Raises:
            NotFound: no worker has this id.
        """
        with self._link.answering():
            if not self.redis.hexists(keys.WORKERS, worker_id):
                raise _no_worker(worker_id)
            self._deregister(args=[worker_id, ""])

    def clear(self) -> None:
        """Forget every worker, claim, tombstone and answer."""
        with self._link.answering():
            batch = [str(name) for name in self.redis.scan_iter(match=f"{keys.PREFIX}*", count=1000)]
            for start in range(0, len(batch), 1000):
                self.redis.unlink(*batch[start : start + 1000])

    def entered(self, worker_ids: Collection[str]) -> set[str]:
        """Those of them that have registered, also those that have left since."""
        names = sorted(worker_ids)
        if not names:
            return set()
        with self._link.answering():
            found = self.redis.hmget(keys.WORKERS, names)
        return {name for name, registration in zip(names, found, strict=True) if registration is not None}

    def close(self) -> None:
        self.redis.close()


def _read(worker_id: str, registration: str | None, state: dict[str, str], now: float) -> WorkerRecord | None:
    if not registration or not state:
        return None
    try:
        return record_of(worker_id, registration, state, now)
    except UNREADABLE as error:  # a worker writes its own state, and may write anything
        log.warning("the state of %s cannot be read, so it counts as absent: %s", worker_id, error)
        return None


def _no_worker(worker_id: str) -> NotFound:
    return NotFound(f"no worker has the id {worker_id!r}; GET /api/workers lists them, POST /api/register enters one")


def _gone(worker_id: str) -> Conflict:
    return Conflict(f"worker {worker_id} is gone; it has to register again")
