"""Tests who may report on an attempt, on both databases: the key of each worker, and the owner of each attempt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from sqlmodel import Session

from orchestrator.operations.authors import Said, doubts
from orchestrator.operations.context import Context
from orchestrator.operations.enrolment import remove, report_key_for, require_its_token
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.operations.tokens import create_token, revoke_token
from orchestrator.store import jobs
from orchestrator.store.tables import WorkerKey
from shared.capabilities import worker_queue
from shared.clock import FakeClock
from shared.errors import Forbidden
from shared.ids import job_id, worker_id_of
from shared.protocol.messages import AttemptLog, Report
from shared.protocol.signatures import sign
from shared.tokens import Role
from tests.integration.reports import INCARNATION, artifact, handed_back, result, started
from tests.integration.test_way_of_a_job import counters, events

Submit = Callable[..., Submitted]
Register = Callable[..., str]
JOB = "campaign-000000000000000000-job-1"
OTHER = "worker-b"


@pytest.fixture
def ctx(ctx: Context) -> Context:
    """Return a control plane in which each worker has its own login."""
    return dataclasses.replace(ctx, settings=ctx.settings.model_copy(update={"broker_logins": True}))


def said(worker_id: str, key: str | None) -> Said:
    report = started(JOB, worker_id=worker_id)
    body = report.model_dump_json().encode()
    return Said(report, body, sign(key, body) if key else "")


def refusals(ctx: Context, *reports: Report) -> list[str]:
    return [reason for _, reason in record(ctx, reports).refused]


def log_of(name: str, attempt: int, worker_id: str) -> AttemptLog:
    lines = artifact(b'{"attempt": 1, "message": "forged"}\n')
    return AttemptLog(job_id=name, attempt=attempt, worker_id=worker_id, incarnation=INCARNATION, log=lines)


def test_a_worker_has_one_key_until_it_is_removed_and_what_it_signed_counts_until_it_has_another(ctx: Context, register: Register) -> None:
    worker = register()
    first = report_key_for(ctx, worker, None)
    before = said(worker, first)
    assert report_key_for(ctx, worker, None) == first
    remove(ctx, worker)
    assert doubts(ctx, [before]) == [""]
    second = report_key_for(ctx, worker, None)
    assert second != first
    assert [bool(doubt) for doubt in doubts(ctx, [before, said(worker, second)])] == [True, False]


def test_a_worker_whose_stored_key_is_damaged_holds_up_no_other(ctx: Context, register: Register) -> None:
    damaged, sound = register(), register("other")
    lost, key = report_key_for(ctx, damaged, None), report_key_for(ctx, sound, None)

    def damage(session: Session) -> None:
        session.get_one(WorkerKey, damaged).secret = "no hexadecimal digits"

    ctx.store.transact(damage)
    doubt, none = doubts(ctx, [said(damaged, lost), said(sound, key)])
    assert f"says it is of {damaged}, whose stored key cannot be read: remove that worker (DELETE /api/workers/{damaged})" in doubt
    assert none == ""


def test_a_worker_with_a_key_is_believed_only_with_its_signature(ctx: Context, register: Register) -> None:
    worker, other = register(), register("other")
    key, others = report_key_for(ctx, worker, None), report_key_for(ctx, other, None)
    unsigned, wrong, right = doubts(ctx, [said(worker, None), said(worker, others), said(worker, key)])
    assert "is not signed: forged, or that worker is of an earlier version" in unsigned
    assert "is not signed with that worker's key" in wrong
    assert right == ""


def test_a_worker_that_never_got_a_key_is_believed_and_one_that_nobody_has_entered_is_not(ctx: Context, register: Register) -> None:
    earlier, unknown = doubts(ctx, [said(register(), None), said("worker-nobody", None)])
    assert earlier == ""
    assert "no worker of that name has enrolled here" in unknown


def test_without_logins_nobody_is_asked_to_sign(ctx: Context, register: Register) -> None:
    worker = register()
    key = report_key_for(ctx, worker, None)
    assert key
    open_to_all = dataclasses.replace(ctx, settings=ctx.settings.model_copy(update={"broker_logins": False}))
    assert report_key_for(open_to_all, worker, None) is None
    assert doubts(open_to_all, [said(worker, None), said("worker-nobody", None)]) == ["", ""]


def test_a_device_s_key_is_told_to_the_token_it_enrolled_with_while_that_can_be_used(ctx: Context, clock: FakeClock) -> None:
    mine, other, third = (
        create_token(ctx, name, Role.WORKER, days)[0].id for name, days in (("pi", 1), ("elsewhere", None), ("new", None))
    )
    worker = worker_id_of("pi")
    key = report_key_for(ctx, worker, mine)
    with pytest.raises(Forbidden, match=r"enrolled with the token .* \(pi\).*fleetmark token revoke token-"):
        require_its_token(ctx, "pi", other)
    with pytest.raises(Forbidden, match=r"enrolled with the token .* \(pi\).*fleetmark token revoke token-"):
        report_key_for(ctx, worker, other)
    require_its_token(ctx, "pi", mine)
    assert report_key_for(ctx, worker, None) == key, "an administrator may"
    clock.advance(2 * 86_400)
    assert report_key_for(ctx, worker, other) == key, "the first one has expired"
    with pytest.raises(Forbidden, match="elsewhere"):
        report_key_for(ctx, worker, third)
    revoke_token(ctx, other)
    assert report_key_for(ctx, worker, third) != key, "whoever had the revoked token may know the key"


def test_an_administrator_who_enrols_a_device_of_a_revoked_token_gives_it_a_new_key(ctx: Context) -> None:
    token = create_token(ctx, "pi", Role.WORKER)[0].id
    worker = worker_id_of("pi")
    key = report_key_for(ctx, worker, token)
    revoke_token(ctx, token)
    new = report_key_for(ctx, worker, None)
    assert new != key
    assert report_key_for(ctx, worker, None) == new


def test_a_removed_worker_may_come_back_with_any_token(ctx: Context, register: Register) -> None:
    first, second = (create_token(ctx, name, Role.WORKER)[0].id for name in ("old", "new"))
    worker = register("pi")
    key = report_key_for(ctx, worker, first)
    remove(ctx, worker)
    require_its_token(ctx, "pi", second)
    assert report_key_for(ctx, worker, second) != key
    with pytest.raises(Forbidden):
        report_key_for(ctx, worker, first)


def test_only_its_worker_may_report_on_a_running_attempt(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit().campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name)])
    forged: list[Report] = [
        started(name, worker_id=OTHER),
        result(name, worker_id=OTHER),
        handed_back(name).model_copy(update={"worker_id": OTHER}),
        log_of(name, 1, OTHER),
    ]
    reasons = refusals(ctx, *forged)
    assert reasons == [f"{OTHER} sent a {report.kind} of attempt 1 of {name}, which is an attempt of worker-a" for report in forged]
    assert ctx.registry.letters.count() == len(forged)
    assert (counters(ctx, campaign), events(ctx, campaign)) == ({"running": 1}, ["started"])
    assert refusals(ctx, result(name)) == []
    assert counters(ctx, campaign) == {"complete": 1}


@pytest.mark.parametrize("together", [True, False])
def test_a_late_result_of_an_earlier_attempt_is_its_worker_s(ctx: Context, submit: Submit, register: Register, together: bool) -> None:
    register()
    campaign = submit().campaign
    name = job_id(campaign.id, 1)
    reports: list[Report] = [started(name), handed_back(name), started(name, 2, OTHER), result(name, 1, worker_id=OTHER), result(name, 1)]
    found = refusals(ctx, *reports) if together else [reason for report in reports for reason in refusals(ctx, report)]
    assert found == [f"{OTHER} sent a result of attempt 1 of {name}, which is an attempt of worker-a"]
    assert counters(ctx, campaign) == {"complete": 1}
    assert refusals(ctx, result(name, 2, worker_id=OTHER)) == [], "it ran in good faith, and is told to let go"
    assert ctx.registry.redis.hgetall(f"fleetmark:answers:{OTHER}") == {f"{name}/2": "unwanted"}


def test_an_attempt_without_a_known_start_belongs_to_the_worker_that_sends_a_result(
    ctx: Context, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit().campaign
    assert refusals(ctx, result(job_id(campaign.id, 1))) == []
    assert counters(ctx, campaign) == {"complete": 1}


def test_what_waits_for_one_device_is_that_device_s(ctx: Context, submit: Submit, register: Register) -> None:
    mine = register("pi")
    campaign = submit(device="pi").campaign
    name = job_id(campaign.id, 1)
    with ctx.store.read() as session:
        assert jobs.get(session, name).queue == worker_queue(mine)
    forged: list[Report] = [started(name), result(name), handed_back(name)]
    for report in forged:
        assert refusals(ctx, report) == [f"worker-a sent a {report.kind} of attempt 1 of {name}, which is an attempt of {mine}"]
    assert refusals(ctx, started(name, worker_id=mine), result(name, worker_id=mine)) == []
    assert counters(ctx, campaign) == {"complete": 1}


def test_of_a_job_that_has_ended_another_can_change_neither_log_nor_samples(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit().campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name), result(name)])
    log = ctx.settings.outputs_dir / campaign.id / "logs" / f"{name}.log"
    kept = log.read_bytes()
    for said in (log_of(name, 1, OTHER), handed_back(name).model_copy(update={"worker_id": OTHER}), started(name, worker_id=OTHER)):
        assert refusals(ctx, said) == []
    again = result(name, worker_id=OTHER)
    again = again.model_copy(update={"artifacts": {"log.jsonl": artifact(b'{"attempt": 1, "message": "forged"}\n')}})
    assert refusals(ctx, again) == []
    assert events(ctx, campaign) == ["started", "complete", *["unwanted"] * 4]
    assert counters(ctx, campaign) == {"complete": 1}
    assert log.read_bytes() == kept
