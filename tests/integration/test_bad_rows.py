"""Tests that a row which this version cannot read affects no other job, call or sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text as sql_text
from sqlalchemy import update
from sqlmodel import col

from orchestrator.domain.stored import timeout_of
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import publish_again, top_up
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.open_lanes import MOST_UNREADABLE
from orchestrator.operations.record import record
from orchestrator.operations.retry import retry_job
from orchestrator.operations.submit import Submitted
from orchestrator.operations.turn import take
from orchestrator.store import in_flight, jobs
from orchestrator.store.tables import Job, Lane, ResultRow
from orchestrator.watch import Watch
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import keys
from shared.workers import WorkerStatus
from tests.integration.api.conftest import serving
from tests.integration.redis_time import pass_time
from tests.integration.reports import result, started
from tests.integration.test_way_of_a_job import counters, events, job

Submit = Callable[..., Submitted]
Register = Callable[..., str]

NEWER = {"format": 99, "model": {"source": "https://models.example/a.onnx", "name": "a.onnx"}}
NONSENSE: list[Any] = [NEWER, [], 3, "text", {}, {"model": 3}, {"model": {"source": 1}, "options": [1]}, {"timeout_s": "soon"}]


def spoil(ctx: Context, name: str, workload: Any = NEWER) -> None:
    """Store a workload for a job that this version cannot read."""
    ctx.store.transact(lambda session: session.execute(update(Job).where(col(Job.id) == name).values(workload=workload)))


NOT_JSON = ['{"format": 2, "model": {"sou', "", '{"timeout_s": NaN}', "[" * 100_000]


def damage(ctx: Context, table: str, column: str, text: str, where: str) -> None:
    """Write text that is not JSON into a JSON column, as a person or a damaged disk may do. Only SQLite accepts it."""
    key = "id" if table in ("jobs", "campaigns") else "job_id"
    statement = sql_text(f"UPDATE {table} SET {column} = :text WHERE {key} = :where")
    ctx.store.transact(lambda session: session.execute(statement, {"text": text, "where": where}))


@pytest.mark.parametrize("text", NOT_JSON)
def test_a_job_whose_work_is_no_json_fails_alone_and_every_call_answers(
    ctx: Context, submit: Submit, register: Register, text: str
) -> None:
    if not ctx.store.is_sqlite:
        return  # PostgreSQL refuses such a text
    campaign = submit(jobs=2).campaign
    damage(ctx, "jobs", "workload", text, job_id(campaign.id, 1))
    register()
    assert top_up(ctx) == 1
    bad = job(ctx, campaign, 1)
    assert (bad.status, bad.error_kind) == ("failed", "unreadable")
    assert str(bad.error).startswith("the stored workload is not JSON: ")
    assert counters(ctx, campaign) == {"pending": 1, "failed": 1}
    with serving(ctx) as api:
        _all_answer(api, campaign.id)


def test_a_campaign_whose_recipe_or_result_is_no_json_answers_every_call(ctx: Context, submit: Submit, register: Register) -> None:
    if not ctx.store.is_sqlite:
        return  # PostgreSQL refuses such a text
    worker = register()
    campaign = submit(jobs=2).campaign
    first, second = (job_id(campaign.id, number) for number in (1, 2))
    for name in (first, second):
        record(ctx, [started(name, worker_id=worker), result(name, worker_id=worker)])
    damage(ctx, "campaigns", "recipe", NOT_JSON[0], campaign.id)
    for column in ("row", "result"):
        damage(ctx, "results", column, NOT_JSON[0], first)
    with serving(ctx) as api:
        _all_answer(api, campaign.id)
        rows = api.get(f"/api/campaigns/{campaign.id}/results", params={"format": "json"}).json()
    assert finish_ended(ctx) == 1, rows


@pytest.mark.parametrize("workload", NONSENSE)
def test_a_job_that_cannot_be_read_fails_with_the_reason_and_the_others_are_sent(
    ctx: Context, submit: Submit, register: Register, workload: Any
) -> None:
    campaign = submit(jobs=3).campaign
    spoil(ctx, job_id(campaign.id, 2), workload)
    register()
    assert top_up(ctx) == 2
    bad = job(ctx, campaign, 2)
    assert (bad.status, bad.error_kind, events(ctx, campaign, 2)) == ("failed", "unreadable", ["failed"])
    assert bad.error is not None
    assert bad.error.startswith("the stored workload ")
    assert "submit the work again" in bad.error
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 2}
    assert counters(ctx, campaign) == {"pending": 2, "failed": 1}
    assert ctx.registry.redis.exists(keys.ended(bad.id)), "nobody runs an older copy of it"
    assert submit(jobs=1).campaign.pending_jobs == 1
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 3}


@pytest.mark.long
def test_a_large_campaign_that_cannot_be_read_is_not_locked_whole_in_one_turn(ctx: Context, submit: Submit, register: Register) -> None:
    campaign = submit(jobs=2_500).campaign
    bad = update(Job).where(col(Job.campaign_id) == campaign.id).values(workload=NEWER)
    ctx.store.transact(lambda session: session.execute(bad))
    register()
    able, quarantined = ctx.registry.fleets()
    taken = ctx.store.transact(lambda session: take(session, ctx.clock.now(), able, quarantined))
    assert len(taken.unreadable) == MOST_UNREADABLE
    assert top_up(ctx) == 0
    assert counters(ctx, campaign) == {"failed": 2_500}


def test_requirements_that_cannot_be_read_fail_the_jobs_that_have_them_alone(ctx: Context, submit: Submit, register: Register) -> None:
    campaign, other = submit(jobs=2).campaign, submit(jobs=1).campaign
    lanes = update(Lane).where(col(Lane.campaign_id) == campaign.id)
    ctx.store.transact(lambda session: session.execute(lanes.values(requires={"format": 2, "min_memory_mb": "much"})))
    register()
    assert top_up(ctx) == 1
    assert counters(ctx, campaign) == {"failed": 2}
    assert "the stored requirements cannot be read: min_memory_mb" in str(job(ctx, campaign).error)
    assert job(ctx, other).dispatched_at is not None


def test_a_campaign_is_accepted_beside_a_row_that_cannot_be_read(ctx: Context, submit: Submit, register: Register) -> None:
    spoil(ctx, job_id(submit(jobs=1).campaign.id, 1))
    register()
    body = {"model_url": "https://models.example/a.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]}
    with serving(ctx) as api:
        assert api.post("/api/campaigns", json=body).status_code == 201
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}


def test_the_watch_condemns_a_silent_worker_beside_rows_that_cannot_be_read(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """One job is damaged before it is sent, one while it runs, and one while its lost message is sent again."""
    worker = register()
    campaign = submit(jobs=2).campaign
    runs, vanished = job_id(campaign.id, 1), job_id(campaign.id, 2)
    record(ctx, [started(runs, worker_id=worker)])
    ctx.queue.purge(["cpu.onnx"])
    register("other")
    waits = submit(jobs=1, device="absent").campaign
    for name in (runs, vanished, job_id(waits.id, 1)):
        spoil(ctx, name)
    watch = Watch(ctx)
    for _ in range(4):
        ctx.registry.heartbeat(worker)
        assert (turn := watch.once()) is not None
        assert turn.steps_failed == 0
        clock.advance(ctx.registry.timeout_s / 3)
    assert events(ctx, campaign, 2) == ["failed"]
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    ctx.registry.redis.hset(keys.MONITOR, "last_sweep", ctx.registry.redis.time()[0])
    watch.once()
    assert ctx.registry.get(worker).status is WorkerStatus.FAULTY
    assert events(ctx, campaign, 1) == ["started", "lost"]


def test_a_step_of_a_sweep_that_fails_is_counted_and_stops_no_other(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = register()
    watch = Watch(ctx)

    def defect(*_: object) -> None:
        raise KeyError("a defect that nobody foresaw")

    monkeypatch.setattr("orchestrator.watch.sweep.keep_clocks", defect)
    for _ in range(4):
        ctx.registry.heartbeat(worker)
        watch.once()
        clock.advance(ctx.registry.timeout_s / 3)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    ctx.registry.redis.hset(keys.MONITOR, "last_sweep", ctx.registry.redis.time()[0])
    campaign = submit(jobs=1).campaign
    ctx.queue.purge(["cpu.onnx"])
    watch.once()
    assert ctx.registry.get(worker).status is WorkerStatus.FAULTY
    assert job(ctx, campaign).dispatched_at is None, "its queue is served by nobody"
    assert ctx.registry.monitor.counters()["steps_failed"] == 5


@pytest.mark.parametrize("workload", NONSENSE)
def test_every_call_answers_beside_a_row_that_cannot_be_read(ctx: Context, submit: Submit, workload: Any) -> None:
    campaign = submit(jobs=2).campaign
    spoil(ctx, job_id(campaign.id, 1), workload)
    with serving(ctx) as api:
        _all_answer(api, campaign.id)


def _all_answer(api: httpx.Client, campaign_id: str) -> None:
    first = job_id(campaign_id, 1)
    for path in (f"campaigns/{campaign_id}", "campaigns", "jobs", f"jobs/{first}", f"campaigns/{campaign_id}/results", "workers"):
        answer = api.get(f"/api/{path}")
        assert answer.status_code == 200, (path, answer.text)
    assert [one["job_id"] for one in api.get("/api/jobs").json()["jobs"]] == [job_id(campaign_id, number) for number in (2, 1)]


def test_a_campaign_with_rows_that_cannot_be_read_gets_its_files(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register()
    campaign = submit(jobs=3).campaign
    names = [job_id(campaign.id, number) for number in (1, 2, 3)]
    for name in names:
        record(ctx, [started(name, worker_id=worker), result(name, worker_id=worker)])
    spoil(ctx, names[0])
    ctx.store.transact(lambda session: session.execute(update(ResultRow).where(col(ResultRow.job_id) == names[1]).values(result={"a": 1})))
    assert finish_ended(ctx) == 1
    run = json.loads((ctx.settings.outputs_dir / campaign.id / "run.json").read_text())
    assert [one["workload"] is None for one in run["jobs"]] == [True, False, False]
    assert [one["attempt"] for one in run["jobs"]] == [1, 1, 1]


@pytest.mark.parametrize("kept", [[], {}, {"attempt": [1]}, {"artifacts": 3}])
def test_a_result_that_comes_again_beside_a_row_that_cannot_be_read_is_answered(
    ctx: Context, submit: Submit, register: Register, kept: Any
) -> None:
    worker = register()
    campaign = submit(jobs=2).campaign
    first, second = (job_id(campaign.id, number) for number in (1, 2))
    record(ctx, [started(first, worker_id=worker), result(first, worker_id=worker)])
    ctx.store.transact(lambda session: session.execute(update(ResultRow).where(col(ResultRow.job_id) == first).values(result=kept)))
    outcome = record(ctx, [result(first, worker_id=worker), result(second, worker_id=worker)])
    assert [answer[3] for answer in outcome.answers] == ["recorded", "recorded"]


def test_a_retry_of_a_job_that_cannot_be_read_fails_and_says_why(ctx: Context, submit: Submit, register: Register) -> None:
    campaign = submit(jobs=1).campaign
    spoil(ctx, job_id(campaign.id, 1))
    register()
    top_up(ctx)
    made = retry_job(ctx, job_id(campaign.id, 1))
    with ctx.store.read() as session:
        assert jobs.get(session, made.job.id).error_kind == "unreadable"
    assert counters(ctx, campaign) == {"failed": 2}


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "-inf"])
def test_what_redis_counts_and_is_no_number_stops_no_sweep(ctx: Context, value: str) -> None:
    ctx.registry.redis.hset(keys.MONITOR, mapping={"last_sweep": value, "odd": value})
    assert "odd" not in ctx.registry.monitor.counters()
    assert Watch(ctx).once() is not None


def test_a_job_that_cannot_be_read_is_not_counted_as_sent_again(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=3).campaign
    spoil(ctx, job_id(campaign.id, 2))
    with ctx.store.read() as session:
        found = jobs.some(session, [job_id(campaign.id, number) for number in (1, 2, 3)])
        session.expunge_all()
    assert publish_again(ctx, found) == 2
    assert events(ctx, campaign, 2) == ["failed"]


def test_of_each_running_job_the_watch_reads_its_timeout_and_not_the_rest_of_its_work(
    ctx: Context, submit: Submit, register: Register
) -> None:
    worker = register()
    campaign = submit(jobs=len(NONSENSE) + 1).campaign
    names = [job_id(campaign.id, number) for number in range(1, len(NONSENSE) + 2)]
    record(ctx, [started(name, worker_id=worker) for name in names])
    spoil(ctx, names[0], {"timeout_s": 77, "format": 99, "secret": "of no use to the watch"})
    for name, workload in zip(names[1:], NONSENSE, strict=True):
        spoil(ctx, name, workload)
    with ctx.store.read() as session:
        found = {one.id: one for one in in_flight.running(session)}
        stored = {name: jobs.get(session, name).workload for name in names}
    assert {name: one.timeout_s for name, one in found.items()} == {name: timeout_of(workload) for name, workload in stored.items()}
    assert found[names[0]].timeout_s == 77.0
    assert "of no use" not in str(found)
