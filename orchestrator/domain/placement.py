"""Which queue a job goes to, decided late: when there is room in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.capabilities import resolve, worker_queue
from shared.recipes import Requirements

WINDOW_BASE = 64
WINDOW_PER_WORKER = 4
PRIVATE_WINDOW = 2  # one running, one next: a device chosen late is a device chosen well


@dataclass(frozen=True)
class KnownWorker:
    """What placement reads of a worker."""

    id: str
    device_name: str
    capabilities: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_mb: float = 0
    gpu_memory_mb: float = 0


class Fleet:
    """Some workers, found by what a job asks for: a campaign for every device asks once for each of them."""

    def __init__(self, workers: Iterable[KnownWorker] = ()) -> None:
        self._workers = tuple(workers)
        self._servers = Counter(capability for worker in self._workers for capability in set(worker.capabilities))
        self._named: dict[str, list[KnownWorker]] = defaultdict(list)
        for worker in self._workers:
            for name in {worker.id, worker.device_name}:
                self._named[name].append(worker)

    def able(self, capabilities: Sequence[str], device: str | None, requires: Requirements) -> list[KnownWorker]:
        """Those that could run a job with one of these capabilities."""
        asked = self._workers if device is None else self._named.get(device, ())
        return [worker for worker in asked if could_ever_run(worker, capabilities, device, requires)]

    def named(self, device: str) -> list[KnownWorker]:
        """Those that have this id or device name."""
        return list(self._named.get(device, ()))

    def servers(self, capability: str) -> int:
        """How many take from the queue of this capability."""
        return self._servers[capability]


@dataclass(frozen=True)
class Place:
    """Where a job goes, and as what."""

    queue: str
    capability: str


def could_ever_run(worker: KnownWorker, capabilities: Sequence[str], device: str | None, requires: Requirements) -> bool:
    """Whether this worker has one of the capabilities, is the named device, and meets the requirements."""
    return (
        any(capability in worker.capabilities for capability in capabilities)
        and (device is None or device in (worker.id, worker.device_name))
        and worker.memory_mb >= requires.min_memory_mb
        and worker.gpu_memory_mb >= requires.min_gpu_memory_mb
        and all(worker.labels.get(name) == value for name, value in requires.labels.items())
    )


def window(workers: int) -> int:
    """How many jobs a capability queue holds at most before they are claimed."""
    return WINDOW_BASE + WINDOW_PER_WORKER * workers


def choose(
    compute_unit: str,
    device: str | None,
    requires: Requirements,
    living: Fleet,
    waiting: Mapping[str, int],
    quarantined: Fleet | None = None,
) -> tuple[Place | None, str]:
    """The queue with the least waiting work per worker, or why there is none.

    Args:
        living: workers that are heard of now, and can be given work.
        waiting: dispatched and unclaimed jobs of each queue.
        quarantined: workers that are heard of and can not.

    Returns:
        The place and `""`, or None and what the job waits for.
    """
    capabilities = resolve(compute_unit)
    if device is not None or not requires.is_empty():
        able = living.able(capabilities, device, requires)
        if not able:
            return None, _waits_for(capabilities, device, requires, quarantined)
        best = min(able, key=lambda worker: (waiting.get(worker_queue(worker.id), 0), worker.id))
        return Place(worker_queue(best.id), next(c for c in capabilities if c in best.capabilities)), ""
    load: list[tuple[float, int, str]] = []
    for order, capability in enumerate(capabilities):
        if servers := living.servers(capability):
            load.append((waiting.get(capability, 0) / servers, order, capability))
    if not load:
        return None, _waits_for(capabilities, device, requires, quarantined)
    chosen = min(load)[2]
    return Place(chosen, chosen), ""


def room(place: Place, living: Fleet, waiting_as_urgent: int) -> int:
    """How many more jobs the queue may hold, given those in it that are at least as urgent.

    Less urgent ones do not count: a gate need not wait for a week's campaign to drain.
    """
    limit = window(living.servers(place.capability)) if place.queue == place.capability else PRIVATE_WINDOW
    return max(0, limit - waiting_as_urgent)


def share(candidates: Sequence[tuple[int, Sequence[str]]], seats: int) -> list[str]:
    """Deal `seats` among campaigns so that all have as much in flight as possible.

    Args:
        candidates: for each campaign, oldest first: what it has in flight now, and the ids it could send next.
    """
    taken: list[str] = []
    in_flight = [flying for flying, _ in candidates]
    following = [0] * len(candidates)
    while len(taken) < seats:
        open_ones = [index for index, (_, ids) in enumerate(candidates) if following[index] < len(ids)]
        if not open_ones:
            break
        index = min(open_ones, key=lambda candidate: (in_flight[candidate], candidate))
        taken.append(candidates[index][1][following[index]])
        following[index] += 1
        in_flight[index] += 1
    return taken


def _waits_for(capabilities: Sequence[str], device: str | None, requires: Requirements, quarantined: Fleet | None) -> str:
    *first, last = capabilities
    names = f"{', '.join(first)} or {last}" if first else last
    who = f" on {device}" if device else ""
    what = "" if requires.is_empty() else f" and {requires.model_dump(exclude_defaults=True)}"
    resting = [worker.device_name for worker in (quarantined or Fleet()).able(capabilities, device, requires)]
    but = f" ({', '.join(resting)} in quarantine)" if resting else ""
    return f"waiting for a worker with {names}{who}{what}{but}"
