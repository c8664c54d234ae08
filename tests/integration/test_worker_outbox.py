"""Tests reports that wait to be sent, with a real Redis and a server that answers like an orchestrator.

No report delays another one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import pytest
import redis

from shared.capabilities import RESULTS_QUEUE
from shared.celery_app import make_celery_app
from shared.clock import SystemClock
from shared.protocol.keys import answers
from shared.protocol.messages import REPORT, Artifact, AttemptLog, Report, Result
from tests.integration.worker_process import eventually
from tests.unit.worker.agent.http_double import Orchestrator, orchestrator
from tests.unit.worker.results import CAMPAIGN, WORKER, result
from worker.agent.broker import Broker
from worker.agent.login import Login
from worker.agent.outbox import Outbox
from worker.agent.uploads import Uploads
from worker.job_log import JobLog, Journals
from worker.spool import Spool

CLOCK = SystemClock()
LOGGED = (f"{CAMPAIGN}-job-9", 1)
FAILING = 4


@pytest.fixture
def there() -> Iterator[Orchestrator]:
    with orchestrator() as state:
        yield state


@contextmanager
def outbox_over(folder: Path, redis_url: str, host: str) -> Iterator[Spool]:
    """Run an outbox that sends the reports of a folder."""
    with ExitStack() as stack:
        login = Login(redis_url, None)
        broker = Broker(login, "first", 30)
        stack.callback(broker.close)
        spool = Spool(folder)
        outbox = Outbox(
            app=make_celery_app(redis_url),
            login=login,
            worker_id=WORKER,
            broker=broker,
            spool=spool,
            journals=Journals(folder, CLOCK, WORKER),
            uploads=Uploads(host, None),
            clock=CLOCK,
        )
        stack.callback(outbox.close)
        outbox.start()
        yield spool


def leave(folder: Path, number: int, samples: bytes | None = None) -> Result:
    """Write a result that an earlier process has left, with or without samples beside it."""
    described = {} if samples is None else {"samples.npz": Artifact(sha256=hashlib.sha256(samples).hexdigest(), size=len(samples))}
    written = result(number, artifacts=described)
    Spool(folder).write(written, {} if samples is None else {"samples.npz": samples})
    return written


class Sent:
    """Reads the messages that have arrived in the results queue."""

    def __init__(self, redis_url: str) -> None:
        self._redis: redis.Redis = redis.Redis.from_url(redis_url)
        self.reports: list[Report] = []

    def numbers(self, kind: str = "result") -> list[int]:
        while message := cast("bytes | None", self._redis.rpop(RESULTS_QUEUE)):
            self.reports.append(REPORT.validate_json(base64.b64decode(json.loads(message)["body"])))
        return [int(report.job_id.rpartition("-")[2]) for report in self.reports if report.kind == kind]


def test_results_whose_samples_are_refused_hold_up_neither_other_results_nor_logs(
    tmp_path: Path, redis_url: str, there: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    there.put_status = 503
    for number in range(1, FAILING + 1):
        leave(tmp_path, number, os.urandom(1000))
    leave(tmp_path, 5)
    JobLog(LOGGED, CLOCK, WORKER, Journals(tmp_path, CLOCK, WORKER).begin(LOGGED)).add("info", "benchmark", "measured")
    sent = Sent(redis_url)
    with outbox_over(tmp_path, redis_url, there.url) as spool:
        eventually(lambda: sent.numbers() == [5], "the small one is sent")
        eventually(lambda: sent.numbers("log") == [9], "the log is sent")
        eventually(lambda: caplog.text.count("is kept, and sent again") >= 1, "it is said")
        there.put_status = None
        eventually(lambda: sorted(sent.numbers()) == [1, 2, 3, 4, 5], "they are all sent once there is room")
        assert len(spool.keys()) == FAILING + 1, "nobody has answered"
    aloud = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(aloud) == 1, [record.message for record in aloud]
    assert "answered 503 to PUT" in aloud[0].message
    assert isinstance(next(report for report in sent.reports if report.kind == "log"), AttemptLog)


def test_without_a_connection_to_the_orchestrator_what_needs_none_is_sent(tmp_path: Path, redis_url: str) -> None:
    for number in range(1, FAILING + 1):
        leave(tmp_path, number, os.urandom(1000))
    leave(tmp_path, 5)
    sent = Sent(redis_url)
    with outbox_over(tmp_path, redis_url, "http://127.0.0.1:1"):
        eventually(lambda: sent.numbers() == [5], "the small one is sent")


def test_an_answer_that_names_no_attempt_holds_up_no_other_and_is_removed(
    tmp_path: Path, redis_url: str, there: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    left = leave(tmp_path, 1)
    client: redis.Redis = redis.Redis.from_url(redis_url)
    client.hset(answers(WORKER), mapping={"no attempt": "recorded", f"{left.job_id}/x": "recorded", f"{left.job_id}/1": "recorded"})
    with outbox_over(tmp_path, redis_url, there.url) as spool:
        eventually(lambda: spool.keys() == [], "the answer is taken")
        eventually(lambda: client.hlen(answers(WORKER)) == 0, "none is left")
    assert caplog.text.count("answers that name no attempt are removed") == 1


def test_a_result_whose_samples_are_gone_is_sent_without_them(
    tmp_path: Path, redis_url: str, there: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    left = leave(tmp_path, 1, os.urandom(1000))
    (tmp_path / f"{left.job_id}.1.samples.npz").unlink()
    sent = Sent(redis_url)
    with outbox_over(tmp_path, redis_url, there.url):
        eventually(lambda: sent.numbers() == [1], "it is sent")
    assert "samples.npz is gone from this device" in caplog.text
