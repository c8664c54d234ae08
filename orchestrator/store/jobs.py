"""Holds the queries on jobs and lanes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select, text, tuple_, update
from sqlmodel import Session, col

from orchestrator.domain.stored import shown_options, timeout_of
from orchestrator.store.bulk import BATCH
from orchestrator.store.tables import Campaign, Event, Job, Lane
from orchestrator.store.types import constant, likely, where_json
from shared.errors import NotFound
from shared.jobs import CampaignStatus, JobStatus

_WINDOWS_LOCK = 7_218_002  # any number that no other lock has (see `schema`)

# the most jobs that are counted row by row; beyond this, a count would cost much more than the page that it belongs to
MOST_COUNTED = 10_000

_PENDING = col(Job.status) == constant(JobStatus.PENDING)
_RUNNING = col(Job.status) == constant(JobStatus.RUNNING)
UNDISPATCHED = (_PENDING, col(Job.dispatched_at).is_(None))
DISPATCHED = (_PENDING, col(Job.dispatched_at).is_not(None))
_ALL_DISPATCHED = (likely(_PENDING), col(Job.dispatched_at).is_not(None))  # where nothing else is asked for


@dataclass(frozen=True)
class Waiting:
    """Counts the dispatched, unclaimed jobs of one campaign and priority in one queue, and the messages that hold them."""

    queue: str
    campaign_id: str
    priority: int
    jobs: int
    messages: int


class JobHead(NamedTuple):
    """Holds what a list of a campaign's jobs shows of one job."""

    number: int
    job_id: str
    compute_unit: str
    status: str
    model: str
    capability: str | None
    worker_id: str | None
    attempt: int
    error: str | None
    lane_id: int
    queue: str | None
    dispatched_at: datetime | None
    not_before: datetime | None
    options: dict[str, Any]
    asked: dict[str, Any]  # parts of the workload, as they are stored; see `heads`


PLAIN = JobHead._fields.index("options")  # the fields before it are columns of a job


class RunningJob(NamedTuple):
    """Holds what the watch needs to know of a running job."""

    id: str
    attempt: int
    worker_id: str | None
    incarnation: str | None
    started_at: datetime | None
    deadline_at: datetime | None
    block_timeout_s: float | None
    timeout_s: float


def get(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        NotFound: there is no such job.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"no job has the id {job_id!r}; GET /api/jobs lists them")
    return job


def page(
    session: Session,
    *,
    campaign_id: str | None = None,
    status: str | None = None,
    worker_id: str | None = None,
    since: datetime | None = None,
    after: tuple[str, int] | None = None,
    limit: int = 100,
) -> list[Job]:
    """Return the jobs behind `after`. With this key, page 1 000 costs as much as page 1.

    The jobs of one campaign come in the order of their numbers, the jobs of all campaigns the newest first. Both orders are those of an
    index, read forwards or backwards.
    """
    key = (col(Job.campaign_id), col(Job.number))
    order = key if campaign_id is not None else tuple(column.desc() for column in key)
    statement = select(Job).where(*wanted_jobs(campaign_id, status, worker_id, since)).order_by(*order).limit(limit)
    if after is not None and after[0] == campaign_id:
        statement = statement.where(col(Job.number) > after[1])  # with a pair, SQLite would scan the campaign from number 1
    elif after is not None and campaign_id is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    elif after is not None:
        statement = statement.where(tuple_(*key) < tuple_(*after))
    return list(session.scalars(statement))


def count(
    session: Session,
    *,
    campaign_id: str | None = None,
    status: str | None = None,
    worker_id: str | None = None,
    since: datetime | None = None,
) -> int | None:
    """Return how many jobs `page` lists on all pages together, or None if they are more than `MOST_COUNTED` and no counter knows them."""
    if worker_id is None and since is None:
        names = (status,) if status is not None else tuple(JobStatus)
        counters = [func.coalesce(func.sum(getattr(Campaign, f"{name}_jobs")), 0) for name in names]
        whose = () if campaign_id is None else (col(Campaign.id) == campaign_id,)
        return sum(int(number) for number in session.execute(select(*counters).where(*whose)).one())
    return count_rows(session, select(col(Job.id)).where(*wanted_jobs(campaign_id, status, worker_id, since)))


