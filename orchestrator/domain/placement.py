"""Decides which workers can run a job, and so to which queues it may be sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.capabilities import resolve, worker_queue
from shared.recipes import Requirements


@dataclass(frozen=True)
class KnownWorker:
    """Holds what placement needs to know about a worker."""

    id: str
    device_name: str
    capabilities: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_mb: float = 0
    gpu_memory_mb: float = 0
    max_block: int = 1  # how many jobs one message may hold for it


class Fleet:
    """Holds a set of workers and searches it by the requirements of a job."""

    def __init__(self, workers: Iterable[KnownWorker] = ()) -> None:
        self.workers = tuple(workers)
        self._servers = Counter(capability for worker in self.workers for capability in set(worker.capabilities))
        self._named: dict[str, list[KnownWorker]] = defaultdict(list)
        for worker in self.workers:
            for name in {worker.id, worker.device_name}:
                self._named[name].append(worker)

    def able(self, capabilities: Sequence[str], device: str | None, requires: Requirements) -> list[KnownWorker]:
        """Return the workers that could run a job with one of these capabilities."""
        asked: Sequence[KnownWorker] = self.workers if device is None else self._named.get(device, ())
        return [worker for worker in asked if could_ever_run(worker, capabilities, device, requires)]

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


def could_ever_run(worker: KnownWorker, capabilities: Sequence[str], device: str | None, requires: Requirements) -> bool:
    """Return whether this worker has one of the capabilities, is the named device, and meets the requirements."""
    return (
        any(capability in worker.capabilities for capability in capabilities)
        and (device is None or device in (worker.id, worker.device_name))
        and worker.memory_mb >= requires.min_memory_mb
        and worker.gpu_memory_mb >= requires.min_gpu_memory_mb
        and all(worker.labels.get(name) == value for name, value in requires.labels.items())
    )


def places_for(
    compute_unit: str, device: str | None, requires: Requirements, living: Fleet, quarantined: Fleet | None = None
) -> tuple[list[Place], str]:
    """Return every place that a job may be sent to. Of two places with equal load, the earlier one is preferred.

    Args:
        living: the workers that send heartbeats and may get work.
        quarantined: the workers that send heartbeats but may not get work.

    Returns:
        The places and `""`, or an empty list and a text that says what the job waits for.
    """
    capabilities = resolve(compute_unit)
    if device is not None or not requires.is_empty():
        able = sorted(living.able(capabilities, device, requires), key=lambda worker: worker.id)
        places = [Place(worker_queue(worker.id), next(c for c in capabilities if c in worker.capabilities)) for worker in able]
    else:
        places = [Place(capability, capability) for capability in capabilities if living.servers(capability)]
    return places, "" if places else _waits_for(capabilities, device, requires, quarantined)


def _waits_for(capabilities: Sequence[str], device: str | None, requires: Requirements, quarantined: Fleet | None) -> str:
    *first, last = capabilities
    names = f"{', '.join(first)} or {last}" if first else last
    who = f" on {device}" if device else ""
    what = "" if requires.is_empty() else f" and {requires.model_dump(exclude_defaults=True)}"
    resting = [worker.device_name for worker in (quarantined or Fleet()).able(capabilities, device, requires)]
    but = f" ({', '.join(resting)} in quarantine)" if resting else ""
    return f"waiting for a worker with {names}{who}{what}{but}"
