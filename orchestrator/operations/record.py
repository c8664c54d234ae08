"""Records what workers report, one transaction per batch. Work may run twice after a failure, but a result is recorded once.

A complete result of any issued attempt counts if the job has not ended. A failure counts only for the current attempt, and only from
the process that runs it. A report that does not count is kept as an event. If it is a result, it is answered `unwanted`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from orchestrator.domain.buckets import DURATION, WAIT, Observation
from orchestrator.domain.events import EventKind
from orchestrator.domain.lifecycle import RETRIED_KINDS, deadline, next_try_of_handed_back
from orchestrator.domain.stored import timeout_of
from orchestrator.operations.authors import other_speaker
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import fill_queues
from orchestrator.operations.figures import figure_rows
from orchestrator.operations.kept_files import keep_files
from orchestrator.operations.recorded import Recorded
from orchestrator.operations.removal import remove_files_of_unknown
from orchestrator.operations.rows import row_of_result
from orchestrator.operations.setbacks import set_back
from orchestrator.reports.tables import csv_line
from orchestrator.store import campaigns, jobs, results
from orchestrator.store.bulk import insert_many
from orchestrator.store.moves import LockedJob, Moves, lock_jobs
from orchestrator.store.tables import FigureRow, ResultRow
from shared.jobs import TERMINAL, JobStatus
from shared.protocol.messages import RECORDED, UNWANTED, AttemptLog, HandBack, Report, Result, Started

log = logging.getLogger(__name__)


def record(ctx: Context, batch: Sequence[Report]) -> Recorded:
    """Record a batch, answer its workers, and send new jobs to the places that became free.

    Raises:
        Unavailable: the database or Redis does not answer. Record the same batch again then; that is safe.
    """
    outcome = ctx.store.transact(lambda session: _write(session, ctx, batch))
    unkept = keep_files(ctx, outcome)
    ctx.registry.marks.tombstone(outcome.ended_jobs)  # copies of their messages may wait in a queue, and a newer attempt may run
    ctx.registry.marks.answer(answer for answer in outcome.answers if answer[3] == UNWANTED or answer[1:3] not in unkept)
    for report, reason in outcome.refused:
        log.warning("a report goes to the dead letters: %s", reason)
        ctx.registry.letters.bury(report.model_dump_json(), reason)
    if outcome.ended_campaigns:
        ctx.wake_reporter()
        _quietly_forget(ctx, outcome.ended_campaigns)
    _quietly_count(ctx, outcome.observations)
    fill_queues(ctx, f"{len(batch)} reports are recorded and answered")
    return outcome


def _quietly_forget(ctx: Context, campaign_ids: list[str]) -> None:
    """Remove the files that were just kept for campaigns that a user removed between our transaction and the writing of the files."""
    try:
        remove_files_of_unknown(ctx, campaign_ids)
    except OSError as error:
        log.warning("files of a removed campaign stay: %s", error)


def _quietly_count(ctx: Context, observations: Sequence[Observation]) -> None:
    """Add to the histograms. These jobs are recorded and answered, so a failure here must not make their reports fail."""
    try:
        ctx.registry.histograms.add(observations)
    except Exception as error:  # noqa: BLE001 (whatever it is, the reports are recorded)
        log.warning("%d jobs are missing from the histograms: %s", len(observations), error)


def _write(session: Session, ctx: Context, batch: Sequence[Report]) -> Recorded:
    locked = lock_jobs(session, [report.job_id for report in batch])
    moves = Moves(session, ctx.clock.now())
    outcome = Recorded(varied=ctx.varied.of(session, {job.campaign_id for job in locked.values()}))
    for report in batch:
        job = locked.get(report.job_id)
        seen = f"the job is {job.status}, at attempt {job.attempt}" if job is not None else "no job has this id"
        outcome.objections.append("" if _takes(session, ctx, moves, job, report, outcome) else seen)
    insert_many(session, ResultRow, list(outcome.rows.values()))
    insert_many(session, FigureRow, outcome.figures)
    outcome.ended_campaigns = moves.flush()
    outcome.ended_campaigns += campaigns.report_again(session, set(outcome.more_of) - set(outcome.ended_campaigns))
    return outcome


def _takes(session: Session, ctx: Context, moves: Moves, job: LockedJob | None, report: Report, outcome: Recorded) -> bool:
    """Write what one report says. Return whether it counts."""
    if job is None:  # the job was deleted, alone with its campaign or by a reset
        if isinstance(report, Result):
            log.info("a result of %s, which is deleted, is dropped: attempt %d, by %s", report.job_id, report.attempt, report.worker_id)
            outcome.answers.append((report.worker_id, report.job_id, report.attempt, UNWANTED))
            outcome.dropped.append(report)
        return False
    if ctx.settings.broker_logins and (owner := other_speaker(session, moves, job, report)):
        _of_another(moves, job, report, owner, outcome)
        return False
    if isinstance(report, Started):
        return _started(ctx, moves, job, report, outcome)
    if isinstance(report, HandBack):
        return _handed_back(session, moves, job, report, outcome)
    if isinstance(report, AttemptLog):
        outcome.logs += [report] if report.attempt <= job.attempt else []
        return report.attempt <= job.attempt
    verdict = _result(session, ctx, moves, job, report, outcome)
    outcome.answers.append((report.worker_id, report.job_id, report.attempt, verdict))
    (outcome.kept if verdict == RECORDED else outcome.dropped).append(report)
    outcome.logs += [report] if verdict == UNWANTED and report.attempt <= job.attempt else []
    return verdict == RECORDED


def _of_another(moves: Moves, job: LockedJob, report: Report, owner: str, outcome: Recorded) -> None:
    """Refuse a report about another worker's attempt.

    If the job has ended, a result is answered `unwanted` instead. It changes nothing, and a device that ran the job in good faith can
    delete its copy.
    """
    if JobStatus(job.status) in TERMINAL:
        said = report.status if isinstance(report, Result) else f"a {report.kind}"
        moves.note(job, EventKind.UNWANTED, f"{said}, of an attempt of {owner}", attempt=report.attempt, worker_id=report.worker_id)
        if isinstance(report, Result):
            outcome.ended_jobs.append(job.id)
            outcome.answers.append((report.worker_id, report.job_id, report.attempt, UNWANTED))
        return
    what = f"{report.worker_id} sent a {report.kind} of attempt {report.attempt} of {report.job_id}"
    outcome.refused.append((report, f"{what}, which is an attempt of {owner}"))


def _started(ctx: Context, moves: Moves, job: LockedJob, report: Started, outcome: Recorded) -> bool:
    if job.status == JobStatus.PENDING and job.attempt == report.attempt:
        now = ctx.clock.now()
        until = deadline(now, timeout_of(job.workload), ctx.settings.deadline_grace_s, job.block_timeout_s)
        who = {"worker_id": report.worker_id, "incarnation": report.incarnation}
        moves.step(job, JobStatus.RUNNING, started_at=now, deadline_at=until, **who)
        moves.note(job, EventKind.STARTED, worker_id=report.worker_id)
        if job.attempt == 1:  # a later attempt waited because of what happened to the first
            outcome.observations.append(Observation(WAIT, job.capability or "unknown", "", (now - job.created_at).total_seconds()))
        return True
    if job.status == JobStatus.RUNNING and job.attempt == report.attempt and job.incarnation == report.incarnation:
        return True
    moves.note(job, EventKind.UNWANTED, f"a start, while the job is {job.status}", attempt=report.attempt, worker_id=report.worker_id)
    return False


def _handed_back(session: Session, moves: Moves, job: LockedJob, report: HandBack, outcome: Recorded) -> bool:
    # A pending job is accepted: the report of its start may be lost. A job that runs in another process is not: that one took it over.
    theirs = job.status == JobStatus.PENDING or (job.status == JobStatus.RUNNING and job.incarnation == report.incarnation)
    if theirs and job.attempt == report.attempt:
        _goes_back(session, moves, job, report, report.reason, outcome)
        return True
    moves.note(job, EventKind.UNWANTED, f"handed back, while the job is {job.status}", attempt=report.attempt, worker_id=report.worker_id)
    return False


def _goes_back(session: Session, moves: Moves, job: LockedJob, report: HandBack | Result, reason: str, outcome: Recorded) -> None:
    moves.note(job, EventKind.HANDED_BACK, reason, worker_id=report.worker_id)
    # The history is counted, because the attempt number also grows for other reasons, such as a job sent again after a backup.
    earlier = jobs.noted(session, [job.id], [EventKind.HANDED_BACK])
    times = sum(event.kind == EventKind.HANDED_BACK for event in (*earlier, *moves.notes(job)))
    not_before = next_try_of_handed_back(times, moves.now)
    if not_before is not None:
        moves.again(job, not_before=not_before)
        return
    why = f"no worker keeps it: it was handed back {times} times, the last time by {report.worker_id}: {reason}"
    moves.step(job, JobStatus.FAILED, error=why, error_kind=EventKind.HANDED_BACK.value)
    moves.note(job, EventKind.FAILED, why, worker_id=report.worker_id)
    outcome.ended_jobs.append(job.id)


def _result(session: Session, ctx: Context, moves: Moves, job: LockedJob, report: Result, outcome: Recorded) -> str:
    if JobStatus(job.status) in TERMINAL:
        if job.id in outcome.rows and _is_its(outcome.rows[job.id]["result"], report):
            return RECORDED  # the same result came twice in one batch
        outcome.ended_jobs.append(job.id)  # a worker ran an ended job: Redis may have lost the tombstone, so it is written again
        known = results.get(session, job.id)
        if known is not None and _is_its(_identity(known), report):
            outcome.again.add((job.id, report.attempt))
            return RECORDED  # the worker sent it again because our answer was slow
        if known is None and job.id not in outcome.rows and _is_of_cancelled(job, report):
            moves.note(job, EventKind.PARTIAL, "what was measured until then is kept", attempt=report.attempt, worker_id=report.worker_id)
            _keep_row(moves, job, JobStatus.CANCELLED, report, outcome)
            outcome.more_of.append(job.campaign_id)
            return RECORDED
        moves.note(
            job, EventKind.UNWANTED, f"{report.status}, while the job is {job.status}", attempt=report.attempt, worker_id=report.worker_id
        )
        return UNWANTED
    if report.attempt > job.attempt or (report.status != "complete" and report.attempt < job.attempt):
        moves.note(
            job, EventKind.UNWANTED, f"{report.status} of attempt {report.attempt}", attempt=report.attempt, worker_id=report.worker_id
        )
        return UNWANTED
    if report.status != "complete" and job.status == JobStatus.RUNNING and job.incarnation != report.incarnation:
        # Another process took the claim over and runs the job. A failure of the earlier process says nothing about the new run.
        moves.note(
            job, EventKind.UNWANTED, f"{report.status}, while {job.worker_id} runs it", attempt=report.attempt, worker_id=report.worker_id
        )
        return UNWANTED
    if report.status == "cancelled":  # the table knows of no cancellation: it was restored from a backup or a standby, and Redis is newer
        _goes_back(session, moves, job, report, "stopped as if it were cancelled, which it is not", outcome)
        return UNWANTED
    if report.status == "failed" and report.error_kind in RETRIED_KINDS:
        reason = set_back(session, moves, job, EventKind.DIED, report.error, report.worker_id)
        if reason is None:
            return RECORDED
        report = report.model_copy(update={"error": reason})
    _end(ctx, moves, job, report, outcome)
    outcome.ended_jobs.append(job.id)
    return RECORDED


def _is_of_cancelled(job: LockedJob, report: Result) -> bool:
    """Return whether a result holds what a cancelled job had measured until its worker heard of the end."""
    asked = job.status == JobStatus.CANCELLED and report.status == "cancelled" and report.attempt == job.attempt
    return asked and report.outcome is not None and report.outcome.partial


def _is_its(recorded: Mapping[str, Any], report: Result) -> bool:
    """Return whether a report repeats the recorded result: same attempt and same process. A worker's id may change, so it is ignored."""
    return (recorded.get("attempt"), recorded.get("incarnation", report.incarnation)) == (report.attempt, report.incarnation)


