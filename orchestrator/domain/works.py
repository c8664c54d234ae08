"""Lists the different works of a recipe, and says which worker can do which of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.compatibility import Compatibility, KnownWorker, compatibility
from orchestrator.domain.model_memory import ModelMemory
from orchestrator.domain.planning import needs_of
from orchestrator.domain.work_needs import NO_NEEDS, WorkNeeds
from shared.capabilities import LABELS, kinds_of, libraries_of, resolve_stored
from shared.inputs import ModelRef
from shared.kinds.inference import MODEL
from shared.kinds.registry import KINDS
from shared.recipes import Requirements
from shared.recipes.cells import Cell
from shared.services.registry import SERVICES

MOST_WORKS = 200  # a recipe may have 100 000 jobs; each different work is compared with each worker of a page
ANY = Requirements()


@dataclass(frozen=True)
class Work:
    """Describes jobs that need the same of a device.

    Attributes:
        title: what lists call the jobs.
        kind: the kind of work.
        devices: the ids or names of the only devices that may do it; empty if every device may.
    """

    title: str
    kind: str
    compute_unit: str
    devices: tuple[str, ...] = ()
    requires: Requirements = ANY
    needs: WorkNeeds = NO_NEEDS

    def at(self, worker: KnownWorker) -> Compatibility:
        """Return whether a worker can do it, and why not."""
        found = compatibility(worker, resolve_stored(self.compute_unit), None, self.requires, self.needs)
        if not self.devices or {worker.id, worker.device_name} & set(self.devices):
            return found
        missing = (f"it is none of the devices that are named: {', '.join(self.devices)}", *found.missing_requirements)
        return replace(found, capability="", missing_requirements=missing)


def works_of(cells: Iterable[Cell], refs: Sequence[ModelRef], memories: Sequence[ModelMemory | None]) -> list[Work]:
    """Return the different works of a recipe, in the order of its jobs, at most `MOST_WORKS`.

    Args:
        refs: the model of each entry.
        memories: what is known of the memory that each of them takes.
    """
    found: dict[tuple[object, ...], Work] = {}
    for cell in cells:
        model, memory = (None, None) if cell.entry is None else (refs[cell.entry], memories[cell.entry])
        devices = cell.devices if isinstance(cell.devices, tuple) else ()
        for unit, needs in needs_of(cell, model, memory).items():
            key = (cell.entry, unit, devices, cell.requires.model_dump_json(), needs)
            if key not in found:
                title = KINDS[cell.kind].title(cell.spec(), {} if model is None else {MODEL: model})
                found[key] = Work(title, cell.kind, unit, devices, cell.requires, needs)
            if len(found) >= MOST_WORKS:
                return list(found.values())
    return list(found.values())


def works_of_fleet() -> list[Work]:
    """Return one work for each kind of work of each capability, and one for each service that a worker may start."""
    works = []
    for capability in LABELS:
        for kind in kinds_of(capability):
            needs = WorkNeeds(kind=kind) if libraries_of(capability, kind) else NO_NEEDS
            works.append(Work(f"{kind} on {capability}", kind, capability, needs=needs))
    for name, service in SERVICES.items():
        if service.startable:
            needs = WorkNeeds(service=name, launcher="process")
            works.append(Work(f"a {name} that the worker starts", "load", f"service.{name}", needs=needs))
    return works
