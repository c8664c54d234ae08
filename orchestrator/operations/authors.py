"""Decides which reports are believed, where workers have logins of their own. Two questions are asked, at two times:

- `doubts`: was the report written by the worker that it names? It is answered from the bytes and their signature, before anything is
  recorded, as only the consumer has them.
- `other_speaker`: is the attempt that worker's? It is answered from the job's row under its lock, as the row may change until then.

A worker that was registered before it could be given a key (by an earlier version, or while logins were off) is believed until it enrols
again, as what it had said must not be lost. Nobody but this orchestrator can register one.
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
    """A report as it came in: its content, its bytes, and the signature beside them or `""`."""

    report: Report
    body: bytes
    mac: str


def doubts(ctx: Context, said: Sequence[Said]) -> list[str]:
    """Return for each report why it is not believed to be from the worker that it names, or an empty text.

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
    except ValueError:  # the row is damaged: the reports of others must not wait for it
        return f"says it is of {name}, whose stored key cannot be read: remove that worker (DELETE /api/workers/{name}) and start it again"
    return "" if signed else f"says it is of {name} and is not signed with that worker's key"


def other_speaker(session: Session, moves: Moves, job: LockedJob, report: JobMessage) -> str:
    """Return whose attempt this is if it is not the reporter's own, else an empty text, also where nobody is known to have it.

    A start may have been lost with Redis, so an attempt without one is no forgery.
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