def _identity(known: ResultRow) -> Mapping[str, Any]:
    """Return the attempt and, if known, the incarnation of a recorded result. This works even if its stored message is damaged."""
    stored = known.result if isinstance(known.result, Mapping) else {}
    return {"attempt": known.attempt} | {name: stored[name] for name in ("incarnation",) if name in stored}


def _end(ctx: Context, moves: Moves, job: LockedJob, report: Result, outcome: Recorded) -> None:
    status = JobStatus.COMPLETE if report.status == "complete" else JobStatus.FAILED
    now = ctx.clock.now()
    took_s = max(report.ended_at - report.started_at, 0.0)  # by the worker's clock alone
    outcome.observations.append(Observation(DURATION, job.capability or "unknown", str(status), took_s))
    moves.step(
        job,
        status,
        worker_id=report.worker_id,
        capability=report.capability,
        started_at=job.started_at or now,
        error=report.error or None,
        error_kind=report.error_kind or None,
    )
    moves.note(job, EventKind(status), report.error, attempt=report.attempt, worker_id=report.worker_id)
    if status is JobStatus.COMPLETE:
        outcome.figures += figure_rows(job.campaign_id, job.number, job.workload, report, now)
    _keep_row(moves, job, status, report, outcome)


def _keep_row(moves: Moves, job: LockedJob, status: JobStatus, report: Result, outcome: Recorded) -> None:
    row = row_of_result(job, status, report, moves.now, outcome.varied.get(job.campaign_id, ()))
    outcome.rows[job.id] = {
        "job_id": job.id,
        "campaign_id": job.campaign_id,
        "number": job.number,
        "attempt": report.attempt,
        "worker_id": report.worker_id,
        "row": dict(row),
        "line": csv_line(row),
        # The artifacts are stored as files, so the row does not hold a second copy of them.
        "result": report.model_dump(mode="json", exclude={"artifacts": {"__all__": {"inline"}}}),
        "recorded_at": moves.now,
    }
