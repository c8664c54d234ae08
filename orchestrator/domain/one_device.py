"""Chooses the device of jobs that all go to one device (`devices: one`).

The device is the first that is free. While every device is at work but will soon be free, the jobs wait for the first. If every device
has more work before it, the one with the least work takes the jobs: if they waited, later jobs could overtake them for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.domain.placement import Fleet, KnownWorker, Place, in_words, place_at
from orchestrator.domain.windows import Windows
from orchestrator.domain.work_needs import NO_NEEDS, WorkNeeds
from shared.capabilities import resolve_stored, worker_queue
from shared.recipes import Requirements

MOVE_ON = "to use another device, stop the campaign and run its recipe again with `devices: any` or the name of a device"


@dataclass(frozen=True)
class Need:
    """Says what the jobs of one lane need of a device."""

    compute_unit: str
    requires: Requirements
    work: WorkNeeds = NO_NEEDS

    @property
    def key(self) -> tuple[str, str, str]:
        """Return a value that is equal for equal needs and can be hashed."""
        return self.compute_unit, self.requires.model_dump_json(), self.work.model_dump_json()

    def met_by(self, worker: KnownWorker) -> bool:
        return bool(self.able(Fleet([worker]), None))

    def able(self, fleet: Fleet, device: str | None) -> list[KnownWorker]:
        """Return the workers of a fleet that can run the jobs."""
        return fleet.able(resolve_stored(self.compute_unit), device, self.requires, self.work)


class Chooser:
    """Chooses devices within one turn of dispatch. It knows what each device runs and what waits for it, and counts its own choices."""

    def __init__(self, windows: Windows, living: Fleet, running: Iterable[str], aimed: Iterable[str]) -> None:
        """Collect the work of each device.

        Args:
            living: the workers that may get work now.
            running: the id of the worker of each running job.
            aimed: for each lane that has jobs to send to one device alone, the id or the name of this device.
        """
        self._windows, self._living = windows, living
        self._running = frozenset(running)
        self._aimed: Counter[str] = Counter()
        for device in aimed:
            self._aimed.update(worker.id for worker in living.named(device))
        # How many workers of each capability run nothing now. They are about to take as many messages of its queue.
        self._idle = Counter(
            capability for worker in living.workers if worker.id not in self._running for capability in set(worker.capabilities)
        )
        self._able: dict[tuple[str, str, str], list[KnownWorker]] = {}
        self._known: dict[tuple[tuple[str, str, str], ...], tuple[KnownWorker | None, str]] = {}  # answers since the last choice

    def choose(self, needs: Sequence[Need]) -> tuple[KnownWorker | None, str]:
        """Choose the device of all jobs of a campaign.

        A device that can run more of the campaign is preferred to one that is free, so that as few devices as possible share the jobs.

        Args:
            needs: what the jobs of each lane need. The device must meet the first of them.

        Returns:
            The device and an empty text. Or None and what the jobs wait for; the text is empty if no living worker meets the first need.
        """
        keys = tuple(need.key for need in needs)
        if keys not in self._known:
            self._known[keys] = self._choice(needs)
        worker, reason = self._known[keys]
        if worker is not None:
            self._aimed[worker.id] += 1
            self._known.clear()
        return worker, reason

    def _choice(self, needs: Sequence[Need]) -> tuple[KnownWorker | None, str]:
        able = self._who_can(needs[0])
        if not able:
            return None, ""
        meets = Counter(worker.id for need in needs for worker in self._who_can(need))
        most = max(meets[worker.id] for worker in able)
        cached = Counter(worker.id for need in needs for worker in self._who_can(need) if worker.has(need.work))
        best = sorted((worker for worker in able if meets[worker.id] == most), key=lambda worker: self._amount(worker, cached[worker.id]))
        free = next((worker for worker in best if self._is_free(worker)), None)
        if free is None and any(self._is_free_soon(worker) for worker in best):
            return None, _waits_for_first(sorted(worker.device_name for worker in best))
        return free or best[0], ""

    def _who_can(self, need: Need) -> list[KnownWorker]:
        if need.key not in self._able:
            self._able[need.key] = need.able(self._living, None)
        return self._able[need.key]

    def _is_free(self, worker: KnownWorker) -> bool:
        return (
            worker.id not in self._running
            and not self._waits_for(worker)
            and not any(self._windows.depth(capability) for capability in worker.capabilities)
        )

    def _is_free_soon(self, worker: KnownWorker) -> bool:
        """Return whether the device has nothing to do after its present job, which ends within its time limit."""
        return not self._waits_for(worker) and all(
            self._windows.depth(capability) <= self._idle[capability] for capability in worker.capabilities
        )

    def _amount(self, worker: KnownWorker, cached: int) -> tuple[float, int, str]:
        """Return a key that sorts devices by their work, devices with equal work by the models in their cache, and then by their ids.

        Args:
            cached: for how many lanes the model is in the device's cache.
        """
        shared = sum(self._windows.depth(name) / max(1, self._living.servers(name)) for name in set(worker.capabilities))
        return self._waits_for(worker) + (worker.id in self._running) + shared, -cached, worker.id

    def _waits_for(self, worker: KnownWorker) -> int:
        """Return how much work waits for this device alone: lanes with jobs to send, and messages in its own queue."""
        return self._aimed[worker.id] + self._windows.depth(worker_queue(worker.id))


def place_of(need: Need, device: str, living: Fleet) -> Place | None:
    """Return the queue of the chosen worker, or None if it does not live or cannot run the jobs now.

    Args:
        device: the id of the worker. Another worker whose device has this id as its name does not count.
    """
    for worker in need.able(living, device):
        if worker.id == device:
            return place_at(worker, resolve_stored(need.compute_unit), device, need.requires, need.work)
    return None


def waits_for_chosen(need: Need, device: str, name: str | None, resting: Collection[str]) -> str:
    """Return what jobs wait for if their device was chosen and cannot take them now.

    Args:
        resting: the ids of the workers in quarantine.
    """
    who = f"{name} ({device})" if name else device
    but = ", which is in quarantine" if device in resting else ""
    what = in_words(resolve_stored(need.compute_unit), need.work)
    return f"waiting for a worker with {what} on {who}{but}: it takes all of these jobs; {MOVE_ON}"


def _waits_for_first(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"waiting until {names[0]} is free, which takes all of these jobs"
    shown = list(names) if len(names) <= 5 else [*names[:4], f"{len(names) - 4} others"]
    return f"waiting for the first of {', '.join(shown[:-1])} and {shown[-1]} that is free; it takes all of these jobs"