def count_rows(session: Session, rows: Select[Any]) -> int | None:
    """Return how many rows these are, or None if they are more than `MOST_COUNTED`."""
    found = session.scalar(select(func.count()).select_from(rows.limit(MOST_COUNTED + 1).subquery())) or 0
    return found if found <= MOST_COUNTED else None


def wanted_jobs(campaign_id: str | None, status: str | None, worker_id: str | None, since: datetime | None) -> list[ColumnElement[bool]]:
    """Return the conditions on jobs that a list asks for. What is None asks for nothing."""
    wanted: list[ColumnElement[bool]] = []
    if campaign_id is not None:
        wanted.append(col(Job.campaign_id) == campaign_id)
    if status is not None:
        wanted.append(col(Job.status) == status)
    if worker_id is not None:
        wanted.append(col(Job.worker_id) == worker_id)
    if since is not None:
        wanted.append(col(Job.created_at) >= since)
    return wanted


def heads(session: Session, campaign_id: str, *, after: int = 0, limit: int = 100, parts: Collection[str] = ()) -> list[JobHead]:
    """Return the jobs of a campaign behind number `after`, in order. It reads columns instead of objects, which takes a tenth of the time.

    Numbers run from 1 without gaps, so a page is a range of numbers. With a plain LIMIT, PostgreSQL would sort the whole campaign
    while it has no statistics yet, right after a large campaign was written.

    Args:
        parts: the keys of the workload that are read into `asked` of each job.
    """
    workload = col(Job.workload)
    columns: list[Any] = [
        *(Job.number, Job.id, Job.compute_unit, Job.status, Job.model_name, Job.capability, Job.worker_id, Job.attempt, Job.error),
        *(Job.lane_id, Job.queue, Job.dispatched_at, Job.not_before),
        *(where_json(session, workload, workload[part]) for part in ("options", *parts)),
    ]
    number = col(Job.number)
    statement = select(*columns).where(col(Job.campaign_id) == campaign_id, number > after, number <= after + limit).order_by(number)
    found = []
    for item in session.execute(statement):
        asked = {part: value for part, value in zip(parts, item[PLAIN + 1 :], strict=True) if value is not None}
        found.append(JobHead._make([*item[:PLAIN], shown_options(item[PLAIN]), asked]))
    return found


def by_number(session: Session, campaign_id: str, numbers: list[int]) -> dict[int, Job]:
    statement = select(Job).where(col(Job.campaign_id) == campaign_id, col(Job.number).in_(numbers))
    return {job.number: job for job in session.scalars(statement)}


def history(session: Session, job_id: str) -> list[Event]:
    return list(session.scalars(select(Event).where(col(Event.job_id) == job_id).order_by(col(Event.id))))


def noted(session: Session, job_ids: Collection[str], kinds: Collection[str]) -> list[Event]:
    """Return the events of these kinds in the histories of a batch of jobs, oldest first."""
    mine = (col(Event.job_id).in_(job_ids), col(Event.kind).in_(kinds))
    return list(session.scalars(select(Event).where(*mine).order_by(col(Event.id))))


def events_of(session: Session, campaign_id: str, *, after: int, limit: int) -> list[Event]:
    """Return the histories of the jobs of a campaign whose numbers are behind `after`, up to `limit` numbers, job by job."""
    number = col(Job.number)
    statement = (
        select(Event)
        .join(Job, col(Job.id) == col(Event.job_id))
        .where(col(Job.campaign_id) == campaign_id, number > after, number <= after + limit)
        .order_by(number, col(Event.id))
    )
    return list(session.scalars(statement))


def lane_of(session: Session, job: Job) -> Lane:
    lane = session.get(Lane, job.lane_id)
    assert lane is not None, "a foreign key holds it"
    return lane


