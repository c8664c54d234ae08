"""Tests pairs of concurrent operations: the second sees what the first has done."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import Session

from orchestrator.consumer.inbox import Inbox
from orchestrator.operations.cancel import cancel_campaign, cancel_job
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.models import path_of, store_model
from orchestrator.operations.record import record
from orchestrator.operations.reset import reset
from orchestrator.operations.retry import retry_job
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import Submitted, submit_short
from orchestrator.store import campaigns
from orchestrator.store.moves import Moves, lock_jobs
from orchestrator.store.tables import ModelFile
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.errors import IllegalTransition, InvalidInput
from shared.ids import job_id
from shared.jobs import JobStatus
from tests.integration.reports import handed_back, result, started
from tests.integration.test_way_of_a_job import counters, events

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def test_a_campaign_whose_last_job_ends_while_it_is_cancelled_stays_completed(ctx: Context, submit: Submit, register: Register) -> None:
    campaign = submit(jobs=1).campaign
    locked, go_on = threading.Event(), threading.Event()

    def complete(session: Session) -> None:
        moves = Moves(session, ctx.clock.now())
        [job] = lock_jobs(session, [job_id(campaign.id, 1)]).values()
        moves.step(job, JobStatus.COMPLETE)
        locked.set()
        assert go_on.wait(10)
        moves.flush()

    with ThreadPoolExecutor() as pool:
        recording = pool.submit(ctx.store.transact, complete)
        assert locked.wait(10)
        cancelling = pool.submit(cancel_campaign, ctx, campaign.id)
        with pytest.raises(TimeoutError):
            cancelling.result(timeout=0.5)
        go_on.set()
        recording.result(10)
        with pytest.raises(IllegalTransition, match="completed"):
            cancelling.result(10)
    with ctx.store.read() as session:
        assert campaigns.get(session, campaign.id).status == "completed"


def test_a_job_retried_while_its_campaign_is_cancelled_is_cancelled_with_it(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=2).campaign
    record(ctx, [result(job_id(campaign.id, 1), status="failed", error="no", error_kind="model_invalid")])
    locked, go_on = threading.Event(), threading.Event()

    def hold(session: Session) -> None:
        assert lock_jobs(session, [job_id(campaign.id, 2)])
        locked.set()
        assert go_on.wait(30)

    def retry() -> None:
        with contextlib.suppress(IllegalTransition):  # SQLite has one writer at a time, so the cancel may come first
            retry_job(ctx, job_id(campaign.id, 1))

    with ThreadPoolExecutor() as pool:
        holding = pool.submit(ctx.store.transact, hold)
        assert locked.wait(10)
        cancelling = pool.submit(cancel_campaign, ctx, campaign.id)
        with pytest.raises(TimeoutError):
            cancelling.result(timeout=0.5)  # on PostgreSQL, the cancel has read the list of jobs and waits for the lock on one of them
        retrying = pool.submit(retry)
        if not ctx.store.is_sqlite:
            retrying.result(30)
        go_on.set()
        for future in (holding, retrying, cancelling):
            future.result(30)
    with ctx.store.read() as session:
        assert campaigns.get(session, campaign.id).status == "cancelled"
    assert counters(ctx, campaign).keys() == {"failed", "cancelled"}
    with pytest.raises(IllegalTransition, match="submit its recipe again"):
        retry_job(ctx, job_id(campaign.id, 1))


def test_the_same_model_uploaded_twice_at_once_is_one_model(ctx: Context) -> None:
    content = b"the same bytes"
    sha256 = hashlib.sha256(content).hexdigest()
    inserted, go_on = threading.Event(), threading.Event()

    def first(session: Session) -> None:
        session.add(ModelFile(sha256=sha256, name="first.onnx", size=len(content), created_at=ctx.clock.now()))
        session.flush()
        inserted.set()
        assert go_on.wait(10)

    with ThreadPoolExecutor() as pool:
        one = pool.submit(ctx.store.transact, first)
        assert inserted.wait(10)
        other = pool.submit(store_model, ctx, [content], "second.onnx")
        with pytest.raises(TimeoutError):
            other.result(timeout=0.5)
        go_on.set()
        one.result(10)
        assert other.result(10).sha256 == sha256
    assert path_of(ctx, sha256).read_bytes() == content
    assert list(ctx.settings.models_dir.glob(".part-*")) == []


def test_an_uploaded_model_whose_file_is_gone_is_refused_at_once(ctx: Context) -> None:
    stored = store_model(ctx, [b"bytes"], "m.onnx")
    path_of(ctx, stored.sha256).unlink()
    short = {"model_url": f"sha256:{stored.sha256}", "jobs": [{"compute_unit": "cpu.onnx"}]}
    with pytest.raises(InvalidInput, match=r"is gone; POST /api/models takes it again"):
        submit_short(ctx, ShortCampaign.model_validate(short, strict=False))


def test_one_key_from_many_at_once_is_one_campaign(ctx: Context, submit: Submit) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: submit(jobs=3, key="gate-42"), range(8)))
    assert len({one.campaign.id for one in made}) == 1
    assert sum(not one.replayed for one in made) == 1
    assert counters(ctx, made[0].campaign) == {"pending": 3}


def test_the_same_results_recorded_by_many_at_once_count_once(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=20).campaign
    reports = [result(job_id(campaign.id, number)) for number in range(1, 21)]
    with ThreadPoolExecutor(4) as pool:
        for batch in pool.map(lambda turn: record(ctx, reports if turn % 2 else reports[::-1]), range(8)):
            assert {verdict for *_, verdict in batch.answers} == {"recorded"}
    assert counters(ctx, campaign) == {"complete": 20}


def test_a_batch_whose_coming_was_not_heard_is_given_again(ctx: Context) -> None:
    inbox = Inbox(ctx.settings.redis_url)
    ctx.registry.redis.rpush("results", "second", "first")
    assert [message.text for message in inbox.take(10)] == ["first", "second"]
    ctx.registry.redis.lpush("results", "third")
    assert [message.text for message in inbox.take(10)] == ["first", "second"], "as if the answer had been lost with the connection"
    inbox.done()
    assert [message.text for message in inbox.take(10)] == ["third"]
    inbox.close()
    assert ctx.registry.redis.lrange("results", 0, -1) == ["third"]


def test_a_campaign_whose_files_cannot_be_written_holds_up_no_other(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    ended = [submit(jobs=1).campaign for _ in range(3)]
    for campaign in ended:
        record(ctx, [result(job_id(campaign.id, 1))])
    bad = sorted(campaign.id for campaign in ended)[0]
    (ctx.settings.outputs_dir / bad / "plots").write_text("a file where a folder belongs")
    assert finish_ended(ctx) == 2
    assert finish_ended(ctx) == 0
    (ctx.settings.outputs_dir / bad / "plots").unlink()
    assert finish_ended(ctx) == 1


def test_any_number_of_campaigns_whose_files_cannot_be_written_hold_up_no_other(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """There are as many such campaigns as are looked up at once.

    Some are older and some are newer than the campaign whose files can be written.
    """
    register()

    def ended() -> str:
        clock.advance(0.01)  # ids are sorted by this time
        campaign = submit(jobs=1).campaign
        record(ctx, [result(job_id(campaign.id, 1))])
        return campaign.id

    older, good, newer = [ended() for _ in range(campaigns.PAGE)], ended(), [ended() for _ in range(campaigns.PAGE)]
    for bad in [*older, *newer]:
        (ctx.settings.outputs_dir / bad / "plots").write_text("a file where a folder belongs")
    assert finish_ended(ctx) == 1
    with ctx.store.read() as session:
        assert campaigns.get(session, good).reported_at is not None


def test_a_reset_forgets_everything_while_work_is_running(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=30).campaign
    reports = [result(job_id(campaign.id, number)) for number in range(1, 31)]
    record(ctx, reports[:5])
    with ThreadPoolExecutor() as pool:
        recording = [pool.submit(record, ctx, reports[start : start + 5]) for start in range(5, 30, 5)]
        cleared = pool.submit(reset, ctx)
        for one in recording:
            assert {verdict for *_, verdict in one.result(30).answers} <= {"recorded", "unwanted"}
        assert cleared.result(30).campaigns == 1
    reset(ctx)
    [(*_, verdict)] = record(ctx, reports[:1]).answers
    assert verdict == "unwanted"
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 0}
    assert submit(jobs=1).campaign.total_jobs == 1


def test_a_large_campaign_is_cancelled_with_its_history(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=60).campaign
    record(ctx, [result(job_id(campaign.id, 1))])
    assert cancel_campaign(ctx, campaign.id)[1] == 59
    assert counters(ctx, campaign) == {"complete": 1, "cancelled": 59}
    assert [events(ctx, campaign, number) for number in (1, 2, 60)] == [["complete"], ["cancelled"], ["cancelled"]]


def test_everything_at_once_leaves_counters_that_equal_the_rows(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register()
    made = [submit(jobs=40).campaign for _ in range(3)]
    names = [job_id(campaign.id, number) for number in range(1, 41) for campaign in made]

    def quietly(work: Callable[[], object]) -> None:
        with contextlib.suppress(IllegalTransition):
            work()

    turns: list[Callable[[], object]] = []
    for start in range(0, len(names), 10):
        some = names[start : start + 10]
        turns += [
            # In these four lines, the default value binds the variable.
            lambda some=some: record(ctx, [started(name, worker_id=worker) for name in some]),  # type: ignore[misc]
            lambda some=some: record(ctx, [handed_back(name) for name in some[:3]]),  # type: ignore[misc]
            lambda some=some: record(ctx, [result(name, worker_id=worker) for name in reversed(some)]),  # type: ignore[misc]
            lambda some=some: cancel_job(ctx, some[5]),  # type: ignore[misc]
            lambda: top_up(ctx),
            lambda: sweep(ctx, Memory(), may_condemn=True),
        ]
    turns.insert(20, lambda: cancel_campaign(ctx, made[1].id))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(quietly, turns))
    for campaign in made:
        assert sum(counters(ctx, campaign).values()) == 40
    record(ctx, [result(name, worker_id=worker) for name in names])
    for campaign in made:
        assert counters(ctx, campaign).keys() <= {"complete", "cancelled"}
