"""From a recipe to jobs: models x compute units x devices x sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain.placement import Fleet, KnownWorker, could_ever_run
from shared.addresses import shown_address
from shared.capabilities import resolve
from shared.errors import FieldError, InvalidInput
from shared.jobs import DEFAULT_PRIORITY, DEFAULT_QUEUE_TIMEOUT_S, MAX_JOBS
from shared.recipes import ModelEntry, Recipe, Requirements, parse_recipe
from shared.workloads import ModelRef, Workload

OF_THE_CAMPAIGN = frozenset({"name", "notes", "labels", "queue_timeout_s", "sweep"})  # keys of a recipe that no job has of its own


@dataclass(frozen=True)
class PlannedJob:
    """One job before it has an id."""

    compute_unit: str
    workload: Workload
    priority: int = DEFAULT_PRIORITY
    device: str | None = None  # a worker's id or device name; None is whoever is free
    requires: Requirements = field(default_factory=Requirements)
    max_attempts: int = 3


@dataclass(frozen=True)
class Plan:
    """Everything that one submission becomes."""

    name: str
    model_url: str
    jobs: Sequence[PlannedJob]
    recipe: Mapping[str, Any]
    notes: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    queue_timeout_s: float = DEFAULT_QUEUE_TIMEOUT_S
    warnings: Sequence[str] = ()


def plan_recipe(recipe: Recipe, models: Mapping[str, ModelRef], workers: Sequence[KnownWorker]) -> Plan:
    """The jobs of a recipe, in the order model, sweep, compute unit, device.

    Args:
        models: what each model named in the recipe resolved to.
        workers: the registered workers: `devices: every` means one job for each that can.

    Raises:
        InvalidInput: a sweep path that does not exist, more than `MAX_JOBS` jobs, or `every` with no device to mean.
    """
    jobs: list[PlannedJob] = []
    cells = _sweep_cells(recipe)
    for entry_index in range(len(recipe.entries())):
        for cell in cells:
            workload = _workload(cell, cell.entries()[entry_index], models)
            for compute_unit in cell.on:
                for device in _devices(cell, compute_unit, workers):
                    jobs.append(
                        PlannedJob(
                            compute_unit=compute_unit,
                            workload=workload,
                            priority=cell.priority,
                            device=device,
                            requires=cell.requires,
                            max_attempts=cell.retries.max_attempts,
                        )
                    )
                    if len(jobs) > MAX_JOBS:
                        raise _too_many()
    return Plan(
        name=recipe.name,
        model_url=", ".join(shown_address(entry.model) for entry in recipe.entries()),
        jobs=jobs,
        recipe=recipe.model_dump(mode="json", exclude_defaults=True),
        notes=recipe.notes,
        labels=recipe.labels,
        queue_timeout_s=recipe.queue_timeout_s,
        warnings=unmeetable(jobs, workers),
    )


def unmeetable(jobs: Iterable[PlannedJob], workers: Sequence[KnownWorker]) -> list[str]:
    """A warning for each requirement that no registered worker could ever meet: the device may still join."""
    warnings: list[str] = []
    fleet = Fleet(workers)
    for unit, device, requires in dict.fromkeys((job.compute_unit, job.device, job.requires.model_dump_json()) for job in jobs):
        wanted = Requirements.model_validate_json(requires)
        capabilities = resolve(unit)
        if not fleet.able(capabilities, device, wanted):
            who = f" named {device}" if device else ""
            what = "" if wanted.is_empty() else f" that meets {wanted.model_dump(exclude_defaults=True)}"
            warnings.append(f"no registered worker{who} has {' or '.join(capabilities)}{what} yet; the job waits for one")
    return warnings


def _too_many() -> InvalidInput:
    return InvalidInput(f"the recipe means more than {MAX_JOBS} jobs; split it into several campaigns")


def _sweep_cells(recipe: Recipe) -> list[Recipe]:
    if not recipe.sweep:
        return [recipe]
    for path in recipe.sweep:
        if path.split(".")[0] in OF_THE_CAMPAIGN:
            message = "is no part of a job, so that all jobs of this sweep would be the same"
            raise InvalidInput(f"sweep path {path!r}: {message}", fields=[FieldError(f"sweep.{path}", message)])
    if len(recipe.entries()) * math.prod(map(len, recipe.sweep.values())) > MAX_JOBS:  # a job each at least; before any is looked at
        raise _too_many()
    plain = recipe.model_dump(mode="json", exclude_unset=True)
    for key in OF_THE_CAMPAIGN:
        plain.pop(key, None)
    cells: list[Recipe] = []
    for values in itertools.product(*recipe.sweep.values()):
        cell = plain
        for path, value in zip(recipe.sweep, values, strict=True):
            cell = _with(cell, path.split("."), value, path)
        said = ", ".join(f"{path}={value!r:.80}" for path, value in zip(recipe.sweep, values, strict=True))
        cells.append(parse_recipe(cell, source=f"the recipe with {said}"))
        if [entry.model for entry in cells[-1].entries()] != [entry.model for entry in recipe.entries()]:
            message = "a sweep cannot change which models there are; list them all under `models`"
            raise InvalidInput(f"{said}: {message}", fields=[FieldError("sweep", message)])
    return cells


def _with(content: Any, path: Sequence[str], value: Any, whole: str) -> Any:
    """A copy of nested mappings and lists in which the place at `path` holds `value`."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(content, list):
        place = next((index for index in range(len(content)) if str(index) == head), None)
        if place is None:
            message = f"{head!r} is no index of a list of {len(content)}"
            raise InvalidInput(f"sweep path {whole!r}: {message}", fields=[FieldError(f"sweep.{whole}", message)])
        return [_with(item, rest, value, whole) if index == place else item for index, item in enumerate(content)]
    if content is None:
        content = {}
    if not isinstance(content, dict):
        message = f"{content!r} has no key {head!r}"
        raise InvalidInput(f"sweep path {whole!r}: {message}", fields=[FieldError(f"sweep.{whole}", message)])
    return {**content, head: _with(content.get(head), rest, value, whole)}


def _workload(cell: Recipe, entry: ModelEntry, models: Mapping[str, ModelRef]) -> Workload:
    return Workload(
        model=models[entry.model],
        inferences=entry.inferences or cell.inferences,
        repeats=cell.repeats,
        loads=cell.loads,
        warmup=cell.warmup,
        stop=cell.stop,
        options=entry.options or cell.options,
        timeout_s=cell.timeout_s,
    )


def _devices(cell: Recipe, compute_unit: str, workers: Sequence[KnownWorker]) -> list[str | None]:
    if cell.devices == "any":
        return [None]
    if cell.devices == "every":
        capabilities = resolve(compute_unit)
        found: list[str | None] = [worker.id for worker in workers if could_ever_run(worker, capabilities, None, cell.requires)]
        if not found:
            message = f"`every` means no device: no registered worker has {' or '.join(capabilities)}; start one, or write `devices: any`"
            raise InvalidInput(message, fields=[FieldError("devices", message)])
        return found
    return list(cell.devices)