def waiting_reasons(session: Session, lane_ids: Collection[int]) -> dict[int, str]:
    """Return for each lane why its jobs could not be placed at the last try. The text is empty if a job could be placed."""
    statement = select(col(Lane.id), col(Lane.waiting_for)).where(col(Lane.id).in_(sorted(lane_ids)))
    return {lane_id: str(reason) for lane_id, reason in session.execute(statement)} if lane_ids else {}


def open_lanes(session: Session, now: datetime, limit: int, after: Lane | None = None) -> list[tuple[Lane, int]]:
    """Return lanes of running campaigns that have jobs to send, each with the number of its campaign's running jobs.

    The most urgent lanes come first, then the oldest.

    Args:
        after: the last lane of the previous page.
    """
    statement = (
        select(Lane, col(Campaign.running_jobs))
        .join(Campaign, col(Campaign.id) == col(Lane.campaign_id))
        .where(*_open(now))
        .order_by(col(Lane.priority).desc(), col(Lane.campaign_id), col(Lane.id))
        .limit(limit)
        .execution_options(populate_existing=True)  # a priority may change between two pages, and the next page begins behind it
    )
    if after is not None:
        key = tuple_(-col(Lane.priority), col(Lane.campaign_id), col(Lane.id))
        statement = statement.where(key > tuple_(-after.priority, after.campaign_id, after.id))
    return [(lane, running) for lane, running in session.execute(statement)]


def is_a_lane_open(session: Session, now: datetime) -> bool:
    """Return whether `open_lanes` finds any lane now."""
    found = select(col(Lane.id)).join(Campaign, col(Campaign.id) == col(Lane.campaign_id)).where(*_open(now)).limit(1)
    return session.scalar(found) is not None


