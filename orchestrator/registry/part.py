"""Holds what the parts of the registry have in common: the connection to Redis, and the errors about a worker."""

from __future__ import annotations

from orchestrator.registry.link import Link
from shared.errors import Conflict, NotFound


class Part:
    """Is a part of the registry. Every method of a part raises `Unavailable` if Redis does not answer."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        """Prepare the scripts. No connection is opened yet.

        Args:
            timeout_s: a worker that was silent for longer no longer counts as living.
        """
        self._link, self.redis, self.timeout_s = link, link.redis, timeout_s


def no_worker(worker_id: str) -> NotFound:
    return NotFound(f"no worker has the id {worker_id!r}; GET /api/workers lists them, POST /api/register enters one")


def is_gone(worker_id: str) -> Conflict:
    return Conflict(f"worker {worker_id} is gone; it has to register again")
