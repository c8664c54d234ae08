"""Defines the three interfaces of a task: to the measurement, to Redis and to the orchestrator. `worker.agent` implements them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from shared.ids import AttemptKey
from shared.protocol.messages import Assignment, AttemptLog, HandBack, Result, Started
from worker.job_log import JobLog

if TYPE_CHECKING:
    from worker.supervisor import Outcome
    from worker.supervisor.block import OnBlockStage, OnOver


class SupervisorPort(Protocol):
    """Defines the part of `worker.supervisor.Supervisor` that a task needs."""

    def run(self, assignment: Assignment, on_stage: Callable[[str, float | None], None], job_log: JobLog | None = None) -> Outcome: ...

    def run_block(
        self, assignments: Sequence[Assignment], on_stage: OnBlockStage, job_logs: Mapping[AttemptKey, JobLog], on_over: OnOver
    ) -> None: ...

    def stop(self, job_id: str, attempt: int, why: Literal["cancelled", "handed_back"]) -> None: ...


class BrokerPort(Protocol):
    """Handles claims and dead letters. Every method raises `Unavailable` while Redis is away."""

    def claim(self, job_id: str, attempt: int, worker_id: str, ttl_s: int) -> str:
        """Claim an attempt. Returns `claimed`, `cancelled`, `superseded`, `held` or `quarantined`."""

    def release(self, job_id: str, attempt: int) -> None: ...

    def dead_letter(self, reason: str, message: str) -> None: ...


class OutboxPort(Protocol):
    """Sends messages to the orchestrator."""

    def tell(self, message: Started | HandBack | AttemptLog) -> None:
        """Send a message once. It may get lost.

        Raises:
            Unavailable: It was not sent.
        """

    def deliver(self, result: Result, attachments: Mapping[str, Path | bytes]) -> None:
        """Send the large artifacts, then the result.

        Raises:
            Unavailable: Not everything was sent.
        """
