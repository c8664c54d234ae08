"""Finds out which workers can do the work of a recipe, of a job, or any work. It writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.compatibility import Compatibility, KnownWorker
from orchestrator.domain.planning import of_recipe
from orchestrator.domain.stored import Unreadable, read_needs, read_requirements
from orchestrator.domain.works import Work, works_of
from orchestrator.operations.context import Context
from orchestrator.operations.model_memories import memories_of
from orchestrator.operations.model_sources import described
from orchestrator.registry import WorkerRecord
from orchestrator.store import jobs
from shared.errors import InvalidInput
from shared.recipes import Recipe
from shared.workers import WorkerStatus


@dataclass(frozen=True)
class Answer:
    """Says for one worker what it can do of several works, in their order."""

    worker: WorkerRecord
    found: tuple[Compatibility, ...]
    remarks: tuple[str, ...]  # why it gets no work at the moment, whatever it can do


def works_of_recipe(ctx: Context, recipe: Recipe) -> list[Work]:
    """Return the different works of a recipe. Its models need not be uploaded.

    Raises:
        InvalidInput: its sweep is not valid, or a model's address is none.
    """
    request = of_recipe(recipe)
    refs = [described(entry) for entry in request.entries]
    return works_of(request.cells, refs, memories_of(ctx, request.cells, refs))


def works_of_job(ctx: Context, job_id: str) -> list[Work]:
    """Return the work of a job.

    Raises:
        NotFound: there is no such job.
        InvalidInput: this version cannot read what it needs.
    """
    with ctx.store.read() as session:
        job = jobs.get(session, job_id)
        lane = jobs.lane_of(session, job)
        kind = str(job.workload.get("kind", "inference")) if isinstance(job.workload, dict) else ""
        devices = (lane.device,) if lane.device is not None else ()
        try:
            return [Work(job.model_name, kind, lane.compute_unit, devices, read_requirements(lane.requires), read_needs(lane.needs))]
        except Unreadable as error:
            raise InvalidInput(f"job {job_id}: {error}") from error


def page_of_workers(ctx: Context, after: str | None, limit: int) -> tuple[list[WorkerRecord], str | None]:
    """Return workers that have not left, in the order of their ids, and the id behind which the next page begins.

    Raises:
        Unavailable: Redis does not answer.
    """
    found = sorted((worker for worker in ctx.registry.all() if after is None or worker.id > after), key=lambda worker: worker.id)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def answers(ctx: Context, works: Sequence[Work], workers: Sequence[WorkerRecord]) -> list[Answer]:
    """Return for each worker what it can do of the works."""
    return [Answer(worker, _found(worker.known(), works), _remarks(ctx, worker)) for worker in workers]


def _found(worker: KnownWorker, works: Sequence[Work]) -> tuple[Compatibility, ...]:
    return tuple(work.at(worker) for work in works)


def _remarks(ctx: Context, worker: WorkerRecord) -> tuple[str, ...]:
    """Return why a worker gets no work now. That says nothing about its abilities, so it is no missing requirement."""
    remarks = []
    if worker.status is WorkerStatus.FAULTY:
        remarks.append("it is faulty, so it gets no work now")
    elif not ctx.registry.is_heard(worker):
        remarks.append(f"it was last heard {worker.silent_s:.0f} s ago, so it gets no work now")
    if worker.quarantine is not None:
        remarks.append(f"it is in quarantine, so it gets no work now: {worker.quarantine.reason}")
    return tuple(remarks)
