"""Decides which reports are believed when workers have logins of their own. It asks two questions, at two times:

- `doubts`: did the worker that the report names write it? This is decided from the bytes and their signature, before anything is
  recorded, because only the consumer has them.
- `other_speaker`: does the attempt belong to that worker? This is decided from the job's row under its lock, because the row may change
  until then.

A worker may have registered before it could get a key (with an earlier version, or while logins were off). It is believed until it enrols
again, because its earlier reports must not be lost. Only this orchestrator can register a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.operations.context import Context
from orchestrator.store import jobs, worker_keys
from orchestrator.store.moves import LockedJob, Moves
from shared.capabilities import LABELS, worker_queue
from shared.jobs import JobStatus
from shared.protocol.messages import JobMessage, Report
from shared.protocol.signatures import is_signed


@dataclass(frozen=True)
class Said:
    """Holds a report as it arrived: its content, its bytes, and the signature beside them or `""`."""

    report: Report
    body: bytes
    mac: str


def doubts(ctx: Context, said: Sequence[Said]) -> list[str]:
    """Return for each report why we doubt that the worker it names wrote it, or an empty text.

    Raises:
        Unavailable: the database or Redis does not answer.
    """
    if not ctx.settings.broker_logins:
        return [""] * len(said)
    names = {one.report.worker_id for one in said}
    with ctx.store.read() as session:
        secrets = worker_keys.secrets_of(session, names)
    entered = ctx.registry.entered(names - secrets.keys())
    return [_doubt(one, secrets.get(one.report.worker_id), one.report.worker_id in entered) for one in said]


def _doubt(said: Said, secret: str | None, entered: bool) -> str:
    name = said.report.worker_id
    if secret is None:
        return "" if entered else f"says it is of {name}, and no worker of that name has enrolled here"
    if not said.mac:
        return f"says it is of {name} and is not signed: forged, or that worker is of an earlier version; upgrade it"
    try:
        signed = is_signed(secret, said.body, said.mac)
    except ValueError:  # the stored key is damaged; reports of other workers must not wait for it
        return f"says it is of {name}, whose stored key cannot be read: remove that worker (DELETE /api/workers/{name}) and start it again"
    return "" if signed else f"says it is of {name} and is not signed with that worker's key"


def other_speaker(session: Session, moves: Moves, job: LockedJob, report: JobMessage) -> str:
    """Return the owner of the reported attempt if that is another worker, else an empty text.

    The text is also empty if no owner is known. The report of a start may have been lost with Redis, so an attempt without a known
    start is no proof of forgery.
    """
    if report.attempt == job.attempt and job.status == JobStatus.RUNNING:
        owners = {job.worker_id}
    elif report.attempt == job.attempt and job.status == JobStatus.PENDING:
        private = job.queue is not None and job.queue not in LABELS
        owners = {job.queue.removeprefix(worker_queue(""))} if private and job.queue is not None else set()
    else:
        history = [*jobs.history(session, job.id), *moves.notes(job)]
        owners = {event.worker_id for event in history if event.kind == EventKind.STARTED and event.attempt == report.attempt}
    return "" if not owners or report.worker_id in owners else " or ".join(sorted(filter(None, owners)))
