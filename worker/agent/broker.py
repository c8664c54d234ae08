"""Talks to Redis for the worker, apart from Celery: registration, heartbeats, claims, answers, dead letters."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import AttemptKey, worker_id_of
from shared.protocol import keys, scripts
from shared.protocol.letters import burial
from shared.protocol.outage import answering
from shared.tls import MEND, Untrusted, refusal
from shared.workers import Registration
from worker.activity import Snapshot
from worker.agent.login import Login

log = logging.getLogger(__name__)


class LoginRefused(Unavailable):
    """Raised when Redis answers but refuses this worker's login or its request. Registering again gives the worker a new login."""


@dataclass(frozen=True)
class Beat:
    """Holds Redis's answer to a heartbeat."""

    known: bool = True  # False if Redis does not know this worker (any more): it must register again
    conflict: bool = False  # another process is registered with this worker's identity
    quarantine: str = ""  # why this device gets no work for now
    cancelled: tuple[str, ...] = ()  # which of this worker's jobs are cancelled
    unwanted_service: str = ""  # an idle service of this worker that a user has stopped


class Broker:
    """Sends requests to Redis over a small pool of connections. Each method is one round trip. It raises `Unavailable` if Redis is away."""

    def __init__(self, login: Login, incarnation: str, heartbeat_timeout_s: float, worker_id: str = "") -> None:
        """Prepare the connections.

        Args:
            worker_id: The id of this worker, once it is known.
        """
        self.incarnation = incarnation
        self._worker_id = worker_id
        self._timeout_ms = int(heartbeat_timeout_s * 1000)
        # Nothing is retried here, because the caller knows whether waiting makes sense. A heartbeat on a dead connection times out
        # early enough for the next one.
        answer_within_s = min(10.0, heartbeat_timeout_s / 2)
        self._redis: redis.Redis = redis.Redis.from_url(
            login.address,
            credential_provider=login,
            decode_responses=True,
            socket_timeout=answer_within_s,
            socket_connect_timeout=min(5.0, answer_within_s),
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )
        self._scripts = {
            name: self._redis.register_script(getattr(scripts, name))
            for name in ("REGISTER", "HEARTBEAT", "DEREGISTER", "CLAIM", "RELEASE", "BURY")
        }

    def _run(self, script: str, *arguments: object) -> Any:
        with self._answering():
            return self._scripts[script](args=[str(argument) for argument in arguments])

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            with answering("Redis"):
                yield
        except redis.exceptions.NoPermissionError as error:
            raise LoginRefused(f"Redis refuses this worker's login: {error}") from error
        except Unavailable as error:
            if isinstance(error.__cause__, redis.AuthenticationError):
                raise LoginRefused(f"Redis refuses this worker's login: {error.__cause__}") from error
            if (why := refusal(error)) is not None:
                raise Untrusted(f"the broker's certificate is not trusted: {why}; {MEND}") from error
            raise

    def ping(self) -> None:
        with self._answering():
            self._redis.ping()

    def clock_offset_s(self, clock: Clock) -> float:
        """Return how far this device's clock is ahead of Redis's clock. The error is at most half of the time that the request took."""
        before = clock.now().timestamp()
        with self._answering():
            seconds, microseconds = self._redis.time()
        return (before + clock.now().timestamp()) / 2 - (seconds + microseconds / 1e6)

    def register(self, registration: Registration, clock_offset_s: float = 0.0) -> tuple[str, str]:
        """Register this worker.

        Returns:
            Its id, and `created`, `reconnected` or `conflict`.
        """
        udid = registration.device_info.UDID
        answer = self._run(
            "REGISTER",
            worker_id_of(udid),
            udid,
            registration.model_dump_json(),
            registration.incarnation,
            self._timeout_ms,
            int(clock_offset_s * 1000),
        )
        worker_id, action = cast("list[str]", answer)
        return worker_id, action

    def heartbeat(self, worker_id: str, now: Snapshot, held: Sequence[AttemptKey], metrics: dict[str, Any] | None = None) -> Beat:
        progress = "" if now.progress is None else f"{now.progress:.4f}"
        job = now.job[0] if now.job else ""
        pairs = json.dumps([list(pair) for pair in held])
        told = json.dumps(metrics) if metrics else ""
        others = json.dumps({other: list(stage) for (other, _), stage in now.others.items()}) if now.others else ""
        step = (now.stage, progress, told, others)
        answer = cast("list[str]", self._run("HEARTBEAT", worker_id, self.incarnation, now.status, job, pairs, *step))
        if answer[0] != "ok":
            return Beat(known=answer[0] != "unknown", conflict=answer[0] == "conflict")
        unwanted = [one.removeprefix(scripts.SERVICE) for one in answer[3:] if one.startswith(scripts.SERVICE)]
        cancelled = tuple(one for one in answer[3:] if not one.startswith(scripts.SERVICE))
        return Beat(quarantine=answer[2], cancelled=cancelled, unwanted_service=next(iter(unwanted), ""))

    def deregister(self, worker_id: str) -> None:
        self._run("DEREGISTER", worker_id, self.incarnation)

    def claim(self, job_id: str, attempt: int, worker_id: str, ttl_s: int) -> str:
        return str(self._run("CLAIM", job_id, attempt, worker_id, self.incarnation, self._timeout_ms, ttl_s))

    def release(self, job_id: str, attempt: int) -> None:
        self._run("RELEASE", job_id, attempt, self.incarnation)

    def answers(self, worker_id: str) -> dict[AttemptKey, str]:
        """Return what the orchestrator did with the results sent so far, by job and attempt: `recorded` or `unwanted`.

        Answers that name no attempt are removed, because they would be read at every call and nobody waits for them.
        """
        with self._answering():
            found = cast("dict[str, str]", self._redis.hgetall(keys.answers(worker_id)))
        answers: dict[AttemptKey, str] = {}
        nonsense: list[str] = []
        for field, verdict in found.items():
            job_id, _, attempt = field.rpartition("/")
            if job_id and attempt.isascii() and attempt.isdigit():
                answers[job_id, int(attempt)] = verdict
            else:
                nonsense.append(field)
        if nonsense:
            log.warning("answers that name no attempt are removed: %.200s", ", ".join(map(repr, nonsense)))
            with self._answering():
                self._redis.hdel(keys.answers(worker_id), *nonsense)
        return answers

    def forget_answers(self, worker_id: str, seen: Sequence[AttemptKey]) -> None:
        with self._answering():
            self._redis.hdel(keys.answers(worker_id), *[f"{job_id}/{attempt}" for job_id, attempt in seen])

    def dead_letter(self, reason: str, message: str, queue: str = "") -> None:
        """Store an unreadable message as a dead letter, with the reason."""
        self._run("BURY", *burial(by=self._worker_id, queue=queue, reason=reason, message=message))

    def unacknowledged(self, worker_id: str) -> int:
        """Return how many messages this worker has taken and not acknowledged yet."""
        with self._answering():
            return self._redis.hlen(keys.unacked(worker_id)[0])

    def drop_unacknowledged(self, worker_id: str) -> None:
        """Forget the messages that an earlier process of this worker had taken and not acknowledged.

        The watch sends such jobs again as their next attempt. Otherwise kombu would bring the old messages back a week later.
        """
        with self._answering():
            self._redis.delete(*keys.unacked(worker_id))

    def close(self) -> None:
        self._redis.close()
