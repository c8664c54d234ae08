"""Tests that every transition of the state tables is made or refused in the database and in Redis."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.operations.cancel import cancel_job
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import publish_again
from orchestrator.operations.record import record
from orchestrator.operations.recovery import Lost, Overdue, end_overdue, lose, note_starts, postpone, undispatch
from orchestrator.operations.submit import Submitted
from orchestrator.registry import Registry
from orchestrator.store import jobs
from orchestrator.store.moves import Moves, lock_jobs
from shared.errors import Conflict, IllegalTransition, NotFound
from shared.ids import job_id
from shared.jobs import TERMINAL, TRANSITIONS, JobStatus
from shared.protocol import scripts
from shared.protocol.messages import Report
from shared.workers import TRANSITIONS as WORKER_STEPS
from shared.workers import DeviceInfo, Registration, WorkerStatus
from tests.integration.conftest import NOON
from tests.integration.reports import handed_back, result, started
from tests.integration.test_way_of_a_job import counters, events, job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]
Act = Callable[[Context, str], object]

INTO: Mapping[JobStatus, Act] = {
    JobStatus.PENDING: lambda *_: None,
    JobStatus.RUNNING: lambda ctx, name: record(ctx, [started(name)]),
    JobStatus.COMPLETE: lambda ctx, name: record(ctx, [result(name)]),
    JobStatus.FAILED: lambda ctx, name: record(ctx, [result(name, status="failed", error="no", error_kind="model_invalid")]),
    JobStatus.CANCELLED: cancel_job,
}


def _overdue(ctx: Context, name: str, seen: JobStatus, ends: JobStatus) -> object:
    with ctx.store.read() as session:
        deadline_at = jobs.get(session, name).deadline_at
    return end_overdue(ctx, {name: Overdue(1, deadline_at, seen, ends, "late", EventKind.DEADLINE_EXCEEDED)})


# Each event has a function that causes it, the state and attempt to which it leads from `pending`, and those to which it leads from
# `running`.
EVENTS: Mapping[str, tuple[Act, tuple[str, int], tuple[str, int]]] = {
    "its start": (lambda ctx, name: record(ctx, [started(name)]), ("running", 1), ("running", 1)),
    "a result": (lambda ctx, name: record(ctx, [result(name)]), ("complete", 1), ("complete", 1)),
    "a failure": (INTO[JobStatus.FAILED], ("failed", 1), ("failed", 1)),
    "a death": (
        lambda ctx, name: record(ctx, [result(name, status="failed", error="SIGSEGV", error_kind="runner_died")]),
        ("pending", 2),
        ("pending", 2),
    ),
    "a stop that nobody asked for": (
        lambda ctx, name: record(ctx, [result(name, status="cancelled", error="stopped")]),
        ("pending", 2),
        ("pending", 2),
    ),
    "handed back": (lambda ctx, name: record(ctx, [handed_back(name)]), ("pending", 2), ("pending", 2)),
    "lost": (lambda ctx, name: lose(ctx, {name: (1, "worker-a fell silent")}), ("pending", 1), ("pending", 2)),
    "a user's cancel": (cancel_job, ("cancelled", 1), ("cancelled", 1)),
    "its deadline": (lambda ctx, name: _overdue(ctx, name, JobStatus.RUNNING, JobStatus.CANCELLED), ("pending", 1), ("cancelled", 1)),
    "no start in time": (lambda ctx, name: _overdue(ctx, name, JobStatus.PENDING, JobStatus.FAILED), ("failed", 1), ("running", 1)),
}


@pytest.mark.parametrize("seen", list(JobStatus))
def test_a_job_takes_the_steps_of_the_table_in_the_database_and_no_other(ctx: Context, submit: Submit, seen: JobStatus) -> None:
    campaign = submit(jobs=len(JobStatus)).campaign
    for number, wanted in enumerate(JobStatus, start=1):
        name = job_id(campaign.id, number)
        INTO[seen](ctx, name)
        before = counters(ctx, campaign)

        def step(session: Session, name: str = name, wanted: JobStatus = wanted) -> None:
            moves = Moves(session, ctx.clock.now())
            moves.step(lock_jobs(session, [name])[name], wanted)
            moves.flush()

        if wanted in TRANSITIONS[seen]:
            ctx.store.transact(step)
            assert job(ctx, campaign, number).status == wanted
            expected = dict.fromkeys(JobStatus, 0) | before
            expected[seen] -= 1
            expected[wanted] += 1
            assert counters(ctx, campaign) == {status: count for status, count in expected.items() if count}
        else:
            with pytest.raises(IllegalTransition, match=f"is {seen}; it cannot become {wanted}"):
                ctx.store.transact(step)
            assert job(ctx, campaign, number).status == seen
            assert counters(ctx, campaign) == before


@pytest.mark.parametrize("seen", list(JobStatus))
def test_every_event_leads_a_job_to_the_state_in_the_table(ctx: Context, submit: Submit, register: Register, seen: JobStatus) -> None:
    register()
    campaign = submit(jobs=len(EVENTS)).campaign
    for number, (what, (act, from_pending, from_running)) in enumerate(EVENTS.items(), start=1):
        name = job_id(campaign.id, number)
        INTO[seen](ctx, name)
        if act is cancel_job and seen in (JobStatus.COMPLETE, JobStatus.FAILED):
            with pytest.raises(IllegalTransition, match="cannot be cancelled"):
                act(ctx, name)
        else:
            act(ctx, name)
        after = job(ctx, campaign, number)
        leads_to = {JobStatus.PENDING: from_pending, JobStatus.RUNNING: from_running}.get(seen, (str(seen), 1))
        assert (after.status, after.attempt) == leads_to, f"{what}, while {seen}"
        assert (after.ended_at is not None) == (JobStatus(after.status) in TERMINAL)
        assert (after.worker_id is not None) <= (after.status != "pending"), "what waits belongs to nobody"
        assert sum(counters(ctx, campaign).values()) == len(EVENTS)


def test_a_row_that_moved_under_its_writer_is_left_alone_and_nothing_else_is_written(ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=2).campaign
    first, second = job_id(campaign.id, 1), job_id(campaign.id, 2)

    def write(session: Session) -> None:
        moves = Moves(session, ctx.clock.now())
        locked = lock_jobs(session, [first, second])
        locked[second].status = "running"  # the row looks as if it had been read before another process changed it
        moves.step(locked[first], JobStatus.COMPLETE)
        moves.step(locked[second], JobStatus.COMPLETE)
        moves.flush()

    with pytest.raises(IllegalTransition, match="1 of 2 jobs changed under a lock; nothing was written"):
        ctx.store.transact(write)
    assert counters(ctx, campaign) == {"pending": 2}


@pytest.mark.parametrize("seen", [JobStatus.PENDING, JobStatus.RUNNING])
def test_what_is_said_of_an_earlier_attempt_is_kept_and_changes_nothing(
    ctx: Context, submit: Submit, register: Register, seen: JobStatus
) -> None:
    register()
    reports: list[Report] = []
    campaign = submit(jobs=5).campaign
    for number in range(1, 6):
        name = job_id(campaign.id, number)
        record(ctx, [started(name), handed_back(name)])
        if seen is JobStatus.RUNNING:
            record(ctx, [started(name, attempt=2)])
        said: list[Report] = [
            *(started(name), handed_back(name), result(name, status="cancelled", error="stopped")),
            *(result(name, status="failed", error="it", error_kind=kind) for kind in ("model_invalid", "runner_died")),
        ]
        reports.append(said[number - 1])
    before = [job(ctx, campaign, number).model_dump() for number in range(1, 6)]
    outcome = record(ctx, reports)
    assert [job(ctx, campaign, number).model_dump() for number in range(1, 6)] == before
    assert {events(ctx, campaign, number)[-1] for number in range(1, 6)} == {"unwanted"}
    assert [verdict for *_, verdict in outcome.answers] == ["unwanted"] * 3
    assert counters(ctx, campaign) == {str(seen): 5}


def test_what_another_process_says_of_the_running_attempt_changes_nothing_unless_it_is_a_result(
    ctx: Context, submit: Submit, register: Register
) -> None:
    """The claim was taken over: a worker restarted, and the first process still reports how its run of the same attempt ended."""
    register()
    campaign = submit(jobs=4).campaign
    names = [job_id(campaign.id, number) for number in range(1, 5)]
    record(ctx, [started(name, incarnation="the-second-process") for name in names])
    failures = [result(names[0], status="failed", error="it", error_kind="model_invalid"), result(names[1], status="cancelled", error="it")]
    outcome = record(ctx, [*failures, handed_back(names[2]), result(names[3])])
    assert [job(ctx, campaign, number).status for number in range(1, 5)] == ["running", "running", "running", "complete"]
    assert [events(ctx, campaign, number)[-1] for number in range(1, 5)] == ["unwanted", "unwanted", "unwanted", "complete"]
    assert [verdict for *_, verdict in outcome.answers] == ["unwanted", "unwanted", "recorded"]


def test_what_a_watch_saw_before_changes_nothing_that_moved_since(ctx: Context, submit: Submit, register: Register) -> None:
    """The watch was paused between its look and its action, or another watch leads. By now the job is at its second attempt."""
    register()
    campaign = submit(jobs=2).campaign
    runs, waits = job_id(campaign.id, 1), job_id(campaign.id, 2)
    seen = [job(ctx, campaign, number) for number in (1, 2)]
    record(ctx, [started(runs), handed_back(runs), started(runs, attempt=2), started(waits), handed_back(waits)])
    before = [job(ctx, campaign, number).model_dump() for number in (1, 2)]
    assert before[1]["dispatched_at"] is not None
    assert lose(ctx, {runs: (1, "fell silent"), waits: (1, "fell silent")}) == Lost()
    for status in (JobStatus.RUNNING, JobStatus.PENDING):
        assert (
            end_overdue(
                ctx, {name: Overdue(1, None, status, JobStatus.FAILED, "late", EventKind.DEADLINE_EXCEEDED) for name in (runs, waits)}
            )
            == []
        )
    assert (postpone(ctx, {runs: (1, NOON)}), undispatch(ctx, seen), publish_again(ctx, seen)) == (0, 0, 0)
    assert note_starts(ctx, {runs: (1, "worker-b", "other"), waits: (1, "worker-b", "other")}) == 0
    assert [job(ctx, campaign, number).model_dump() for number in (1, 2)] == before
    assert counters(ctx, campaign) == {"pending": 1, "running": 1}


def test_a_job_whose_deadline_another_watch_has_moved_since_it_was_seen_is_not_ended_by_the_old_one(
    ctx: Context, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name)])
    seen = job(ctx, campaign).deadline_at
    assert postpone(ctx, {name: (1, NOON + timedelta(days=1))}) == 1
    assert end_overdue(ctx, {name: Overdue(1, seen, JobStatus.RUNNING, JobStatus.CANCELLED, "late", EventKind.DEADLINE_EXCEEDED)}) == []
    assert counters(ctx, campaign) == {"running": 1}


@pytest.fixture
def registry(redis_url: str) -> Iterator[Registry]:
    made = Registry(redis_url, timeout_s=30)
    yield made
    made.close()


def _worker(registry: Registry, seen: WorkerStatus) -> str:
    device = Registration(device_name="pi", capabilities=["cpu.onnx"], device_info=DeviceInfo(UDID="pi"))
    worker_id, _ = registry.register(device)
    for step in {WorkerStatus.ACTIVE: (), WorkerStatus.CLEANUP: (WorkerStatus.BUSY, seen)}.get(seen, (seen,)):
        registry.set_status(worker_id, step)
    return worker_id


@pytest.mark.parametrize(("seen", "wanted"), list(itertools.product(WorkerStatus, WorkerStatus)))
def test_a_worker_takes_the_steps_of_the_table_in_redis_and_no_other(registry: Registry, seen: WorkerStatus, wanted: WorkerStatus) -> None:
    for ask in (registry.set_status, registry.heartbeat):
        worker_id = _worker(registry, seen)
        if wanted is seen is WorkerStatus.GONE and ask == registry.heartbeat:
            with pytest.raises(Conflict, match="is gone; it has to register again"):
                ask(worker_id, wanted)
        elif wanted is seen or wanted in WORKER_STEPS[seen]:
            ask(worker_id, wanted)
            assert registry.get(worker_id).status is wanted
        else:
            with pytest.raises(IllegalTransition, match=f"is {seen}; it "):
                ask(worker_id, wanted)
            assert registry.get(worker_id).status is seen


def test_a_worker_that_is_gone_comes_back_by_registering_and_not_by_a_beat(registry: Registry) -> None:
    worker_id = _worker(registry, WorkerStatus.ACTIVE)
    registry.remove(worker_id)
    beat = [worker_id, "", "busy", "", "[]", "", "", ""]
    assert registry.redis.eval(scripts.HEARTBEAT, 0, *beat) == ["unknown"], "its process is told to register again"
    with pytest.raises(Conflict, match="has to register again"):
        registry.heartbeat(worker_id)
    assert registry.get(worker_id).status is WorkerStatus.GONE
    assert _worker(registry, WorkerStatus.ACTIVE) == worker_id
    assert registry.get(worker_id).status is WorkerStatus.ACTIVE
    with pytest.raises(NotFound, match="GET /api/workers lists them"):
        registry.heartbeat("worker-nobody")


def test_of_many_who_take_a_step_at_once_one_does(registry: Registry) -> None:
    worker_id = _worker(registry, WorkerStatus.ACTIVE)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda _: registry.redis.eval(scripts.STEP, 0, worker_id, "active", "busy"), range(8)))
    assert sorted(won) == [0] * 7 + [1]


def test_only_a_silent_worker_is_condemned_and_by_one_watch(redis_url: str) -> None:
    registry = Registry(redis_url, timeout_s=0.3)
    worker_id = _worker(registry, WorkerStatus.BUSY)
    assert not registry.condemn(worker_id), "it was heard of a moment ago"
    assert registry.get(worker_id).status is WorkerStatus.BUSY
    registry.redis.hincrby(f"fleetmark:worker:{worker_id}", "last_seen", -1_000)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: registry.condemn(worker_id), range(4))) == [False, False, False, True]
    assert registry.get(worker_id).status is WorkerStatus.FAULTY
    registry.close()
