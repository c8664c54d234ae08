"""Changes the states of workers. The table of states in `shared.workers` says which steps are allowed."""

from __future__ import annotations

import json
from typing import Any, cast

from orchestrator.registry.link import Link
from orchestrator.registry.looks import Looks
from orchestrator.registry.part import is_gone, no_worker
from shared.errors import IllegalTransition
from shared.protocol import keys, scripts
from shared.workers import WorkerStatus, following, may_become


class States(Looks):
    """Changes states. It looks at a worker first, to say which step is not allowed."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        super().__init__(link, timeout_s)
        self._heartbeat = link.redis.register_script(scripts.HEARTBEAT)
        self._deregister = link.redis.register_script(scripts.DEREGISTER)
        self._step = link.redis.register_script(scripts.STEP)
        self._reset = link.redis.register_script(scripts.RESET)
        self._condemn = link.redis.register_script(scripts.CONDEMN)
        self._stop_service = link.redis.register_script(scripts.STOP_SERVICE)

    def heartbeat(
        self, worker_id: str, status: WorkerStatus | None = None, current_job: str = "", metrics: dict[str, Any] | None = None
    ) -> WorkerStatus:
        """Record a heartbeat of a device that uses REST. Return its status after it.

        Raises:
            NotFound: no worker has this id.
            IllegalTransition: the table of states does not allow this step.
            Conflict: the worker is gone.
        """
        if status is not None:
            self._check_step(worker_id, status)
        arguments = [worker_id, "", status or "", current_job, "[]", "", "", json.dumps(metrics) if metrics else ""]
        with self._link.answering():
            answer = cast("list[str]", self._heartbeat(args=arguments))
        if answer[0] == "unknown":
            raise is_gone(self.get(worker_id).id)
        return WorkerStatus(answer[1])

    def _check_step(self, worker_id: str, wanted: WorkerStatus) -> WorkerStatus:
        seen = self.get(worker_id).status
        if not may_become(seen, wanted):
            steps = " or ".join(following(seen))
            what = f"it cannot become {wanted}, only {steps}" if steps else "it has to register again"
            raise IllegalTransition(f"worker {worker_id} is {seen}; {what}")
        return seen

    def set_status(self, worker_id: str, wanted: WorkerStatus) -> None:
        """Change the status of a worker.

        Raises:
            NotFound: no worker has this id.
            IllegalTransition: the table of states does not allow this step.
        """
        while True:  # try again if the status changed between our check and our write
            seen = self._check_step(worker_id, wanted)
            with self._link.answering():
                if self._step(args=[worker_id, seen, wanted]):
                    return

    def condemn(self, worker_id: str) -> bool:
        """Mark a silent worker as faulty. Its next heartbeat makes it active again.

        Return False if it sent a heartbeat in the meantime, or if another watch was faster.
        """
        with self._link.answering():
            return bool(self._condemn(args=[worker_id, int(self.timeout_s * 1000)]))

    def reset(self, worker_id: str) -> None:
        """Make a worker `active` and end its quarantine, whatever its status. This counts as a heartbeat.

        Raises:
            NotFound: no worker has this id.
            Conflict: the worker is gone.
        """
        with self._link.answering():
            done = self._reset(args=[worker_id])
        if not done:
            raise is_gone(self.get(worker_id).id)

    def stop_service(self, worker_id: str, service_id: str) -> None:
        """Tell a worker at its next heartbeat that an idle service of it is unwanted.

        Raises:
            NotFound: no worker has this id.
            Conflict: the worker is gone.
        """
        with self._link.answering():
            told = self._stop_service(args=[worker_id, service_id])
        if not told:
            raise is_gone(self.get(worker_id).id)

    def remove(self, worker_id: str) -> None:
        """Remove a worker: its status becomes `gone`.

        Raises:
            NotFound: no worker has this id.
        """
        with self._link.answering():
            if not self.redis.hexists(keys.WORKERS, worker_id) and not self.redis.hexists(keys.DEPARTED, worker_id):
                raise no_worker(worker_id)
            self._deregister(args=[worker_id, ""])
