"""Accepts a campaign: validates all of it, plans its jobs, and writes them in one transaction. After the commit it is accepted."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from orchestrator.domain.planning import Plan, PlannedJob, Request, of_recipe, plan, sending_order
from orchestrator.domain.stored import written
from orchestrator.domain.work_needs import WorkNeeds
from orchestrator.operations.context import Context
from orchestrator.operations.datasets import resolve_datasets
from orchestrator.operations.dispatching import fill_queues
from orchestrator.operations.known_workers import known_workers
from orchestrator.operations.model_memories import memories_of
from orchestrator.operations.model_sources import resolve_models
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.store import campaigns, models
from orchestrator.store.bulk import insert_copies
from orchestrator.store.tables import Campaign, Job, Lane
from shared.errors import Conflict, InvalidInput
from shared.ids import job_id, new_campaign_id
from shared.kinds.generation import OF_A_TASK
from shared.kinds.registry import KINDS
from shared.recipes import Recipe
from shared.sources import UPLOAD

log = logging.getLogger(__name__)

# The keys that earlier versions did not know.
_SECTIONS = ("hardware", "prompts", "decoding", "task", *OF_A_TASK, *sorted(KINDS["load"].keys - {"warmup", "stop"}))


@dataclass(frozen=True)
class Submitted:
    """Holds an accepted campaign. `replayed` is True if an earlier request with the same Idempotency-Key made it."""

    campaign: Campaign
    replayed: bool


def submit_recipe(ctx: Context, recipe: Recipe, idempotency_key: str | None = None, user: str = "") -> Submitted:
    """Accept a recipe; see `submit`."""
    return submit(ctx, of_recipe(recipe), _hash_of(recipe), idempotency_key, user)


def submit_short(ctx: Context, short: ShortCampaign, idempotency_key: str | None = None, user: str = "") -> Submitted:
    """Accept a campaign in the short form; see `submit`."""
    return submit(ctx, short.request(), _hash_of(short), idempotency_key, user)


def submit(ctx: Context, request: Request, request_hash: str, idempotency_key: str | None = None, user: str = "") -> Submitted:
    """Accept a submission in either form.

    Args:
        request_hash: the hash of the submission. It detects a different submission with the same key.
        user: the name of the token that the call came with.

    Raises:
        InvalidInput: the submission is not valid. Nothing was written.
        Conflict: the key was used for another body.
        Unavailable: the database does not answer, or the jobs depend on the known workers and Redis does not answer.
    """
    replay = _replay(ctx, idempotency_key, request_hash, request)
    if replay is not None:
        return replay
    snapshots = any(KINDS[cell.kind].spec.takes_snapshots for cell in request.cells)
    refs = resolve_models(ctx, request.entries, snapshots=snapshots)
    planned = plan(request, refs, known_workers(ctx), memories_of(ctx, request.cells, refs), resolve_datasets(ctx, request.cells))
    return _accept(ctx, request, planned, request_hash, idempotency_key, user)


def _hash_of(submission: Recipe | ShortCampaign) -> str:
    """Return the hash of a submission. A key that earlier versions did not know is left out at its default, so their hashes still match."""
    content = submission.model_dump(mode="json")
    if not submission.wait_for_device:
        del content["wait_for_device"]
    for key in _SECTIONS:
        if content.get(key) is None:
            content.pop(key, None)
    return _hash(content)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _replay(ctx: Context, key: str | None, request_hash: str, request: Request) -> Submitted | None:
    """Return the campaign that an earlier request with this key has made, or None.

    The hash covers defaults, so a version with other defaults or keys has another one. Then what was submitted is compared itself.

    Raises:
        Conflict: that request was another one.
    """
    if key is None:
        return None
    with ctx.store.read() as session:
        found = campaigns.by_idempotency_key(session, key)
        if found is None:
            return None
        session.expunge(found)
    if found.request_hash != request_hash and found.recipe != request.document:
        raise Conflict(f"the Idempotency-Key {key!r} was used for another body ({found.id}); use a new key for a new campaign")
    return Submitted(found, replayed=True)


def _accept(ctx: Context, request: Request, planned: Plan, request_hash: str, idempotency_key: str | None, user: str) -> Submitted:
    now = ctx.clock.now()
    campaign_id = new_campaign_id(now)

    uploads = _uploads(planned)

    def write(session: Session) -> Campaign:
        if gone := uploads - models.lock_for_use(session, uploads):
            raise InvalidInput(f"the uploaded model {min(gone)} has just been removed; POST /api/models takes it again")
        campaign = Campaign(
            id=campaign_id,
            name=request.name,
            notes=request.notes,
            labels=dict(request.labels),
            model_url=planned.model_url,
            recipe=dict(request.document),
            recipe_hash=_hash(request.document),
            idempotency_key=idempotency_key,
            request_hash=request_hash,
            submitted_by=user[:200],
            warnings=list(planned.warnings),
            created_at=now,
            queue_deadline_at=now + timedelta(seconds=request.queue_timeout_s),
            total_jobs=len(planned.jobs),
            pending_jobs=len(planned.jobs),
        )
        session.add(campaign)
        session.flush()
        lanes = _lanes(session, campaign_id, planned.jobs)
        kinds = {id(job): job for job in planned.jobs}
        workloads = _workloads(kinds.values())
        numbers = range(1, len(planned.jobs) + 1)
        place = {key: place for place, key in enumerate(kinds)}
        insert_copies(
            session,
            Job,
            templates=[_columns(campaign, job, lanes[key], *workloads[id(job.cell)]) for key, job in kinds.items()],
            template_of=[place[id(job)] for job in planned.jobs],
            own={
                "id": [job_id(campaign_id, number) for number in numbers],
                "number": list(numbers),
                "position": sending_order(planned.jobs, campaign_id),
            },
        )
        return campaign

    try:
        campaign = ctx.store.transact(write)
    except IntegrityError:
        # Two requests with the same key ran at once. The answer is the campaign of the other one.
        replay = _replay(ctx, idempotency_key, request_hash, request)
        if replay is None:
            raise
        return replay
    log.info("%s is accepted: %d jobs%s", campaign_id, len(planned.jobs), f", from {user}" if user else "")
    fill_queues(ctx, f"{campaign_id} is accepted")
    return Submitted(campaign, replayed=False)


def _uploads(planned: Plan) -> set[str]:
    """Return the SHA-256 of every uploaded file that the jobs need."""
    named = (one for job in planned.jobs for one in (job.model, job.dataset) if one is not None and one.source.startswith(UPLOAD))
    refs = {id(one): one for one in named}
    return {sha256 for ref in refs.values() for sha256 in (ref.sha256, *(one.sha256 for one in ref.companions)) if sha256 is not None}


def _lanes(session: Session, campaign_id: str, planned: Sequence[PlannedJob]) -> dict[int, int]:
    """Write the lanes that the jobs need. Return the id of each job's lane, by `id(job)`."""
    lanes: dict[tuple[int, str, str | None, bool, str, WorkNeeds], Lane] = {}
    lane_of: dict[int, Lane] = {}
    needs: dict[int, str] = {}  # the requirements of a job as JSON, by `id(requirements)`
    for job in planned:
        if id(job.cell.requires) not in needs:
            needs[id(job.cell.requires)] = job.cell.requires.model_dump_json(exclude_defaults=True)
        key = (job.cell.priority, job.compute_unit, job.device, job.one_device, needs[id(job.cell.requires)], job.needs)
        if key not in lanes:
            lanes[key] = Lane(
                campaign_id=campaign_id,
                priority=job.cell.priority,
                compute_unit=job.compute_unit,
                device=job.device,
                one_device=job.one_device,
                requires=written(job.cell.requires),
                needs=job.needs.stored(),
            )
        lane_of[id(job)] = lanes[key]
    session.add_all(lanes.values())
    session.flush()
    return {job: lane.id for job, lane in lane_of.items() if lane.id is not None}


def _workloads(kinds: Iterable[PlannedJob]) -> dict[int, tuple[str, dict[str, Any]]]:
    """Return the title of each cell's work and what the database keeps of it, by the identity of the cell.

    They are the same for all units and devices.
    """
    works = ((key, job.workload()) for key, job in {id(job.cell): job for job in kinds}.items())
    return {key: (work.title, written(work)) for key, work in works}


def _columns(campaign: Campaign, job: PlannedJob, lane_id: int, title: str, workload: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that all rows of one planned job share. Every other column is empty or has its default."""
    return {
        "campaign_id": campaign.id,
        "lane_id": lane_id,
        "compute_unit": job.compute_unit,
        "priority": job.cell.priority,
        "status": "pending",
        "attempt": 1,
        "max_attempts": job.cell.retries.max_attempts,
        "losses": 0,
        "deaths": 0,
        "workload": workload,
        "model_name": title,
        "created_at": campaign.created_at,
    }
