"""Changes what is known of a registered worker: its labels and its capabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.registry.link import Link
from orchestrator.registry.records import UNREADABLE, registration_of
from shared.errors import Conflict, NotFound
from shared.protocol import keys, scripts


class Changes:
    """Changes workers. Every method raises `Unavailable` if Redis does not answer, and `NotFound` if no worker of this id is registered."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._change = link.redis.register_script(scripts.CHANGE)

    def set_labels(self, worker_id: str, labels: Mapping[str, str] | None) -> None:
        """Give a worker labels in place of those that it registered with. They stay when it registers again.

        Args:
            labels: None gives the worker its own labels back.
        """
        self._apply(worker_id, labels=json.dumps(labels))

    def set_capabilities(self, worker_id: str, capabilities: list[str]) -> None:
        """Give a device that is driven by REST alone other capabilities, as if it had registered with them.

        Raises:
            Conflict: a worker process runs on the device. It says itself what it can do, and takes jobs from those queues.
        """
        verdict = "changed"
        while verdict == "changed":  # the device registered again between our look and our write
            with self._link.answering():
                before = self._link.redis.hget(keys.WORKERS, worker_id)
            try:
                registration = registration_of(str(before or ""))
            except UNREADABLE as error:
                raise _unknown(worker_id) from error
            after = registration.model_copy(update={"capabilities": capabilities})
            verdict = self._apply(worker_id, registration=after.model_dump_json(), before=str(before))
        if verdict == "process":
            raise Conflict(
                f"a worker process runs on {worker_id}, and advertises what its libraries and its hardware allow: install or remove "
                "the extras of its engines there, and start it again"
            )

    def _apply(self, worker_id: str, *, labels: str = "", registration: str = "", before: str = "") -> str:
        with self._link.answering():
            verdict = str(self._change(args=[worker_id, labels, registration, before]))
        if verdict == "unknown":
            raise _unknown(worker_id)
        return verdict


def _unknown(worker_id: str) -> NotFound:
    return NotFound(
        f"no registered worker has the id {worker_id!r}; GET /api/workers lists them, and one that is gone has to register again"
    )
