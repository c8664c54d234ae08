"""Knows which services this worker runs at the moment. Heartbeats tell it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import Any, Literal

State = Literal["starting", "healthy", "idle", "ended"]


@dataclass(frozen=True)
class RunningService:
    """Describes a service that the worker started. `id` is unique in the fleet; `at` is when it was started, in seconds since 1970."""

    id: str
    type: str
    address: str
    job: str
    launcher: str
    version: str
    at: float
    state: State = "starting"


class RunningServices:
    """Holds the services of one worker. The job's thread changes it, and the heartbeat reads it."""

    def __init__(self) -> None:
        self._services: dict[str, RunningService] = {}
        self._lock = Lock()

    def add(self, service: RunningService) -> None:
        with self._lock:
            self._services[service.id] = service

    def change(self, service_id: str, state: State) -> None:
        with self._lock:
            self._services[service_id] = replace(self._services[service_id], state=state)

    def given(self, service_id: str, to_id: str, job: str) -> None:
        """Take note that a service now serves another job, under the id `to_id`."""
        with self._lock:
            self._services[to_id] = replace(self._services.pop(service_id), id=to_id, job=job)

    def remove(self, service_id: str) -> None:
        with self._lock:
            self._services.pop(service_id, None)

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(service) for service in self._services.values()]
