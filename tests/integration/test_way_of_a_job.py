"""Tests submit, dispatch and record on both databases with a real Redis."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis
from sqlalchemy import select, update
from sqlmodel import col

from orchestrator.domain.lifecycle import HANDED_BACK_FREELY, HANDED_BACK_LIMIT
from orchestrator.operations.cancel import cancel_campaign, cancel_job
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.record import record
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import Submitted, submit_short
from orchestrator.store import campaigns, jobs, results, turns
from orchestrator.store.tables import Campaign, Job
from shared.clock import FakeClock
from shared.errors import Conflict, IllegalTransition, InvalidInput
from shared.ids import job_id
from shared.jobs import JobStatus
from shared.protocol import keys
from tests.integration.reports import WORKER, handed_back, result, started

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def job(ctx: Context, campaign: Campaign, number: int = 1) -> Job:
    with ctx.store.read() as session:
        found = jobs.get(session, job_id(campaign.id, number))
        session.expunge(found)
        return found


def counters(ctx: Context, campaign: Campaign) -> dict[str, int]:
    """Return the stored counters, which must equal the rows. Both are read in one statement, because others may write meanwhile."""
    statement = select(Campaign, col(Job.status)).join(Job, col(Job.campaign_id) == col(Campaign.id)).where(col(Campaign.id) == campaign.id)
    with ctx.store.read() as session:
        found = session.execute(statement).all()
        row, listed = found[0][0], [status for _, status in found]
        kept = {str(status): int(getattr(row, f"{status}_jobs")) for status in JobStatus}
        assert kept == {str(status): listed.count(str(status)) for status in JobStatus}, "counters equal the rows"
        return {status: number for status, number in kept.items() if number}


def events(ctx: Context, campaign: Campaign, number: int = 1) -> list[str]:
    with ctx.store.read() as session:
        return [event.kind for event in jobs.history(session, job_id(campaign.id, number))]


def test_an_accepted_campaign_is_in_the_table_and_waits_for_a_worker(ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=3, unit="GPU (ONNX)").campaign
    assert counters(ctx, campaign) == {"pending": 3}
    assert "no registered worker has gpu.cuda.onnx, gpu.rocm.onnx or gpu.directml.onnx yet" in campaign.warnings[0]
    with ctx.store.read() as session:
        lane = jobs.lane_of(session, jobs.get(session, job_id(campaign.id, 1)))
        assert lane.waiting_for == "waiting for a worker with gpu.cuda.onnx, gpu.rocm.onnx or gpu.directml.onnx"
    assert ctx.queue.depths(["gpu.cuda.onnx"]) == {"gpu.cuda.onnx": 0}


def test_a_label_goes_to_the_queue_of_a_living_worker(ctx: Context, submit: Submit, register: Register) -> None:
    register("lab-gpu", capabilities=("gpu.rocm.onnx",))
    campaign = submit(jobs=2, unit="GPU (ONNX)").campaign
    assert ctx.queue.depths(["gpu.cuda.onnx", "gpu.rocm.onnx"]) == {"gpu.cuda.onnx": 0, "gpu.rocm.onnx": 2}
    assert job(ctx, campaign).capability == "gpu.rocm.onnx"


def test_a_queue_holds_a_window_of_the_table_and_no_more(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=100).campaign
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 68}
    record(ctx, [started(job_id(campaign.id, 1)), started(job_id(campaign.id, 2))])
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 70}, "two were claimed (their messages are still here in this test)"


def test_an_urgent_campaign_does_not_wait_for_a_full_window(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    submit(jobs=100, priority=1)
    gate = submit(jobs=1, priority=9).campaign
    assert job(ctx, gate).dispatched_at is not None


def test_two_campaigns_share_the_window(ctx: Context, submit: Submit, register: Register) -> None:
    first = submit(jobs=100).campaign
    second = submit(jobs=100).campaign
    register()
    top_up(ctx)
    with ctx.store.read() as session:
        sent = {item.campaign_id: item.jobs for item in turns.waiting(session)}
    assert sent == {first.id: 34, second.id: 34}


def test_a_named_device_gets_its_jobs_on_its_own_queue(ctx: Context, submit: Submit, register: Register) -> None:
    register("one")
    two = register("two")
    submit(jobs=1, device="two")
    assert ctx.queue.depths([f"worker.{two}", "cpu.onnx"]) == {f"worker.{two}": 1, "cpu.onnx": 0}


def test_a_repeated_post_is_the_same_campaign(ctx: Context, submit: Submit) -> None:
    first = submit(jobs=2, key="gate-42")
    again = submit(jobs=2, key="gate-42")
    assert (again.campaign.id, again.replayed) == (first.campaign.id, True)
    with pytest.raises(Conflict, match="used for another body"):
        submit(jobs=3, key="gate-42")


def test_a_result_is_recorded_once_and_answered(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name)])
    assert counters(ctx, campaign) == {"running": 1}
    record(ctx, [result(name), result(name)])
    record(ctx, [result(name)])
    assert counters(ctx, campaign) == {"complete": 1}
    assert events(ctx, campaign) == ["started", "complete"]
    with redis.Redis.from_url(ctx.settings.redis_url, decode_responses=True) as client:
        assert client.hgetall(keys.answers(WORKER)) == {f"{name}/1": "recorded"}
    with ctx.store.read() as session:
        assert campaigns.get(session, campaign.id).status == "completed"
        kept = results.get(session, name)
        assert kept is not None
        assert (kept.row["Status"], kept.row["InferenceMsMedian"]) == ("Complete", 1.1)
    folder = ctx.settings.outputs_dir / campaign.id
    assert (folder / "samples" / f"{name}.npz").read_bytes() == b"raw samples"


def test_the_files_of_a_campaign_are_written_when_its_last_job_ends(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=2).campaign
    record(ctx, [result(job_id(campaign.id, 1))])
    assert finish_ended(ctx) == 0
    record(ctx, [result(job_id(campaign.id, 2), status="failed", error="operator Foo is not known", error_kind="model_invalid")])
    assert finish_ended(ctx) == 1
    assert finish_ended(ctx) == 0
    names = {path.name for path in (ctx.settings.outputs_dir / campaign.id).iterdir()}
    assert {"run.json", "summary.json", "report.md", "report.json", "results.csv", "recipe.yaml", "plots", "samples", "logs"} <= names
    [flat] = ctx.settings.outputs_dir.glob("*_results.csv")
    assert flat.name == f"{campaign.id}_20260301_120000_results.csv"
    assert "operator Foo is not known" in flat.read_text()
    assert json.loads((ctx.settings.outputs_dir / campaign.id / "run.json").read_text())["benchmark_id"] == campaign.id


def test_the_late_result_of_an_earlier_attempt_counts_and_stops_the_newer_one(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name), handed_back(name), started(name, attempt=2, worker_id="worker-b")])
    assert job(ctx, campaign).attempt == 2
    record(ctx, [result(name, attempt=1)])
    assert counters(ctx, campaign) == {"complete": 1}
    with redis.Redis.from_url(ctx.settings.redis_url) as client:
        assert client.exists(keys.ended(name))
    record(ctx, [result(name, attempt=2, worker_id="worker-b")])
    assert events(ctx, campaign)[-1] == "unwanted"


def test_a_failure_of_an_earlier_attempt_does_not_count(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name), handed_back(name), started(name, attempt=2)])
    record(ctx, [result(name, attempt=1, status="failed", error="late", error_kind="model_invalid")])
    assert counters(ctx, campaign) == {"running": 1}


def test_a_handed_back_job_goes_out_again_and_counts_no_loss(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name)])
    record(ctx, [handed_back(name)])
    again = job(ctx, campaign)
    assert (again.status, again.attempt, again.losses) == ("pending", 2, 0)
    assert again.dispatched_at is not None


def test_a_job_that_no_worker_keeps_goes_out_less_and_less_often_and_ends_with_the_reason(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    for attempt in range(1, HANDED_BACK_LIMIT + 1):
        assert counters(ctx, campaign) == {"pending": 1}
        record(ctx, [started(name, attempt), handed_back(name, attempt)])
        clock.advance(0 if attempt <= HANDED_BACK_FREELY else 60)
        top_up(ctx)
    ended = job(ctx, campaign)
    assert (ended.status, ended.attempt, ended.error_kind) == ("failed", HANDED_BACK_LIMIT, "handed_back")
    assert "handed back 100 times" in str(ended.error)
    assert "the worker was stopped" in str(ended.error)
    assert counters(ctx, campaign) == {"failed": 1}


def test_attempts_that_were_not_handed_back_are_no_hand_backs(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    first = HANDED_BACK_LIMIT - 1
    ctx.store.transact(lambda session: session.execute(update(Job).where(col(Job.id) == name).values(attempt=first)))
    for attempt in (first, first + 1, first + 2):
        record(ctx, [started(name, attempt), handed_back(name, attempt)])
        back = job(ctx, campaign)
        assert (back.status, back.attempt) == ("pending", attempt + 1)
        assert back.not_before is not None
        assert back.not_before <= clock.now(), "it goes out at once, as it was handed back only a few times"


def test_a_runner_that_dies_three_times_fails_the_job_with_the_reason(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    for attempt in (1, 2, 3):
        assert counters(ctx, campaign) == {"pending": 1}
        record(ctx, [started(name, attempt)])
        record(ctx, [result(name, attempt, status="failed", error="the runner died of SIGSEGV", error_kind="runner_died")])
        clock.advance(120)
        top_up(ctx)
    ended = job(ctx, campaign)
    assert (ended.status, ended.attempt) == ("failed", 3)
    assert "SIGSEGV" in str(ended.error)
    log = (ctx.settings.outputs_dir / campaign.id / "logs" / f"{name}.log").read_text()
    assert [json.loads(line)["attempt"] for line in log.splitlines()] == [1, 2, 3]


def test_a_cancelled_job_stays_cancelled_whatever_arrives(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=2).campaign
    name = job_id(campaign.id, 1)
    assert cancel_job(ctx, name).status == "cancelled"
    assert cancel_job(ctx, name).status == "cancelled", "asking again changes nothing"
    record(ctx, [started(name), result(name)])
    assert counters(ctx, campaign) == {"pending": 1, "cancelled": 1}
    record(ctx, [result(job_id(campaign.id, 2))])
    with pytest.raises(IllegalTransition, match="complete"):
        cancel_job(ctx, job_id(campaign.id, 2))


def test_cancelling_a_campaign_ends_every_unfinished_job(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=5).campaign
    record(ctx, [started(job_id(campaign.id, 1)), result(job_id(campaign.id, 2))])
    ended, stopped = cancel_campaign(ctx, campaign.id)
    assert (ended.status, stopped) == ("cancelled", 4)
    assert counters(ctx, campaign) == {"complete": 1, "cancelled": 4}
    assert finish_ended(ctx) == 1


def test_a_model_that_cannot_be_named_is_refused_and_nothing_is_written(ctx: Context) -> None:
    with pytest.raises(InvalidInput, match="the scheme 'ftp' is not fetched"):
        _submit_model(ctx, "ftp://models.example/a.onnx")
    with pytest.raises(InvalidInput, match="neither a URL"):
        _submit_model(ctx, "no-such-model")
    with pytest.raises(InvalidInput, match="was uploaded"):
        _submit_model(ctx, "sha256:" + "0" * 64)
    with ctx.store.read() as session:
        assert campaigns.page(session) == []


def _submit_model(ctx: Context, model_url: str) -> None:
    submit_short(ctx, ShortCampaign.model_validate({"model_url": model_url, "jobs": [{"compute_unit": "cpu.onnx"}]}, strict=False))
