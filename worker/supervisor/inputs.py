"""Fetches the inputs of one attempt, and keeps them in the cache until it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from shared.clock import Clock
from shared.inputs import INPUTS_SHA256
from shared.kinds.inference import MODEL
from shared.protocol.messages import Assignment
from worker.job_log import JobLog
from worker.kinds.registry import model_suffixes
from worker.models import FetchedModel, ModelStore
from worker.supervisor.heavy_work import HeavyWork
from worker.supervisor.host_lock import HostLock


class InputsOfJob:
    """Holds the inputs of one attempt. `found` has them by their roles; the first one of an inference is the model.

    Args:
        take_turn: Waits for the host's lock, shared with other workers that fetch, and returns what gives it back.
        on_stage: Called with what is being done, and with the fraction that is done.
        check_stop: Raises when the attempt must stop.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        models: ModelStore,
        lock: HostLock,
        take_turn: Callable[[], Callable[[], None]],
        clock: Clock,
        on_stage: Callable[[str, float | None], None],
        job_log: JobLog,
        check_stop: Callable[[], None],
    ) -> None:
        self._assignment, self._models, self._lock, self._take_turn = assignment, models, lock, take_turn
        self._clock, self._on_stage, self._log, self._check_stop = clock, on_stage, job_log, check_stop
        self.found: dict[str, FetchedModel] = {}

    def fetch(self, held: ExitStack) -> float:
        """Fetch all inputs, and keep them in the cache as long as `held` is open. Return how many seconds the fetching took.

        Raises:
            JobError: One of them cannot be had.
        """
        begin = self._clock.monotonic()
        self._on_stage("fetching", None)
        heavy = HeavyWork(self._lock, self._take_turn, self._clock)

        def on_progress(fraction: float | None) -> None:
            self._check_stop()
            heavy.step()
            self._on_stage("fetching", fraction)

        workload = self._assignment.workload
        try:
            # Waiting for a server is no work, so the lock is given back meanwhile: a stalled server must not hold up a neighbour.
            suffixes = model_suffixes(workload.kind, self._assignment.capability)
            for role, wanted in workload.inputs.items():
                found = self._models.fetch(wanted, on_progress, suffixes, on_wait=heavy.close)
                self.found[role] = found
                size = f"{found.size} bytes, sha256 {found.sha256}"
                self._log.add("info", "infrastructure", f"{role} {found.name} from {wanted.source}: {size}")
        finally:
            heavy.close()
        took_s = self._clock.monotonic() - begin
        for found in self.found.values():
            held.enter_context(self._models.in_use(found))
        return took_s

    def facts(self, warnings: Sequence[Any]) -> dict[str, Any]:
        """Return for the facts of the result where inputs come from, what unpromised ones contained, and what is doubtful about them.

        Args:
            warnings: Those that the result has already.
        """
        origins = {role: found.origin for role, found in self.found.items() if found.origin}
        doubts = [warning for found in self.found.values() for warning in found.warnings]
        wanted = self._assignment.workload.inputs
        further = {role: found.sha256 for role, found in self.found.items() if role != MODEL and wanted[role].sha256 is None}
        known = {"origin": origins, INPUTS_SHA256: further}
        return {**{name: one for name, one in known.items() if one}, **({"warnings": [*warnings, *doubts]} if doubts else {})}
