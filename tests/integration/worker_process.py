"""Runs a real worker process with a real Redis. The tests act as the orchestrator."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import psutil
import redis

from shared.capabilities import RESULTS_QUEUE
from shared.celery_app import make_celery_app
from shared.ids import worker_id_of
from shared.inputs import ModelRef
from shared.protocol import keys
from shared.protocol.letters import DeadLetter
from shared.protocol.messages import REPORT, TASK_NAME, Assignment, Report, Result
from shared.repetition import Warmup
from shared.workloads import inference_workload
from worker.hardware.identity import IDENTITY_FILE, known_udid
from worker.hardware.probe import PROBE_MODEL

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
CAMPAIGN = "campaign-0123456789abcdefgh"
PATIENCE_S = 60.0  # this only stops a test that hangs; it is not an expected duration, because the machine may be busy


def eventually(look: Callable[[], T | None], what: str) -> T:
    """Return the first true answer of `look`, which may fail while a server is away."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            if found := look():
                return found
        except redis.RedisError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")


def known_incarnation(state: Path) -> str | None:
    """Return the incarnation of the worker that last used this state folder. None before the first one."""
    file = state / IDENTITY_FILE
    return json.loads(file.read_text()).get("incarnation") if file.is_file() else None


class Worker:
    """Holds one worker process. Its log is a file beside its state."""

    def __init__(self, folder: Path, environment: dict[str, str], *options: str, log: Path | None = None, root: Path = ROOT) -> None:
        self.state = folder / "state"
        self.incarnation_before = known_incarnation(self.state)
        self._log = log or folder / f"worker-{time.monotonic_ns()}.log"
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")},
            "FLEETMARK_WORKER_STATE_DIR": str(self.state),
            "FLEETMARK_WORKER_CACHE_DIR": str(folder / "cache"),
            "FLEETMARK_WORKER_LOCK_FILE": str(folder / "measure.lock"),  # other tests on this machine measure at the same time
            "FLEETMARK_WORKER_NAME": "lab pi@3",
            "FLEETMARK_WORKER_PORT": "0",
            "FLEETMARK_HEARTBEAT_S": "0.2",
            "FLEETMARK_HEARTBEAT_TIMEOUT_S": "20",
            **environment,
        }
        with self._log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "start", *options], env=variables, cwd=root, stdout=sink, stderr=sink
            )

    def log(self) -> str:
        return self._log.read_text() if self._log.is_file() else f"(written to {self._log})"

    def wait(self) -> int:
        return self.process.wait(timeout=PATIENCE_S)

    def end(self) -> int:
        self.process.terminate()
        return self.wait()

    def family(self) -> list[psutil.Process]:
        """Return the guard and all processes that it runs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def spooled(self) -> list[str]:
        return sorted(path.name for path in (self.state / "spool").glob("*.json"))


class Fleet:
    """Uses Redis as the orchestrator does."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.redis: redis.Redis = redis.Redis.from_url(url, decode_responses=True)
        self.app = make_celery_app(url)
        self.reports: list[Report] = []
        self._workers: list[Worker] = []

    def start(self, *options: str, folder: Path | None = None, log: Path | None = None, root: Path = ROOT, **environment: str) -> Worker:
        where = folder or self.folder
        where.mkdir(exist_ok=True)
        address = {} if "FLEETMARK_HOST" in environment else {"FLEETMARK_REDIS_URL": self.url}
        worker = Worker(where, {**address, **environment}, *options, log=log, root=root)
        self._workers.append(worker)
        return worker

    def registered(self, worker: Worker) -> str:
        """Wait for the first heartbeat of this very process, and return the worker's id. From then on SIGTERM ends the worker in order.

        The record of an earlier process of the same device does not count: if that one was killed, its record still says `active`.
        """

        def look() -> str | None:
            if worker.process.poll() is not None:
                raise AssertionError(f"the worker ended with {worker.process.returncode}:\n{worker.log()}")
            worker_id = worker_id_of(known_udid(worker.state))
            status, incarnation = self.redis.hmget(keys.worker(worker_id), "status", "incarnation")
            return worker_id if status not in (None, "gone") and incarnation not in (None, worker.incarnation_before) else None

        return eventually(look, "the worker registers")

    def state(self, worker_id: str) -> dict[str, str]:
        return cast("dict[str, str]", self.redis.hgetall(keys.worker(worker_id)))

    def send(self, assignment: Assignment, *others: Assignment, queue: str = "cpu.onnx") -> None:
        """Publish a message as the dispatcher does."""
        self.app.send_task(
            TASK_NAME,
            args=[json.loads(one.model_dump_json()) for one in (assignment, *others)],
            task_id=f"{assignment.job_id}.{assignment.attempt}",
            queue=queue,
            argsrepr=f"({assignment.job_id!r}, attempt={assignment.attempt})",
        )

    def _collect(self) -> None:
        while message := cast("str | None", self.redis.rpop(RESULTS_QUEUE)):
            self.reports.append(REPORT.validate_json(base64.b64decode(json.loads(message)["body"])))

    def reported(self, kind: str, job_id: str, after: int = 0) -> Any:
        """Return the first report of this kind about a job after `after` earlier ones. None if there is none yet."""
        self._collect()
        found = [report for report in self.reports if report.kind == kind and report.job_id == job_id]
        return found[after] if len(found) > after else None

    def report(self, kind: str, job_id: str, after: int = 0) -> Any:
        """Wait for this report, and return it."""
        look = partial(self.reported, kind, job_id, after)
        return eventually(look, f"{kind} of {job_id}; there are {[(report.kind, report.job_id) for report in self.reports]}")

    def answer(self, result: Result, verdict: str) -> None:
        self.redis.hset(keys.answers(result.worker_id), f"{result.job_id}/{result.attempt}", verdict)

    def letters(self) -> list[DeadLetter]:
        """Return the dead letters, newest first."""
        return [DeadLetter.read(text) for text in cast("list[str]", self.redis.lrange(keys.DEAD_LETTERS, 0, -1))]

    def unacknowledged(self) -> int:
        return sum(self.redis.hlen(key) for key in cast("list[str]", self.redis.keys("unacked:*")))

    def close(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
        self.app.close()
        self.redis.close()


@contextmanager
def fleet_at(url: str, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(url, folder)
    try:
        yield fleet
    finally:
        fleet.close()


def tiny_job(folder: Path, number: int = 1, attempt: int = 1) -> Assignment:
    """Return a job with a real ONNX graph of two operators, for the real engine."""
    model = folder / "tiny.onnx"
    model.write_bytes(PROBE_MODEL)
    return _job(model, number, attempt, "cpu.onnx", inferences=20)


def long_job(folder: Path, number: int = 1, attempt: int = 1) -> Assignment:
    """Return a job of the engine with a known schedule: each inference sleeps 100 ms, and all take 100 s."""
    return sleeping_job(folder, number, attempt, inferences=1000)


def sleeping_job(folder: Path, number: int, attempt: int = 1, *, inferences: int, repeats: int = 1) -> Assignment:
    schedule = folder / "schedule.json"
    schedule.write_text(json.dumps({"sleeps_s": [0.1]}))
    return _job(schedule, number, attempt, "fake", inferences=inferences, repeats=repeats)


def _job(model: Path, number: int, attempt: int, capability: str, inferences: int, repeats: int = 1) -> Assignment:
    workload = inference_workload(
        model=ModelRef(source=model.as_uri(), name=model.name),
        inferences=inferences,
        repeats=repeats,
        warmup=Warmup(min_calls=1, min_s=0.0),
    )
    job_id = f"{CAMPAIGN}-job-{number}"
    return Assignment(job_id=job_id, campaign_id=CAMPAIGN, attempt=attempt, capability=capability, workload=workload)
