"""Accept a campaign: validated whole, planned, and written in one transaction. What the table holds is accepted."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import Field, model_validator
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from orchestrator.domain.planning import Plan, PlannedJob, plan_recipe, unmeetable
from orchestrator.domain.stored import written
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import fill_queues
from orchestrator.operations.models import resolve_model
from orchestrator.store import campaigns
from orchestrator.store.bulk import insert_many
from orchestrator.store.tables import Campaign, Job, Lane
from shared.addresses import shown_address
from shared.errors import Conflict, Unavailable
from shared.ids import job_id, new_campaign_id
from shared.jobs import DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, MAX_INFERENCES, MAX_JOBS, MAX_REPEATS, MAX_TIMEOUT_S
from shared.names import OneLine
from shared.recipes import ModelEntry, Recipe
from shared.recipes.schema import ComputeUnit
from shared.workloads import ModelRef, Strict, Workload, check_samples

log = logging.getLogger(__name__)


class ShortJob(Strict):
    """One job of the short form of `POST /campaigns`."""

    compute_unit: ComputeUnit = Field(description="a capability or its label")
    num_inference_runs: int = Field(default=10, ge=1, le=MAX_INFERENCES, description="timed calls in each repeat")
    runs_per_job: int = Field(default=5, ge=1, le=MAX_REPEATS, description="fresh processes")
    num_load_runs: int = Field(default=0, ge=0, le=MAX_REPEATS, description="further processes that only load")
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, ge=1, le=MAX_TIMEOUT_S)
    device: OneLine | None = Field(default=None, min_length=1, max_length=200, description="a worker's id or device name")
    priority: int = Field(default=DEFAULT_PRIORITY, ge=0, le=9)

    @model_validator(mode="after")
    def _bounded_samples(self) -> ShortJob:
        check_samples(self.num_inference_runs, self.runs_per_job)
        return self


class ShortCampaign(Strict):
    """The short form of `POST /campaigns`: one model, a list of jobs."""

    model_url: OneLine = Field(min_length=1, max_length=4096)
    jobs: tuple[ShortJob, ...] = Field(min_length=1, max_length=MAX_JOBS)
    name: OneLine = Field(default="campaign", min_length=1, max_length=200)
    notes: str = Field(default="", max_length=10_000)


@dataclass(frozen=True)
class Submitted:
    """A campaign as it was accepted; `replayed` when the same Idempotency-Key had already made it."""

    campaign: Campaign
    replayed: bool


def submit_recipe(ctx: Context, recipe: Recipe, idempotency_key: str | None = None) -> Submitted:
    """Accept a recipe.

    Raises:
        InvalidInput: something in it cannot be; nothing was written.
        Conflict: the key was used for another body.
        Unavailable: the database does not answer.
    """
    replay = _replay(ctx, idempotency_key, _hash(recipe.model_dump(mode="json")))
    if replay is not None:
        return replay
    models = {entry.model: resolve_model(ctx, entry) for entry in recipe.entries()}
    workers = [worker.known() for worker in _registered(ctx)]
    return _accept(ctx, plan_recipe(recipe, models, workers), _hash(recipe.model_dump(mode="json")), idempotency_key)


def submit_short(ctx: Context, short: ShortCampaign, idempotency_key: str | None = None) -> Submitted:
    """Accept the short form; see `submit_recipe`."""
    request_hash = _hash(short.model_dump(mode="json"))
    replay = _replay(ctx, idempotency_key, request_hash)
    if replay is not None:
        return replay
    model = resolve_model(ctx, ModelEntry(model=short.model_url))
    alike: dict[ShortJob, PlannedJob] = {}  # most of a large campaign is: each kind is planned and validated once
    planned = [alike.get(job) or alike.setdefault(job, _planned(job, model)) for job in short.jobs]
    plan = Plan(
        name=short.name,
        model_url=shown_address(short.model_url),
        jobs=planned,
        recipe=short.model_dump(mode="json", exclude_defaults=True),
        notes=short.notes,
        warnings=unmeetable(planned, [worker.known() for worker in _registered(ctx)]),
    )
    return _accept(ctx, plan, request_hash, idempotency_key)


def _planned(job: ShortJob, model: ModelRef) -> PlannedJob:
    workload = Workload(
        model=model, inferences=job.num_inference_runs, repeats=job.runs_per_job, loads=job.num_load_runs, timeout_s=job.timeout_s
    )
    return PlannedJob(compute_unit=job.compute_unit, workload=workload, priority=job.priority, device=job.device)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _registered(ctx: Context) -> Sequence[Any]:
    """The registered workers; none while Redis is away: a campaign is accepted all the same."""
    try:
        return ctx.registry.all()
    except Unavailable as error:
        log.warning("accepting without a look at the workers: %s", error.detail)
        return []


def _replay(ctx: Context, key: str | None, request_hash: str) -> Submitted | None:
    if key is None:
        return None
    with ctx.store.read() as session:
        found = campaigns.by_idempotency_key(session, key)
        if found is None:
            return None
        session.expunge(found)
    if found.request_hash != request_hash:
        raise Conflict(f"the Idempotency-Key {key!r} was used for another body ({found.id}); use a new key for a new campaign")
    return Submitted(found, replayed=True)


def _accept(ctx: Context, plan: Plan, request_hash: str, idempotency_key: str | None) -> Submitted:
    now = ctx.clock.now()
    campaign_id = new_campaign_id(now)

    def write(session: Session) -> Campaign:
        campaign = Campaign(
            id=campaign_id,
            name=plan.name,
            notes=plan.notes,
            labels=dict(plan.labels),
            model_url=plan.model_url,
            recipe=dict(plan.recipe),
            recipe_hash=_hash(plan.recipe),
            idempotency_key=idempotency_key,
            request_hash=request_hash,
            warnings=list(plan.warnings),
            created_at=now,
            queue_deadline_at=now + timedelta(seconds=plan.queue_timeout_s),
            total_jobs=len(plan.jobs),
            pending_jobs=len(plan.jobs),
        )
        session.add(campaign)
        session.flush()
        lanes = _lanes(session, campaign_id, plan.jobs)
        alike = {id(job): _columns(campaign, job, lanes) for job in {id(job): job for job in plan.jobs}.values()}
        rows = [{"id": job_id(campaign_id, number), "number": number, **alike[id(job)]} for number, job in enumerate(plan.jobs, start=1)]
        insert_many(session, Job, rows)
        return campaign

    try:
        campaign = ctx.store.transact(write)
    except IntegrityError:
        # Two requests with one key raced; the other one's campaign is the answer.
        replay = _replay(ctx, idempotency_key, request_hash)
        if replay is None:
            raise
        return replay
    fill_queues(ctx, f"{campaign_id} is accepted")
    return Submitted(campaign, replayed=False)


LaneKey = tuple[int, str, str | None, str]


def _lane_key(job: PlannedJob) -> LaneKey:
    return (job.priority, job.compute_unit, job.device, job.requires.model_dump_json(exclude_defaults=True))


def _lanes(session: Session, campaign_id: str, planned: Sequence[PlannedJob]) -> dict[LaneKey, int]:
    lanes: dict[LaneKey, Lane] = {}
    for job in {id(job): job for job in planned}.values():
        key = _lane_key(job)
        if key not in lanes:
            lanes[key] = Lane(
                campaign_id=campaign_id,
                priority=job.priority,
                compute_unit=job.compute_unit,
                device=job.device,
                requires=written(job.requires),
            )
    session.add_all(lanes.values())
    session.flush()
    return {key: lane.id for key, lane in lanes.items() if lane.id is not None}


def _columns(campaign: Campaign, job: PlannedJob, lanes: Mapping[LaneKey, int]) -> dict[str, Any]:
    """What the rows of a job's kind have in common; every other column is empty or its default."""
    return {
        "campaign_id": campaign.id,
        "lane_id": lanes[_lane_key(job)],
        "compute_unit": job.compute_unit,
        "priority": job.priority,
        "status": "pending",
        "attempt": 1,
        "max_attempts": job.max_attempts,
        "losses": 0,
        "deaths": 0,
        "workload": written(job.workload),
        "model_name": job.workload.model.name,
        "created_at": campaign.created_at,
    }
