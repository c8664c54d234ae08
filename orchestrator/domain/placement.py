"""Decides which workers can run a job, and so to which queues it may be sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.domain.compatibility import KnownWorker, usable_capability
from orchestrator.domain.work_needs import NO_NEEDS, WorkNeeds
from shared.capabilities import libraries_of, resolve_stored, worker_queue
from shared.recipes import Requirements

__all__ = ["Fleet", "KnownWorker", "Place", "places_for"]


class Fleet:
    """Holds a set of workers and searches it by the requirements of a job."""

    def __init__(self, workers: Iterable[KnownWorker] = ()) -> None:
        self.workers = tuple(workers)
        self._servers = Counter(capability for worker in self.workers for capability in set(worker.capabilities))
        self._named: dict[str, list[KnownWorker]] = defaultdict(list)
        for worker in self.workers:
            for name in {worker.id, worker.device_name}:
                self._named[name].append(worker)

    def able(
        self, capabilities: Sequence[str], device: str | None, requires: Requirements, needs: WorkNeeds = NO_NEEDS
    ) -> list[KnownWorker]:
        """Return the workers that could run a job with one of these capabilities."""
        asked: Sequence[KnownWorker] = self.workers if device is None else self._named.get(device, ())
        return [worker for worker in asked if usable_capability(worker, capabilities, device, requires, needs) is not None]

    def named(self, device: str) -> list[KnownWorker]:
        """Return the workers that have this id or device name."""
        return list(self._named.get(device, ()))

    def servers(self, capability: str) -> int:
        """Return how many workers take from the queue of this capability."""
        return self._servers[capability]


@dataclass(frozen=True, order=True)
class Place:
    """Names a queue that a job may be sent to, and the capability that the job then runs with."""

    queue: str
    capability: str


def places_for(
    compute_unit: str,
    device: str | None,
    requires: Requirements,
    living: Fleet,
    quarantined: Fleet | None = None,
    needs: WorkNeeds = NO_NEEDS,
) -> tuple[list[Place], str]:
    """Return every place that a job may be sent to. Of two places with equal load, the earlier one is preferred.

    A job that not every worker with its capability can run goes to the queue of one worker, because any worker takes from the queue of a
    capability, also one that joins later. Workers that have the job's model in their cache come first.

    Args:
        living: the workers that send heartbeats and may get work.
        quarantined: the workers that send heartbeats but may not get work.

    Returns:
        The places and `""`, or an empty list and a text that says what the job waits for.
    """
    capabilities = resolve_stored(compute_unit)
    if device is not None or not requires.is_empty() or not needs.is_empty():
        able = living.able(capabilities, device, requires, needs)
        able.sort(key=lambda worker: (not worker.has(needs), worker.id))
        places = [place_at(worker, capabilities, device, requires, needs) for worker in able]
    else:
        places = [Place(capability, capability) for capability in capabilities if living.servers(capability)]
    return places, "" if places else waits_for(capabilities, device, requires, needs, quarantined)


def place_at(worker: KnownWorker, capabilities: Sequence[str], device: str | None, requires: Requirements, needs: WorkNeeds) -> Place:
    """Return the place of a worker that can run a job."""
    capability = usable_capability(worker, capabilities, device, requires, needs)
    assert capability is not None, "only workers that can run the job are asked"
    return Place(worker_queue(worker.id), capability)


def waits_for(
    capabilities: Sequence[str],
    device: str | None,
    requires: Requirements,
    needs: WorkNeeds = NO_NEEDS,
    quarantined: Fleet | None = None,
) -> str:
    """Return what a job waits for that no worker can run now."""
    who = f" on {device}" if device else ""
    what = "" if requires.is_empty() else f" and {requires.model_dump(exclude_defaults=True)}"
    resting = [worker.device_name for worker in (quarantined or Fleet()).able(capabilities, device, requires, needs)]
    but = f" ({', '.join(resting)} in quarantine)" if resting else ""
    return f"waiting for a worker with {in_words(capabilities, needs)}{who}{what}{but}"


def in_words(capabilities: Sequence[str], needs: WorkNeeds = NO_NEEDS) -> str:
    """Return what a worker must have, for people: `cpu.torch and transformers`."""
    *first, last = capabilities
    found = [f"{', '.join(first)} or {last}" if first else last]
    if needs.kind:
        found += dict.fromkeys(library for capability in capabilities for library in libraries_of(capability, needs.kind))
    if needs.service:
        found.append(
            f"a program for containers to start {needs.service}" if needs.launcher == "container" else f"a server of {needs.service}"
        )
    if needs.memory_mb is not None:
        found.append(f"{needs.memory_mb:.0f} MB for the model")
    if needs.gpus > 1:
        found.append(f"{needs.gpus} GPUs")
    *others, end = found
    return f"{', '.join(others)} and {end}" if others else end
