"""Tests retries by users: a new job names the old one, which does not change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from sqlalchemy import update
from sqlmodel import Session

from orchestrator.operations.cancel import cancel_campaign, cancel_job
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import fill_queues
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.record import record
from orchestrator.operations.retry import retry_job
from orchestrator.operations.submit import Submitted
from orchestrator.store import campaigns
from orchestrator.store.tables import Campaign, Job, Lane
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.errors import IllegalTransition, InvalidInput, NotFound
from shared.ids import job_id
from tests.integration.api.conftest import serving
from tests.integration.reports import result
from tests.integration.test_way_of_a_job import counters, events, job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def _fail(ctx: Context, name: str) -> None:
    record(ctx, [result(name, status="failed", error="no", error_kind="model_invalid")])


def _status(ctx: Context, campaign: Campaign) -> str:
    with ctx.store.read() as session:
        return campaigns.get(session, campaign.id).status


def test_a_job_for_the_engine_of_a_package_that_is_gone_is_read_and_not_accepted_again(
    ctx: Context, submit: Submit, clock: FakeClock
) -> None:
    campaign = submit(jobs=1).campaign

    def as_it_was(session: Session) -> None:
        session.execute(update(Job).values(compute_unit="cpu.abacus"))
        session.execute(update(Lane).values(compute_unit="cpu.abacus"))

    ctx.store.transact(as_it_was)
    fill_queues(ctx, "the test asks")
    clock.advance(86_401)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 1
    assert job(ctx, campaign).error == "no worker with cpu.abacus"
    assert finish_ended(ctx) == 1
    (file,) = ctx.settings.outputs_dir.glob("*_results.csv")
    assert "cpu.abacus" in file.read_text()
    with pytest.raises(InvalidInput, match=r"unknown compute unit 'cpu\.abacus'"):
        retry_job(ctx, job_id(campaign.id, 1))
    assert counters(ctx, campaign) == {"failed": 1}


def test_a_retry_is_a_new_job_of_the_campaign_and_its_files_are_written_anew(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=2, timeout_s=77, priority=7).campaign
    old = job_id(campaign.id, 1)
    record(ctx, [result(job_id(campaign.id, 2))])
    _fail(ctx, old)
    assert finish_ended(ctx) == 1
    clock.advance(90_000)  # this is longer than the campaign's queue timeout
    new = retry_job(ctx, old).job
    assert (new.id, new.number, new.retry_of, new.attempt) == (job_id(campaign.id, 3), 3, old, 1)
    assert (new.workload["timeout_s"], new.priority) == (77, 7)
    assert _status(ctx, campaign) == "running"
    assert counters(ctx, campaign) == {"pending": 1, "complete": 1, "failed": 1}
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 0, "its own time to be started begins now"
    assert job(ctx, campaign, 3).dispatched_at is not None
    assert finish_ended(ctx) == 0
    clock.advance(1)
    record(ctx, [result(new.id)])
    assert counters(ctx, campaign) == {"complete": 2, "failed": 1}
    assert _status(ctx, campaign) == "completed"
    assert finish_ended(ctx) == 1
    newest = max(ctx.settings.outputs_dir.glob("*_results.csv"))
    assert len(newest.read_text().splitlines()) == 4
    assert (job(ctx, campaign).status, events(ctx, campaign)[-1]) == ("failed", "retried")


def test_only_what_failed_or_was_cancelled_is_retried(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=3).campaign
    record(ctx, [result(job_id(campaign.id, 1))])
    for number, state in ((1, "complete"), (2, "pending")):
        with pytest.raises(IllegalTransition, match=f"is {state}; a retry is for one that failed or was cancelled"):
            retry_job(ctx, job_id(campaign.id, number))
    cancel_job(ctx, job_id(campaign.id, 2))
    assert retry_job(ctx, job_id(campaign.id, 2)).job.number == 4
    cancel_campaign(ctx, campaign.id)
    with pytest.raises(IllegalTransition, match="was cancelled; submit its recipe again"):
        retry_job(ctx, job_id(campaign.id, 3))
    assert counters(ctx, campaign) == {"complete": 1, "cancelled": 3}
    with pytest.raises(NotFound):
        retry_job(ctx, f"campaign-{'0' * 18}-job-1")


def test_of_many_retries_at_once_one_makes_a_job_and_the_others_name_it(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    _fail(ctx, job_id(campaign.id, 1))
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: retry_job(ctx, job_id(campaign.id, 1)), range(6)))
    assert {one.job.id for one in made} == {job_id(campaign.id, 2)}
    assert sum(not one.replayed for one in made) == 1
    _fail(ctx, job_id(campaign.id, 2))
    assert retry_job(ctx, job_id(campaign.id, 1)).job.id == job_id(campaign.id, 3), "that one has ended, too"


class InterruptedClock(FakeClock):
    """Calls `act` when its owner reads the time for the first time."""

    def __init__(self, start: datetime, act: Callable[[], object]) -> None:
        super().__init__(start)
        self._act: Callable[[], object] | None = act

    def now(self) -> datetime:
        act, self._act = self._act, None
        if act is not None:
            act()
        return super().now()


def test_files_that_were_written_while_a_job_was_retried_are_written_again(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    _fail(ctx, job_id(campaign.id, 1))
    interrupted = dataclasses.replace(ctx, clock=InterruptedClock(clock.now(), lambda: retry_job(ctx, job_id(campaign.id, 1))))
    assert finish_ended(interrupted) == 1, "of the campaign as it was read"
    assert _status(ctx, campaign) == "running"
    record(ctx, [result(job_id(campaign.id, 2))])
    assert finish_ended(ctx) == 1, "with both jobs"


def test_a_retry_by_http(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    old, new = job_id(campaign.id, 1), job_id(campaign.id, 2)
    with serving(ctx) as api:
        assert api.post(f"/api/jobs/{old}/retry").status_code == 409
        _fail(ctx, old)
        answer = api.post(f"/api/jobs/{old}/retry")
        assert answer.status_code == 201
        assert answer.json() == {"job_id": new, "campaign_id": campaign.id, "retry_of": old, "status": "pending"}
        assert api.post(f"/api/jobs/{old}/retry").status_code == 200
        assert api.get(f"/api/jobs/{new}").json()["job"]["retry_of"] == old
