"""Workers and heartbeats in Redis, and the claims, tombstones and answers that both sides read there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.domain.placement import KnownWorker
from shared.capabilities import RESULTS_QUEUE
from shared.errors import Conflict, IdentityInUse, IllegalTransition, NotFound, Unavailable
from shared.ids import new_worker_id, worker_id_of
from shared.protocol import keys, scripts
from shared.protocol.messages import answer_field
from shared.workers import Registration, WorkerStatus, may_become

TOMBSTONE_S = 14 * 86_400  # outlives every message that could still name the job
ANSWER_S = 14 * 86_400
LEADER_KEY = keys.PREFIX + "leader"
MONITOR_KEY = keys.PREFIX + "monitor"


@dataclass(frozen=True)
class WorkerRecord:
    """A worker as the registry knows it. Times are Redis' own, seconds since 1970."""

    id: str
    registration: Registration
    status: WorkerStatus
    incarnation: str
    registered_at: float
    last_seen: float
    silent_s: float
    current_job: str
    held: tuple[tuple[str, int], ...]
    stage: str
    progress: float | None
    metrics: dict[str, Any]

    def known(self) -> KnownWorker:
        hardware = self.registration.hardware
        return KnownWorker(
            id=self.id,
            device_name=self.registration.device_name,
            capabilities=tuple(self.registration.capabilities),
            labels=self.registration.labels,
            memory_mb=_number(hardware.get("memory_mb")),
            gpu_memory_mb=_number(hardware.get("gpu_memory_mb")),
        )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class Registry:
    """The registry of workers. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """
        Args:
            timeout_s: silence after which a worker no longer counts as living.
        """
        self.timeout_s = timeout_s
        # One try and a short wait: an API call answers 503 rather than hang while Redis is away.
        self.redis: redis.Redis = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1), health_check_interval=15
        )
        self._register = self.redis.register_script(scripts.REGISTER)
        self._heartbeat = self.redis.register_script(scripts.HEARTBEAT)
        self._deregister = self.redis.register_script(scripts.DEREGISTER)
        self._release = self.redis.register_script(scripts.RELEASE)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.BusyLoadingError, redis.OutOfMemoryError) as error:
            raise Unavailable(f"Redis does not answer: {error}; try again in a moment") from error

    def ping_ms(self) -> float:
        """Time of one round trip by Redis' own count of the connection, in milliseconds."""
        with self._answering():
            before = self._time()
            return max(0.0, (self._time() - before) * 1000)

    def _time(self) -> float:
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6

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
        with self._answering():
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
        """One beat of a device that is driven by REST."""
        if status is not None:
            self._check_step(worker_id, status)
        arguments = [worker_id, "", status or "", current_job, "[]", "", "", json.dumps(metrics) if metrics else ""]
        with self._answering():
            answer = cast("list[str]", self._heartbeat(args=arguments))
        if answer[0] == "unknown":
            raise _no_worker(worker_id)
        return WorkerStatus(answer[1])

    def get(self, worker_id: str) -> WorkerRecord:
        """
        Raises:
            NotFound: no worker has this id.
        """
        found = self._load([worker_id])
        if not found:
            raise _no_worker(worker_id)
        return found[0]

    def all(self) -> list[WorkerRecord]:
        """Every registered worker that has not been removed, in the order of registration."""
        with self._answering():
            ids = cast("list[str]", self.redis.hkeys(keys.WORKERS))
        return sorted(self._load(ids), key=lambda worker: (worker.registered_at, worker.id))

    def living(self) -> list[WorkerRecord]:
        """Workers that can be given work: heard of within the timeout, and neither faulty nor gone."""
        return [w for w in self.all() if w.silent_s <= self.timeout_s and w.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE)]

    def _load(self, worker_ids: Sequence[str]) -> list[WorkerRecord]:
        if not worker_ids:
            return []
        with self._answering():
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.time()
            pipeline.hmget(keys.WORKERS, list(worker_ids))
            for worker_id in worker_ids:
                pipeline.hgetall(keys.worker(worker_id))
            answers = pipeline.execute()
        now = answers[0][0] + answers[0][1] / 1e6
        return [
            _record(worker_id, registration, state, now)
            for worker_id, registration, state in zip(worker_ids, answers[1], answers[2:], strict=True)
            if registration and state
        ]

    def silent(self) -> list[str]:
        """Ids of workers whose last beat is older than the timeout and that are still in the set of heartbeats."""
        with self._answering():
            horizon = int((self._time() - self.timeout_s) * 1000)
            return cast("list[str]", self.redis.zrangebyscore(keys.HEARTBEATS, "-inf", horizon))

    def _check_step(self, worker_id: str, wanted: WorkerStatus) -> None:
        seen = self.get(worker_id).status
        if not may_become(seen, wanted):
            raise IllegalTransition(f"worker {worker_id} is {seen}; it cannot become {wanted}")

    def set_status(self, worker_id: str, wanted: WorkerStatus) -> None:
        """
        Raises:
            IllegalTransition: the table of states has no such step.
        """
        self._check_step(worker_id, wanted)
        with self._answering():
            self.redis.hset(keys.worker(worker_id), "status", wanted)

    def condemn(self, worker_id: str) -> None:
        """Mark a silent worker faulty and stop looking at its heartbeat; its next beat makes it active again."""
        with self._answering():
            pipeline = self.redis.pipeline(transaction=True)
            pipeline.hset(keys.worker(worker_id), mapping={"status": WorkerStatus.FAULTY, "current_job": "", "held": "[]"})
            pipeline.zrem(keys.HEARTBEATS, worker_id)
            pipeline.execute()

    def reset(self, worker_id: str) -> None:
        """Back to `active`, whatever it was, unless it is gone; counts as a beat."""
        worker = self.get(worker_id)
        if worker.status is WorkerStatus.GONE:
            raise Conflict(f"worker {worker_id} is gone; it has to register again")
        self.heartbeat(worker_id)
        with self._answering():
            self.redis.hset(keys.worker(worker_id), "status", WorkerStatus.ACTIVE)

    def remove(self, worker_id: str) -> None:
        self.get(worker_id)
        with self._answering():
            self._deregister(args=[worker_id, ""])

    def tombstone(self, job_ids: Iterable[str]) -> None:
        """These jobs have ended: nobody may claim one any more, and whoever still runs one stops at its next beat."""
        ids = list(job_ids)
        if not ids:
            return
        with self._answering():
            pipeline = self.redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.set(keys.cancelled(job_id), "1", ex=TOMBSTONE_S)
            pipeline.delete(*(keys.claim(job_id) for job_id in ids))
            pipeline.execute()

    def answer(self, answers: Iterable[tuple[str, str, int, str]]) -> None:
        """Tell workers what became of their results: (worker id, job id, attempt, `recorded` or `unwanted`)."""
        by_worker: dict[str, dict[Any, Any]] = defaultdict(dict)
        for worker_id, job_id, attempt, verdict in answers:
            by_worker[worker_id][answer_field(job_id, attempt)] = verdict
        with self._answering():
            pipeline = self.redis.pipeline(transaction=False)
            for worker_id, verdicts in by_worker.items():
                pipeline.hset(keys.answers(worker_id), mapping=verdicts)
                pipeline.expire(keys.answers(worker_id), ANSWER_S)
            pipeline.execute()

    def lead(self, name: str, ttl_s: float) -> bool:
        """Take or keep the leadership. It only saves work: two leaders do no harm."""
        with self._answering():
            if self.redis.set(LEADER_KEY, name, px=int(ttl_s * 1000), nx=True):
                return True
            if self.redis.get(LEADER_KEY) != name:
                return False
            self.redis.pexpire(LEADER_KEY, int(ttl_s * 1000))
            return True

    def same_memory(self) -> bool:
        """False once after Redis lost its memory (or was new): the epoch key was gone and is written again."""
        with self._answering():
            return not self.redis.set(keys.EPOCH, new_worker_id(), nx=True)

    def count_sweep(self, found: dict[str, int]) -> None:
        """Add what a sweep came to; the counters are the system's, not a process'."""
        with self._answering():
            pipeline = self.redis.pipeline(transaction=False)
            for name, number in found.items():
                pipeline.hincrby(MONITOR_KEY, name, number)
            pipeline.hincrby(MONITOR_KEY, "sweeps", 1)
            pipeline.hset(MONITOR_KEY, "last_sweep", self._time())
            pipeline.execute()

    def monitor(self) -> dict[str, float]:
        """The counters of all sweeps, and `last_sweep` in seconds since 1970."""
        with self._answering():
            return {str(name): float(value) for name, value in self.redis.hgetall(MONITOR_KEY).items()}

    def dead_letters(self) -> int:
        """How many messages nobody could read; each is kept with its reason."""
        with self._answering():
            return self.redis.llen(keys.DEAD_LETTERS)

    def bury(self, text: str, reason: str) -> None:
        """Keep a message that cannot be read, with the reason."""
        letter = json.dumps({"queue": RESULTS_QUEUE, "reason": reason, "message": text[:20_000]})
        with self._answering():
            self.redis.lpush(keys.DEAD_LETTERS, letter)
            self.redis.ltrim(keys.DEAD_LETTERS, 0, keys.DEAD_LETTERS_KEPT - 1)

    def clear(self) -> None:
        """Forget every worker, claim, tombstone and answer."""
        with self._answering():
            batch = [str(name) for name in self.redis.scan_iter(match=f"{keys.PREFIX}*", count=1000)]
            for start in range(0, len(batch), 1000):
                self.redis.unlink(*batch[start : start + 1000])

    def close(self) -> None:
        self.redis.close()


def _no_worker(worker_id: str) -> NotFound:
    return NotFound(f"no worker has the id {worker_id!r}; GET /api/workers lists them, POST /api/register enters one")


def _record(worker_id: str, registration: str, state: dict[str, str], now: float) -> WorkerRecord:
    last_seen = float(state.get("last_seen", "0")) / 1000
    return WorkerRecord(
        id=worker_id,
        registration=Registration.model_validate_json(registration),
        status=WorkerStatus(state.get("status", WorkerStatus.ACTIVE)),
        incarnation=state.get("incarnation", ""),
        registered_at=float(state.get("registered_at", "0")) / 1000,
        last_seen=last_seen,
        silent_s=max(0.0, now - last_seen),
        current_job=state.get("current_job", ""),
        held=tuple((str(job_id), int(attempt)) for job_id, attempt in json.loads(state.get("held") or "[]")),
        stage=state.get("stage", ""),
        progress=float(state["progress"]) if state.get("progress") else None,
        metrics=json.loads(state["metrics"]) if state.get("metrics") else {},
    )
