"""Holds one worker as this process knows it: its registration and its state, and what was read from them, once for each change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.domain.placement import KnownWorker
from orchestrator.registry.records import (
    LONGEST_S,
    UNREADABLE,
    Sight,
    Vitals,
    WorkerRecord,
    known_worker,
    record_of,
    registration_of,
    sight_of,
    vitals_of,
)
from shared.workers import Registration

log = logging.getLogger(__name__)

Row = tuple[str | None, ...]

VERSION = ("said", "incarnation")  # a registration with the same two values has not changed


class Said(NamedTuple):
    """Holds a registration in the forms in which it is used."""

    registration: Registration
    known: KnownWorker
    device_info: dict[str, Any]


def said_of(worker_id: str, text: str | None) -> Said | None:
    """Return a registration from its JSON text, or None if it cannot be read. A device may register with any content."""
    try:
        registration = registration_of(text or "")
        return Said(registration, known_worker(worker_id, registration), registration.device_info.model_dump(mode="json"))
    except UNREADABLE as error:
        log.warning("what %s said when it registered cannot be read, so it counts as absent: %s", worker_id, error)
        return None


class Copy:
    """Holds a worker's registration and state. They never change: a worker that has changed gets another copy.

    Reading a state costs much more than keeping what was read, and most workers have not changed since the last look. What a state says
    does not depend on the time, with two exceptions: how long the worker has been silent, and whether its quarantine has ended.
    """

    __slots__ = ("_record", "_sighted", "age", "id", "row", "said", "state", "version")

    def __init__(self, worker_id: str, said: Said | None, fields: Sequence[str], row: Row) -> None:
        """
        Args:
            said: its registration; None if that cannot be read.
            fields: the names of the values in `row`, those of `VERSION` first.
        """
        self.id, self.said, self.row, self.version = worker_id, said, row, row[: len(VERSION)]
        self.state = {name: value for name, value in zip(fields, row, strict=True) if value is not None and name != "said"}
        self.age = (_moment(self.state.get("registered_at")), worker_id)  # orders workers by their registration
        self._record: WorkerRecord | None = None
        self._sighted: tuple[KnownWorker, Vitals] | None = None

    def record(self, now: float) -> WorkerRecord | None:
        """Return the worker's record, or None if it cannot be read."""
        listed = self.listed(now)
        return None if listed is None else listed._replace(silent_s=max(0.0, now - listed.last_seen))

    def listed(self, now: float) -> WorkerRecord | None:
        """Return the worker's record for display, or None if it cannot be read.

        It is the same object until something changes that people see. So its `silent_s` is that of the moment when it was made.
        """
        made = self._record
        if made is None:
            return self._read(now)
        if made.quarantine is not None and made.quarantine.until <= now:
            self._record = made = made._replace(quarantine=None)
        return made

    def _read(self, now: float) -> WorkerRecord | None:
        assert self.said is not None, "the roster leaves out workers whose registration cannot be read"
        try:
            made = record_of(self.id, self.said.registration, self.state, now, self.said.device_info)
        except UNREADABLE as error:
            absent(self.id, error)
            return None
        if made.unread:
            log.warning("%s: %s of its state cannot be read, and count as absent", self.id, ", ".join(made.unread))
        # A time that lies in the future is cut to the present, so it would be another one at each look.
        until = made.quarantine.until if made.quarantine is not None else 0.0
        if max(made.last_seen, made.registered_at, until - LONGEST_S) < now:
            self._record = made
        return made

    def sight(self, now: float) -> Sight | None:
        """Return the worker's sight, or None if its state cannot be read."""
        assert self.said is not None, "the roster leaves out workers whose registration cannot be read"
        try:
            self._sighted = known, vitals = self._sighted or _known_now(self.said.known, vitals_of(self.state))
        except UNREADABLE as error:
            absent(self.id, error)
            return None
        return sight_of(known, vitals, now)


def _known_now(known: KnownWorker, vitals: Vitals) -> tuple[KnownWorker, Vitals]:
    """Return what placement needs to know, with the models in its cache, and the labels that it was given after it registered."""
    labels = known.labels if vitals.labels is None else vitals.labels
    changed = vitals.labels is not None or vitals.models != known.models
    return (replace(known, labels=labels, models=vitals.models) if changed else known), vitals


def absent(worker_id: str, error: Exception) -> None:
    """Log that a worker is left out. A worker writes its own state, so it may hold anything."""
    log.warning("the state of %s cannot be read, so it counts as absent: %s", worker_id, error)


def _moment(text: str | None) -> float:
    """Return a time of a worker's state, or 0 if it cannot be read."""
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if value == value else 0.0