def _open(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of a lane, joined with its campaign, that has jobs to send.

    The first job of a lane is looked up in `ix_jobs_frontier`, whose order is asked for. With EXISTS, PostgreSQL may read every waiting job
    of a new campaign, or every ended job of an old one.
    """
    ready = or_(col(Job.not_before).is_(None), col(Job.not_before) <= now)
    first = select(col(Job.id)).where(col(Job.lane_id) == Lane.id, *UNDISPATCHED, ready).order_by(col(Job.lane_id), col(Job.position))
    return (col(Campaign.status) == constant(CampaignStatus.RUNNING), first.limit(1).scalar_subquery().is_not(None))


def waiting(session: Session) -> list[Waiting]:
    """Return how many jobs are in the queues according to the table. The windows limit this number, however large the campaigns are."""
    group = (col(Job.queue), col(Job.campaign_id), col(Job.priority))
    messages = func.count(func.distinct(func.coalesce(col(Job.block), col(Job.id))))
    statement = select(*group, func.count(), messages).where(*_ALL_DISPATCHED).group_by(*group)
    return [Waiting(str(queue), *counts) for queue, *counts in session.execute(statement)]


def lock_windows(session: Session) -> bool:
    """Keep other processes from filling the queues until this transaction ends. Return False if another one is doing so now.

    A process counts what a queue holds and then adds to it. Two processes at once would both use the same free room. SQLite has one
    writer at a time anyway. This never waits for the lock: a process that loses its connection to PostgreSQL in the middle of its
    transaction holds the lock until the server ends that transaction, 30 s later.
    """
    if session.connection().dialect.name != "postgresql":
        return True
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '30s'"))
    return bool(session.execute(text(f"SELECT pg_try_advisory_xact_lock({_WINDOWS_LOCK})")).scalar_one())


def next_in_lane(session: Session, lane_id: int, now: datetime, limit: int, after: int = 0) -> list[Job]:
    """Lock and return the next jobs of a lane behind position `after`. Jobs that another transaction has locked are skipped."""
    statement = (
        select(Job)
        .where(col(Job.lane_id) == lane_id, col(Job.position) > after)
        .where(*UNDISPATCHED, or_(col(Job.not_before).is_(None), col(Job.not_before) <= now))
        .order_by(col(Job.position))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(statement))


class Sent(NamedTuple):
    """Says where a job is sent. `block` and `block_timeout_s` are None if it is alone in its message."""

    job_id: str
    queue: str
    capability: str
    block: str | None
    block_timeout_s: float | None


def mark_dispatched(session: Session, jobs: Sequence[Sent], now: datetime) -> None:
    """Write where locked, pending jobs are sent."""
    if not jobs:
        return
    names = ("queue", "capability", "block", "block_timeout_s")
    rows = [{"b_id": sent.job_id, **{f"b_{name}": getattr(sent, name) for name in names}} for sent in jobs]
    statement = (
        update(Job.__table__)  # type: ignore[attr-defined]  # untyped in SQLModel
        .where(col(Job.id) == bindparam("b_id"))
        .values({"dispatched_at": now, **{name: bindparam(f"b_{name}") for name in names}})
    )
    session.connection().execute(statement, rows)


def working_on(session: Session) -> list[str]:
    """Return the id of the worker of each running job. A worker has one, or the jobs of one block."""
    return [str(worker_id) for worker_id in session.scalars(select(col(Job.worker_id)).where(_RUNNING))]


def dispatched_in(session: Session, queues: Sequence[str], limit: int = 1_000) -> list[Job]:
    """Return the dispatched jobs of these queues whose start is not known, the oldest first."""
    if not queues:
        return []
    statement = select(Job).where(*DISPATCHED, col(Job.queue).in_(queues)).order_by(col(Job.dispatched_at)).limit(limit)
    return list(session.scalars(statement))


def dispatched_before(session: Session, queues: Sequence[str], before: datetime) -> set[tuple[str, int]]:
    """Return (job id, attempt) of the jobs that were sent to these queues before that moment and whose start is not known.

    The queues' windows limit their number, whatever the size of the campaigns.
    """
    if not queues:
        return set()
    statement = select(col(Job.id), col(Job.attempt)).where(*DISPATCHED, col(Job.queue).in_(queues), col(Job.dispatched_at) < before)
    return {(job_id, attempt) for job_id, attempt in session.execute(statement)}


def some(session: Session, job_ids: Sequence[str]) -> list[Job]:
    """Return these jobs. Ids that the table does not know are left out."""
    return list(session.scalars(select(Job).where(col(Job.id).in_(job_ids)))) if job_ids else []


def dispatched_queues(session: Session) -> list[str]:
    return [str(queue) for queue in session.scalars(select(col(Job.queue)).where(*_ALL_DISPATCHED).distinct())]


def running(session: Session) -> list[RunningJob]:
    """Return every running job. A worker has one, or the jobs of one block.

    Of the stored work, which is a kilobyte or more, the database sends the timeout alone: the watch asks for all running jobs at each look.
    """
    columns: list[Any] = [getattr(Job, name) for name in RunningJob._fields[:-1]]
    timeout = where_json(session, col(Job.workload), col(Job.workload)["timeout_s"])
    statement = select(*columns, timeout).where(_RUNNING).order_by(col(Job.id))
    return [RunningJob._make([*others, timeout_of({"timeout_s": timeout_s})]) for *others, timeout_s in session.execute(statement)]


def running_on(session: Session, worker_id: str) -> list[Job]:
    statement = select(Job).where(_RUNNING, col(Job.worker_id) == worker_id).order_by(col(Job.id))
    return list(session.scalars(statement))


def unfinished_of(session: Session, campaign_id: str) -> list[str]:
    statement = select(col(Job.id)).where(col(Job.campaign_id) == campaign_id, or_(_PENDING, _RUNNING))
    return list(session.scalars(statement))


def statuses(session: Session, job_ids: Iterable[str]) -> dict[str, JobStatus]:
    """Return the status of each of these jobs. Ids that the table does not know are left out."""
    ids, found = list(job_ids), {}
    for start in range(0, len(ids), BATCH):  # a statement takes at most 65 535 parameters
        statement = select(col(Job.id), col(Job.status)).where(col(Job.id).in_(ids[start : start + BATCH]))
        found.update({job_id: JobStatus(status) for job_id, status in session.execute(statement)})
    return found
