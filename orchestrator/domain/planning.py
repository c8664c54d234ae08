"""Turns a submission into jobs: models x sweep x compute units x devices."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from orchestrator.domain.model_memory import ModelMemory
from orchestrator.domain.placement import Fleet, KnownWorker, in_words
from orchestrator.domain.work_needs import NO_NEEDS, WorkNeeds, work_needs
from shared.addresses import shown_address
from shared.capabilities import resolve
from shared.errors import FieldError, InvalidInput, Unavailable
from shared.inputs import ModelRef
from shared.jobs import DEFAULT_QUEUE_TIMEOUT_S, MAX_JOBS
from shared.kinds.generation import DATASET
from shared.kinds.inference import MODEL
from shared.kinds.registry import KINDS
from shared.recipes import ModelEntry, Recipe, Requirements
from shared.recipes.cells import Cell, cells_of, too_many
from shared.recipes.remarks import remarks
from shared.workloads import Workload

NO_DATASETS: Mapping[str, ModelRef] = {}
MAX_NAMED = 20  # an error lists at most this number of devices
NOT_KNOWN = "Redis does not answer, so it is not known whether there is a worker for these jobs; they wait for one"


@dataclass(frozen=True)
class Request:
    """Describes a submission, either a recipe or the short form: its models, and what is measured with them.

    Attributes:
        entries: the models. Two entries may name the same model.
        cells: what to measure. Each cell names an entry by its index. An object that is listed twice is planned once, and its jobs are
            made twice.
        document: the submission in a form that can be submitted again.
        wait_for_device: whether a named device may register later.
        remarks: the keys that are accepted and have no effect, as sentences.
    """

    name: str
    entries: Sequence[ModelEntry]
    cells: Sequence[Cell]
    document: Mapping[str, Any]
    notes: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    queue_timeout_s: float = DEFAULT_QUEUE_TIMEOUT_S
    wait_for_device: bool = False
    remarks: Sequence[str] = ()


class PlannedJob(NamedTuple):
    """Describes a job that has no id yet.

    `device` is a worker's id or device name. None means any free worker or, if `one_device` is true, the device that takes all such jobs.
    """

    compute_unit: str
    device: str | None
    cell: Cell
    model: ModelRef | None  # None if this kind of work needs no model
    needs: WorkNeeds = NO_NEEDS  # what the work itself needs of a device
    dataset: ModelRef | None = None  # the user's own documents, for a task

    @property
    def one_device(self) -> bool:
        return self.device is None and self.cell.devices == "one"

    def workload(self) -> Workload:
        """Return the workload that the worker gets."""
        cell = self.cell
        named = {MODEL: self.model, DATASET: self.dataset}
        return Workload(
            spec=cell.spec(),
            inputs={role: ref for role, ref in named.items() if ref is not None},
            target=cell.target(),
            repeats=cell.repeats,
            warmup=cell.warmup,
            stop=cell.stop,
            timeout_s=cell.timeout_s,
        )


@dataclass(frozen=True)
class Plan:
    """Holds the jobs of a submission, and warnings for the user who submits it."""

    model_url: str
    jobs: Sequence[PlannedJob]
    warnings: Sequence[str] = ()


def of_recipe(recipe: Recipe) -> Request:
    """Return a recipe as a submission.

    Raises:
        InvalidInput: its sweep is not valid.
    """
    return Request(
        name=recipe.name,
        entries=recipe.entries(),
        cells=list(cells_of(recipe)),
        document=recipe.model_dump(mode="json", exclude_unset=True),
        notes=recipe.notes,
        labels=recipe.labels,
        queue_timeout_s=recipe.queue_timeout_s,
        wait_for_device=recipe.wait_for_device,
        remarks=remarks(recipe),
    )


def plan(
    request: Request,
    models: Sequence[ModelRef],
    workers: Sequence[KnownWorker] | None,
    memories: Sequence[ModelMemory | None] | None = None,
    datasets: Mapping[str, ModelRef] = NO_DATASETS,
) -> Plan:
    """Return the jobs of a submission, in the order model, sweep, compute unit, device.

    Args:
        models: the resolved model of each entry, in the order of the entries.
        workers: the registered workers, or None if they are not known because Redis does not answer.
        memories: what is known of the memory that each of these models takes.
        datasets: the uploaded data sets of the submission, by what a cell calls them.

    Raises:
        InvalidInput: there are more than `MAX_JOBS` jobs, `devices: every` matches no device, no worker has a named device's name and the
            submission does not say that it waits for it, or several workers have that name.
        Unavailable: the jobs depend on the registered workers, and these are not known.
    """
    devices = _Devices(workers, request.wait_for_device)
    planned: dict[int, list[PlannedJob]] = {}
    jobs: list[PlannedJob] = []
    for cell in request.cells:
        if id(cell) not in planned:
            model, dataset = None if cell.entry is None else models[cell.entry], datasets.get(cell.dataset or "")
            memory = None if memories is None or cell.entry is None else memories[cell.entry]
            planned[id(cell)] = [job._replace(dataset=dataset) for job in _jobs(cell, model, memory, devices)]
        jobs += planned[id(cell)]
        if len(jobs) > MAX_JOBS:
            raise too_many()
    of_fleet = [NOT_KNOWN] if workers is None else [*_unmeetable(jobs, devices.fleet), *_on_several(jobs, devices.fleet)]
    return Plan(
        model_url=", ".join(shown_address(entry.model) for entry in request.entries),
        jobs=jobs,
        warnings=[*request.remarks, *of_fleet],
    )


def sending_order(planned: Sequence[PlannedJob], seed: str) -> list[int]:
    """Return for each job its place in the order in which the jobs are sent, counted from 1.

    Jobs of different cells are compared with each other, so their order is random: otherwise a device that becomes slower, for example
    because it becomes hot, would make the last values of a sweep look slow. Equal jobs keep the order of the submission.

    Args:
        seed: the same seed gives the same order.
    """
    places = list(range(1, len(planned) + 1))
    if len({id(job.cell) for job in planned}) > 1:
        random.Random(seed).shuffle(places)  # noqa: S311 (an order, not a secret)
    return places


def _jobs(cell: Cell, model: ModelRef | None, memory: ModelMemory | None, devices: _Devices) -> list[PlannedJob]:
    needs = needs_of(cell, model, memory)
    return [PlannedJob(unit, device, cell, model, needs[unit]) for unit in cell.on for device in devices.of(cell, unit, needs[unit])]


def needs_of(cell: Cell, model: ModelRef | None, memory: ModelMemory | None) -> dict[str, WorkNeeds]:
    """Return what the work of a cell needs of a device, by the compute unit."""
    target = cell.target()
    if target is None and not KINDS[cell.kind].spec.takes_snapshots:  # making the specification of each of 100 000 cells takes seconds
        return dict.fromkeys(cell.on, NO_NEEDS)
    spec = cell.spec()
    return {unit: work_needs(spec, target, unit, model, memory) for unit in cell.on}


class _Devices:
    """Finds the devices that the jobs of a cell go to."""

    def __init__(self, workers: Sequence[KnownWorker] | None, may_join: bool) -> None:
        self._known = workers is not None
        self._may_join = may_join
        self.fleet = Fleet(workers or ())
        self._every: dict[tuple[str, int, WorkNeeds], tuple[Requirements, list[str | None]]] = {}  # keeps `requires`: its id stays unique
        self._checked: set[str] = set()

    def of(self, cell: Cell, unit: str, needs: WorkNeeds) -> Sequence[str | None]:
        if cell.devices in ("any", "one"):
            return (None,)
        if cell.devices == "every":
            key = (unit, id(cell.requires), needs)
            if key not in self._every:
                self._every[key] = (cell.requires, self._able(unit, cell.requires, needs))
            return self._every[key][1]
        for name in cell.devices:
            self._check(name)
        return cell.devices

    def _able(self, unit: str, requires: Requirements, needs: WorkNeeds) -> list[str | None]:
        if not self._known:
            raise Unavailable(
                "`devices: every` asks which workers there are, and Redis, which knows them, does not answer; "
                "submit it again when it is back, or name the devices"
            )
        capabilities = resolve(unit)
        found: list[str | None] = [worker.id for worker in self.fleet.able(capabilities, None, requires, needs)]
        if not found:
            what = in_words(capabilities, needs)
            message = f"`every` means no device: no registered worker has {what}; start one, or write `devices: any`"
            raise InvalidInput(message, fields=[FieldError("devices", message)])
        return found

    def _check(self, name: str) -> None:
        """Check that a device name means one device.

        Raises:
            InvalidInput: several workers have this device name, and it is not a worker's id. Or no worker has it, and nobody said that the
                device joins later.
        """
        if name in self._checked:
            return
        self._checked.add(name)
        ids = sorted(worker.id for worker in self.fleet.named(name))
        if len(ids) > 1 and name not in ids:
            message = f"{len(ids)} workers are called {name!r}; name the one that is meant by its id: {', '.join(ids)}"
            raise InvalidInput(message, fields=[FieldError("devices", message)])
        if not ids and self._known and not self._may_join:
            message = (
                f"no registered device is called {name!r}{_meant(name, self.fleet.workers)}. If it joins later, say so: "
                "`wait_for_device: true`, or `fleetmark run --wait-for-device`"
            )
            raise InvalidInput(message, fields=[FieldError("devices", message)])


def _meant(name: str, workers: Sequence[KnownWorker]) -> str:
    """Return the nearest name of a device and a list of some, or that there are none."""
    known = sorted({worker.device_name for worker in workers})
    if not known:
        return ", and none has registered yet"
    close = get_close_matches(name, [*known, *(worker.id for worker in workers)], n=1, cutoff=0.5)
    hint = f": did you mean {close[0]!r}?" if close else "."
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    return f"{hint} Known: {', '.join(known[:MAX_NAMED])}{more}"


def _unmeetable(jobs: Iterable[PlannedJob], fleet: Fleet) -> list[str]:
    """Return a warning for each requirement that no registered worker meets. This is no error, as a suitable device may join later."""
    warnings: dict[str, None] = {}
    asked = {(job.compute_unit, job.device, id(job.cell.requires), job.needs): job.cell.requires for job in jobs}
    for (unit, device, _, needs), requires in asked.items():
        capabilities = resolve(unit)
        if not fleet.able(capabilities, device, requires, needs):
            who = f" named {device}" if device else ""
            least = ", ".join(f"{name}: {value}" for name, value in requires.model_dump(exclude_defaults=True).items())
            what = f" that meets `{least}`" if least else ""
            warnings[f"no registered worker{who} has {in_words(capabilities, needs)}{what} yet; the job waits for one"] = None
    return list(warnings)


def _on_several(jobs: Iterable[PlannedJob], fleet: Fleet) -> list[str]:
    """Return a warning if one device shall take all jobs, and no registered worker can do so although each job could run somewhere."""
    needs = {(job.compute_unit, id(job.cell.requires), job.needs): job for job in jobs if job.one_device}
    able = [{worker.id for worker in fleet.able(resolve(job.compute_unit), None, job.cell.requires, job.needs)} for job in needs.values()]
    if len(able) < 2 or not all(able) or set.intersection(*able):
        return []
    units = ", ".join(dict.fromkeys(job.compute_unit for job in needs.values()))
    return [
        f"no registered worker can run all jobs ({units}), so several devices share them, as few as possible; "
        "do not compare results of different devices"
    ]
