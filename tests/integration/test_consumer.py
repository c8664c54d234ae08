"""Tests the consumer of results with a real queue."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from sqlalchemy import text

from orchestrator.consumer import ResultsConsumer
from orchestrator.operations.context import Context
from orchestrator.operations.submit import Submitted
from shared.celery_app import make_celery_app, results_queue
from shared.ids import job_id
from shared.protocol import keys
from shared.protocol.messages import Artifact, AttemptLog
from tests.integration.reports import INCARNATION, WORKER, artifact, result, started
from tests.integration.test_result_files import answers
from tests.integration.test_way_of_a_job import counters

pytestmark = pytest.mark.both_databases

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


def test_a_report_that_no_one_foresaw_holds_up_no_other(
    ctx: Context, submit: Submit, register: Register, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    campaign = submit(jobs=4).campaign
    latin, deep, broken, good = (job_id(campaign.id, number) for number in range(1, 5))
    not_ascii = {"log.jsonl": Artifact(sha256="0" * 64, size=1, inline="é")}
    nested = artifact(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n")
    with ctx.store.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET workload = :workload WHERE id = :id"), {"workload": '{"timeout_s": "soon"}', "id": broken})

    def defective(workload: Any) -> float:  # this stands for a defect that is not known yet
        return float(workload.get("timeout_s", 60.0))

    monkeypatch.setattr("orchestrator.operations.record.timeout_of", defective)
    with redis.Redis.from_url(ctx.settings.redis_url) as client:
        client.lpush("results", r'{"body": "\ud800", "properties": {}}')
    send(result(latin).model_copy(update={"artifacts": not_ascii}).model_dump_json())
    for _ in range(2):
        send(AttemptLog(job_id=deep, attempt=1, worker_id=WORKER, incarnation=INCARNATION, log=nested).model_dump_json())
    send(started(broken).model_dump_json())
    send(result(good).model_dump_json())
    with consuming(ctx):
        until(lambda: ctx.registry.letters.count() == 2 and not ctx.registry.redis.llen("results"))
    assert counters(ctx, campaign) == {"complete": 2, "pending": 2}
    assert answers(ctx) == {f"{latin}/1": "recorded", f"{good}/1": "recorded"}
    about_the_row, _ = ctx.registry.letters.newest(2)
    assert about_the_row.reason == "ValueError: could not convert string to float: 'soon'"


def test_a_queue_that_cannot_be_filled_buries_no_report(ctx: Context, submit: Submit, register: Register, send: Send) -> None:
    campaign = submit(jobs=2).campaign
    register()
    ctx.registry.redis.set("cpu.onnx\x06\x163", "somebody's own key where the queue belongs")
    send(result(job_id(campaign.id, 1)).model_dump_json())
    with consuming(ctx):
        until(lambda: answers(ctx) == {f"{job_id(campaign.id, 1)}/1": "recorded"})
    assert ctx.registry.letters.count() == 0
    assert ctx.registry.redis.llen("results") == 0


def test_a_redis_full_of_results_is_emptied_by_recording_them(ctx: Context, submit: Submit, register: Register, send: Send) -> None:
    register()
    campaign = submit(jobs=10).campaign
    names = [job_id(campaign.id, number) for number in range(1, 11)]
    samples = {"samples.npz": artifact(os.urandom(200_000))}
    send("not a report " + "x" * 200_000)
    for name in names:
        send(result(name).model_copy(update={"artifacts": samples}).model_dump_json())
    client = ctx.registry.redis
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 1_000_000)
    try:
        with pytest.raises(redis.OutOfMemoryError):
            client.set("fleetmark:anything", "more")
        with consuming(ctx):
            until(lambda: len(answers(ctx)) == 10 and ctx.registry.letters.count() == 1)
        client.set("fleetmark:anything", "more")
    finally:
        client.config_set("maxmemory", 0)
    assert counters(ctx, campaign) == {"complete": 10}
    assert client.exists(*(keys.ended(name) for name in names)) == 10


def test_a_report_that_the_database_will_never_take_is_no_outage(ctx: Context, submit: Submit, register: Register, send: Send) -> None:
    """This happens with a document larger than PostgreSQL's limit. The error is an `OperationalError`, but waiting does not help."""
    register()
    campaign = submit(jobs=3).campaign
    names = [job_id(campaign.id, number) for number in (1, 2, 3)]
    refusal = [f"CREATE TRIGGER limits BEFORE INSERT ON results WHEN NEW.job_id = '{names[1]}' BEGIN SELECT json('{{'); END"]
    if not ctx.store.is_sqlite:
        code = "BEGIN RAISE EXCEPTION 'too large' USING ERRCODE = 'program_limit_exceeded'; END"
        condition = f"BEFORE INSERT ON results FOR EACH ROW WHEN (NEW.job_id = '{names[1]}')"
        refusal = [
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {code} $$",
            f"CREATE TRIGGER limits {condition} EXECUTE FUNCTION refuse()",
        ]
    with ctx.store.engine.begin() as connection:
        for statement in refusal:
            connection.exec_driver_sql(statement)
    for name in names:
        send(result(name).model_dump_json())
    with consuming(ctx):
        until(lambda: ctx.registry.letters.count() == 1 and not ctx.registry.redis.llen("results"))
        until(lambda: len(answers(ctx)) == 2)
    assert counters(ctx, campaign) == {"complete": 2, "pending": 1}
    assert names[1] in ctx.registry.letters.newest(1)[0].message
