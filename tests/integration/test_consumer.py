"""The results consumer, fed through a real queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from orchestrator.consumer import ResultsConsumer
from orchestrator.operations.context import Context
from orchestrator.operations.submit import Submitted
from shared.celery_app import make_celery_app, results_queue
from shared.ids import job_id
from shared.protocol import keys
from tests.integration.reports import WORKER, result, started
from tests.integration.test_way_of_a_job import counters

Submit = Callable[..., Submitted]
Register = Callable[..., str]
Send = Callable[[str], None]


@contextmanager
def consuming(ctx: Context) -> Iterator[None]:
    stop = threading.Event()
    consumer = ResultsConsumer(ctx, ctx.settings.redis_url)
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def send(ctx: Context) -> Iterator[Send]:
    app = make_celery_app(ctx.settings.redis_url)
    with app.connection_for_write() as connection:
        producer = connection.Producer()

        def publish(body: str) -> None:
            queue = results_queue()
            producer.publish(
                body, routing_key=queue.name, exchange="", declare=[queue], content_type="application/json", content_encoding="utf-8"
            )

        yield publish
    app.close()


def until(what: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_reports_reach_the_store_and_leave_the_queue(ctx: Context, submit: Submit, register: Register, send: Send) -> None:
    register()
    campaign = submit(jobs=20).campaign
    for number in range(1, 21):
        send(started(job_id(campaign.id, number)).model_dump_json())
        send(result(job_id(campaign.id, number)).model_dump_json())
    with consuming(ctx):
        until(lambda: counters(ctx, campaign) == {"complete": 20})
    with redis.Redis.from_url(ctx.settings.redis_url) as client:
        assert client.llen("results") == 0
        assert client.hlen("unacked") == 0


def test_what_cannot_be_read_is_buried_with_its_reason_and_holds_up_nothing(
    ctx: Context, submit: Submit, register: Register, send: Send
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    send("not json at all")
    send('{"kind": "result"}')
    send(result(job_id(campaign.id, 1), error="a \x00 byte", status="failed", error_kind="model_invalid").model_dump_json())
    with consuming(ctx):
        until(lambda: counters(ctx, campaign) == {"failed": 1})
        until(lambda: ctx.registry.letters.count() == 2)
    newest, older = ctx.registry.letters.newest(10)
    assert "Field required" in newest.reason
    assert (older.message, older.by, older.queue) == ("not json at all", "orchestrator", "results")


def test_what_is_no_text_too_deep_or_beyond_its_column_is_buried_too(ctx: Context, submit: Submit, register: Register, send: Send) -> None:
    register()
    campaign = submit(jobs=1).campaign
    job = job_id(campaign.id, 1)
    beyond = started(job).model_dump_json().replace('"attempt":1', f'"attempt":{10**30}')
    halves = result(job, status="failed").model_dump_json().replace('"device":{"name":"', '"device":{"name":"\\u0000\\ud800')
    with redis.Redis.from_url(ctx.settings.redis_url) as client:
        client.lpush("results", b"\xff\xfe", b"[" * 100_000, b'{"body": "' + b"[" * 100_000)
    for body in (beyond, halves, started(job).model_dump_json().replace('"at":0.0', '"at":NaN')):
        send(body)
    send(result(job).model_dump_json())
    with consuming(ctx):
        until(lambda: ctx.registry.letters.count() == 6)
        with redis.Redis.from_url(ctx.settings.redis_url) as client:
            until(lambda: client.hlen(keys.answers(WORKER)) == 1)
    assert counters(ctx, campaign) == {"complete": 1}
