"""Registers workers, and reads their registrations."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from redis.commands.core import Script

from orchestrator.registry.copies import absent
from orchestrator.registry.link import Link
from orchestrator.registry.part import Part
from orchestrator.registry.records import UNREADABLE, registration_of
from shared.errors import IdentityInUse
from shared.ids import new_worker_id, worker_id_of
from shared.protocol import keys, scripts
from shared.workers import Registration


class Registrations(Part):
    """Registers workers."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        super().__init__(link, timeout_s)
        self._register = link.redis.register_script(scripts.REGISTER)
        self._may_register = link.redis.register_script(scripts.MAY_REGISTER)

    def id_for(self, registration: Registration) -> str:
        """Return the id under which `register` would enter this worker. Write nothing.

        Raises:
            IdentityInUse: another living process uses this UDID.
        """
        return self._enter(self._may_register, self._arguments(registration))[0]

    def register(self, registration: Registration, clock_offset_s: float | None = None, worker_id: str | None = None) -> tuple[str, str]:
        """Register a worker.

        Args:
            clock_offset_s: how far its clock is ahead of ours, if it sent its time.
            worker_id: what `id_for` returned, if it was asked. A device without a UDID gets another id each time otherwise.

        Returns:
            Its id, and `created` or `reconnected` (the UDID was known already).

        Raises:
            IdentityInUse: another living process uses this UDID.
        """
        arguments = self._arguments(registration, worker_id)
        if clock_offset_s is not None:
            arguments.append(int(clock_offset_s * 1000))
        return self._enter(self._register, arguments)

    def _arguments(self, registration: Registration, worker_id: str | None = None) -> list[str | int]:
        udid = registration.device_info.UDID
        proposed = worker_id or (worker_id_of(udid) if udid else new_worker_id())
        return [proposed, udid, registration.model_dump_json(), registration.incarnation, int(self.timeout_s * 1000)]

    def _enter(self, script: Script, arguments: list[str | int]) -> tuple[str, str]:
        udid = arguments[1]
        with self._link.answering():
            worker_id, action = cast("list[str]", script(args=arguments))
        if action == "conflict":
            raise IdentityInUse(
                f"{worker_id} (UDID {udid}) is alive in another process; stop that one, or, if this disk is a clone, "
                "delete the identity file in the worker's state folder and start again"
            )
        return worker_id, action

    def entered(self, worker_ids: Collection[str]) -> set[str]:
        """Return those of these ids that have registered, including workers that left, or that were forgotten within two weeks."""
        names = sorted(worker_ids)
        if not names:
            return set()
        with self._link.answering():
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.hmget(keys.WORKERS, names)
            pipeline.hmget(keys.DEPARTED, names)
            pipeline.zmscore(keys.FORMER, names)
            found = cast("list[list[object]]", pipeline.execute())
        return {name for name, *known in zip(names, *found, strict=True) if any(one is not None for one in known)}

    def registrations(self, worker_ids: Collection[str]) -> dict[str, Registration]:
        """Return the last registration of each of these workers, including workers that left. Unknown workers are left out."""
        names = sorted(worker_ids)
        if not names:
            return {}
        with self._link.answering():
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.hmget(keys.WORKERS, names)
            pipeline.hmget(keys.DEPARTED, names)
            present, departed = cast("list[list[str | None]]", pipeline.execute())
        found: dict[str, Registration] = {}
        for name, *texts in zip(names, present, departed, strict=True):
            text = next(filter(None, texts), None)
            try:
                found |= {name: registration_of(text)} if text else {}
            except UNREADABLE as error:
                absent(name, error)
        return found
