"""Simulates devices that use the real messages and Redis scripts of workers, but measure nothing."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import cast

import redis

from shared.capabilities import RESULTS_QUEUE, worker_queue
from shared.celery_app import PRIORITY_STEPS
from shared.clock import Clock
from shared.ids import AttemptKey, new_incarnation
from shared.protocol.keys import CLAIM_TTL_S
from shared.protocol.messages import Assignment, HandBack, Result, Started
from shared.workers import DeviceInfo, Registration, WorkerStatus
from tests.integration.reports import result
from worker.activity import Snapshot
from worker.agent.broker import Broker
from worker.agent.login import Login


@dataclass
class Message:
    """Holds the whole text of a message that was taken, and the list from which it came."""

    source: str
    text: str

    def assignment(self) -> Assignment:
        [only] = self.assignments()
        return only

    def assignments(self) -> list[Assignment]:
        body = json.loads(base64.b64decode(json.loads(self.text)["body"]))
        return [Assignment.model_validate_json(json.dumps(one)) for one in body[0]]


class Broken(Exception):
    """Is raised when the network of this device is down."""


@dataclass
class Process:
    """Holds the state of one start of a worker. This state is lost when the worker ends, but the spool of its device is not."""

    worker_id: str
    broker: Broker
    message: Message | None = None
    runs: AttemptKey | None = None  # the attempt that it has claimed
    claimed_in: int = 0  # how often Redis had lost its memory at that time; the test counts this
    last_beat: float = 0.0
    finished: set[AttemptKey] = field(default_factory=set)
    resting: bool = False


class SimulatedDevice:
    """Simulates a device with a disk and a network, on which workers start, work, crash and leave."""

    def __init__(self, name: str, capabilities: tuple[str, ...], client: redis.Redis, url: str, timeout_s: float, clock: Clock) -> None:
        self.name, self.capabilities = name, capabilities
        self._redis, self._url, self._timeout_s, self._clock = client, url, timeout_s, clock
        self._last_incarnation = ""
        self.spool: dict[AttemptKey, Result] = {}
        self.connected = True
        self.process: Process | None = None
        self.last: Message | None = None  # the last message that it took

    def start(self) -> None:
        broker = Broker(Login(self._url, None), new_incarnation(), self._timeout_s)
        worker_id, action = broker.register(self._registration(broker))
        assert action in ("created", "reconnected")
        broker.drop_unacknowledged(worker_id)
        self.process = Process(worker_id, broker, last_beat=self._clock.monotonic())
        self._last_incarnation = broker.incarnation
        self.resend()

    def _registration(self, broker: Broker) -> Registration:
        return Registration(
            device_name=self.name,
            capabilities=list(self.capabilities),
            device_info=DeviceInfo(UDID=self.name),
            incarnation=broker.incarnation,
            previous_incarnation=self._last_incarnation,
        )

    def crash(self) -> None:
        assert self.process is not None
        self.process.broker.close()
        self.process = None

    def leave(self, *, heard: bool) -> None:
        """Leave in order, as on SIGTERM. The job in hand is handed back. If not `heard`, the orchestrator gets no report of that."""
        now = self._working()
        if now.runs is not None:
            now.broker.release(*now.runs)
            if heard:
                job_id, attempt = now.runs
                who = {"worker_id": now.worker_id, "incarnation": now.broker.incarnation}
                self._tell(HandBack(job_id=job_id, attempt=attempt, reason="the worker is stopping", **who))
        elif now.message is not None:
            self._put_back(now.message)
        now.broker.deregister(now.worker_id)
        self.crash()

    def _working(self) -> Process:
        assert self.process is not None
        if not self.connected:
            raise Broken
        return self.process

    def beat(self) -> None:
        now = self._working()
        held = [*([now.runs] if now.runs else []), *self.spool]
        status = WorkerStatus.BUSY if now.runs else WorkerStatus.ACTIVE
        answer = now.broker.heartbeat(now.worker_id, Snapshot(status, now.runs), list(dict.fromkeys(held)))
        assert not answer.conflict
        now.last_beat = self._clock.monotonic()
        if not answer.known:
            now.broker.register(self._registration(now.broker))
            self.resend()
        now.resting = bool(answer.quarantine)
        if now.runs is not None and now.runs[0] in answer.cancelled:
            self.finish("cancelled")

    def take(self) -> None:
        """Take the next message from the queues of the capabilities and the private queue, in the broker's order of priorities."""
        now = self._working()
        for step in PRIORITY_STEPS:
            for queue in (*self.capabilities, worker_queue(now.worker_id)):
                source = f"{queue}\x06\x16{step}" if step else queue
                text = cast("str | None", self._redis.rpop(source))
                if text is not None:
                    now.message = self.last = Message(source, text)
                    return

    def _put_back(self, message: Message) -> None:
        self._redis.rpush(message.source, message.text)

    def claim(self, *, heard: bool) -> str:
        """Claim the attempt of the message in hand, and report its start. If not `heard`, the orchestrator gets no such report."""
        now = self._working()
        assert now.message is not None
        key = (now.message.assignment().job_id, now.message.assignment().attempt)
        if key in now.finished or key in self.spool:
            now.message = None
            if key not in self.spool:
                who = {"worker_id": now.worker_id, "incarnation": now.broker.incarnation}
                self._tell(HandBack(job_id=key[0], attempt=key[1], reason="its result was answered", **who))
            return "already run here"
        verdict = now.broker.claim(*key, now.worker_id, CLAIM_TTL_S)
        if verdict == "quarantined":
            self._put_back(now.message)
            now.resting = True
        if verdict != "claimed":
            now.message = None
            return verdict
        now.runs = key
        if heard:
            who = {"worker_id": now.worker_id, "incarnation": now.broker.incarnation}
            self._tell(Started(job_id=key[0], attempt=key[1], at=0.0, **who))
        return verdict

    def held(self) -> AttemptKey:
        """Return the attempt that was claimed."""
        assert self.process is not None
        assert self.process.runs is not None
        return self.process.runs

    def finish(self, outcome: str) -> None:
        """End the attempt. Its result is written to the spool, and is sent if the network works."""
        now = self.process
        assert now is not None
        assert now.runs is not None
        job_id, attempt = now.runs
        status, error, kind = {
            "complete": ("complete", "", ""),
            "failed": ("failed", "the model has an operator of its own", "model_invalid"),
            "died": ("failed", "killed by SIGSEGV", "runner_died"),
            "cancelled": ("cancelled", "cancelled", "cancelled"),
        }[outcome]
        made = result(job_id, attempt, status, error, kind, now.worker_id)  # type: ignore[arg-type]  # `kind` is one of the allowed words
        self.spool[now.runs] = made.model_copy(update={"incarnation": now.broker.incarnation})
        now.finished.add(now.runs)
        now.runs = now.message = None
        if self.connected:
            self._tell(self.spool[job_id, attempt])

    def resend(self) -> None:
        self._working()
        for each in self.spool.values():
            self._tell(each)

    def collect(self) -> None:
        """Read the answers to results. Each result that was answered is deleted from the spool."""
        now = self._working()
        answers = now.broker.answers(now.worker_id)
        for key in answers:
            self.spool.pop(key, None)
        if answers:
            now.broker.forget_answers(now.worker_id, list(answers))

    def _tell(self, message: Started | HandBack | Result) -> None:
        self._redis.lpush(RESULTS_QUEUE, message.model_dump_json())
