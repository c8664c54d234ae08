"""Reads a worker's record from the state that the worker itself writes to Redis."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from sys import float_info
from typing import Any, NamedTuple, TypeVar

from orchestrator.domain.compatibility import KnownWorker
from shared.adverts import MODELS, advert_of, models_of
from shared.workers import Registration, WorkerStatus

T = TypeVar("T")

UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)  # what reading invalid data raises
YEARS_S = 4e9  # the largest believable error of a clock, in seconds (about 127 years)
# Finds JSON text that may decode to values that an API answer cannot hold: escapes, NaN and infinity, and numbers too large for a float.
_DOUBTFUL = re.compile(r"\\|NaN|Infinity|[eE]\+?\d{3}|\d{300}")
LONGEST_S = 86_400.0  # a quarantine that ends later than this is cut; real ones last an hour at most


class Quarantine(NamedTuple):
    """Says until when a flapping device gets no work (in seconds since 1970), and why."""

    until: float
    reason: str


class WorkerRecord(NamedTuple):  # a sweep makes a thousand of these; frozen dataclasses would take five times as long
    """Holds the state of a worker when it was read. Times are from Redis' clock, in seconds since 1970."""

    id: str
    registration: Registration
    device_info: dict[str, Any]  # `registration.device_info` as JSON
    status: WorkerStatus
    incarnation: str
    registered_at: float
    last_seen: float
    silent_s: float
    current_job: str
    held: tuple[tuple[str, int], ...]
    stage: str
    progress: float | None
    metrics: dict[str, Any]
    beats: int  # the number of heartbeats since the worker first registered
    quarantine: Quarantine | None
    clock_offset_s: float | None  # how far its clock was ahead of ours when it registered; None if it did not send its time
    others: dict[str, tuple[str, float | None]] = {}  # noqa: RUF012 (never changed): the stage and the progress of jobs that take turns
    unread: tuple[str, ...] = ()  # the fields of its state that cannot be read; each has the value of a field that is absent

    def known(self) -> KnownWorker:
        """Return what placement needs to know about this worker."""
        return replace(known_worker(self.id, self.registration), models=models_of(self.metrics))

    def works_on(self, job_id: str) -> bool:
        """Return whether it measures this job, or measures it in turns with the current job."""
        return job_id in (self.current_job, *self.others)


class Sight(NamedTuple):
    """Holds the part of a worker's record that is needed to give it work. Reading it is cheaper than reading a whole record."""

    known: KnownWorker
    status: WorkerStatus
    silent_s: float
    quarantined: bool


class Vitals(NamedTuple):
    """Holds what a worker's state says about whether it can get work. Times are in seconds since 1970."""

    status: WorkerStatus
    last_seen: float
    quarantined_until: float
    labels: dict[str, str] | None  # the labels that it was given after it registered, in place of its own
    models: frozenset[str]  # the models in its cache


class Pulse(NamedTuple):
    """Holds what is left of a worker's record if nothing else in it can be read."""

    silent_s: float | None  # seconds since its last heartbeat; None if that cannot be read
    ended: bool  # it is gone or faulty


# `WorkerRecord` is made from these fields of a worker's state.
RECORD_FIELDS = (
    "status",
    "incarnation",
    "registered_at",
    "last_seen",
    "current_job",
    "held",
    "stage",
    "progress",
    "others",
    "metrics",
    "beats",
    "quarantined_until",
    "quarantine_reason",
    "clock_offset_ms",
    "labels",
)


def known_worker(worker_id: str, registration: Registration) -> KnownWorker:
    """Return what placement needs to know about a worker."""
    hardware = registration.hardware
    return KnownWorker(
        id=worker_id,
        device_name=registration.device_name,
        capabilities=tuple(registration.capabilities),
        labels=registration.labels,
        memory_mb=_number(hardware.get("memory_mb")),
        gpu_memory_mb=_number(hardware.get("gpu_memory_mb")),
        max_block=registration.max_block,
        advert=advert_of(hardware),
    )


def _number(value: Any) -> float:
    return float(min(value, float_info.max)) if isinstance(value, int | float) else 0.0


def _between(least: float, value: float, most: float) -> float:
    """Return the value, limited to the bounds. Raise ValueError for NaN."""
    return min(max(least, _no_nan(value)), most)


def _no_nan(value: float) -> float:
    if value != value:
        raise ValueError("nan is no number")
    return value


def vitals_of(state: Mapping[str, str]) -> Vitals:
    """Return what a worker's state says about whether it can get work.

    Raises:
        UNREADABLE: its state cannot be read.
    """
    last_seen, until = (max(0.0, _no_nan(float(state.get(name, "0")))) / 1000 for name in ("last_seen", "quarantined_until"))
    labels = _labels(state["labels"]) if state.get("labels") else None
    return Vitals(WorkerStatus(state.get("status", WorkerStatus.ACTIVE)), last_seen, until, labels, _models(state.get("metrics")))


def sight_of(known: KnownWorker, vitals: Vitals, now: float) -> Sight:
    """Return the sight of a worker at this moment of Redis' clock. A heartbeat of the future counts as one of now."""
    return Sight(
        known, vitals.status, now - vitals.last_seen if vitals.last_seen < now else 0.0, quarantined=vitals.quarantined_until > now
    )


def record_of(
    worker_id: str, registration: Registration, state: Mapping[str, str], now: float, device_info: dict[str, Any] | None = None
) -> WorkerRecord:
    """Return the record of a worker. The worker itself writes its state to Redis, so it may hold anything.

    A field that cannot be read counts as absent, and the record names it in `unread`. A worker of a newer version may write fields in a
    form that we do not know, and its jobs must not be lost because of that.

    Raises:
        UNREADABLE: it cannot be read when the worker was last heard.
    """
    unread: list[str] = []

    def read(name: str, reader: Callable[[str], T], absent: T) -> T:
        text = state.get(name)
        if not text:
            return absent
        try:
            return reader(text)
        except UNREADABLE:
            unread.append(name)
            return absent

    last_seen = _between(0, float(state.get("last_seen", "0")) / 1000, now)
    labels = read("labels", _labels, None)
    if labels is not None:
        registration = registration.model_copy(update={"labels": labels})
    until = read("quarantined_until", lambda text: _between(0, float(text) / 1000, now + LONGEST_S), 0.0)
    return WorkerRecord(
        id=worker_id,
        registration=registration,
        device_info=registration.device_info.model_dump(mode="json") if device_info is None else device_info,
        status=read("status", WorkerStatus, WorkerStatus.ACTIVE),
        incarnation=state.get("incarnation", ""),
        registered_at=read("registered_at", lambda text: _between(0, float(text) / 1000, now), 0.0),
        last_seen=last_seen,
        silent_s=max(0.0, now - last_seen),
        current_job=state.get("current_job", ""),
        held=read("held", _held, ()),
        stage=state.get("stage", ""),
        progress=read("progress", _share, None),
        others=read("others", _others, {}),
        metrics=read("metrics", _metrics, {}),
        beats=read("beats", int, 0),
        quarantine=Quarantine(until, state.get("quarantine_reason", "")) if until > now else None,
        clock_offset_s=read("clock_offset_ms", _offset_s, None),
        unread=tuple(unread),
    )


def pulse_of(last_seen: str | None, status: str | None, now: float) -> Pulse:
    """Return the pulse of a worker. This never fails."""
    try:
        silent_s: float | None = max(0.0, now - _between(0, float(last_seen or "") / 1000, now))
    except UNREADABLE:
        silent_s = None
    return Pulse(silent_s, status in (WorkerStatus.GONE, WorkerStatus.FAULTY))


def registration_of(text: str) -> Registration:
    """Return a device's registration from its JSON text.

    Raises:
        UNREADABLE: the text cannot be read.
    """
    registration = Registration.model_validate_json(text)
    _check_answerable(registration.model_dump(mode="json"))
    return registration


def _held(text: str) -> tuple[tuple[str, int], ...]:
    return tuple((str(job_id), int(attempt)) for job_id, attempt in json.loads(text)) if text != "[]" else ()


def _others(text: str) -> dict[str, tuple[str, float | None]]:
    others = json.loads(text)
    if not isinstance(others, dict):
        raise TypeError(f"stages are an object, not {type(others).__name__}")
    _check_answerable(others)
    return {str(job_id): (str(stage), None if done is None else _between(0, float(done), 1)) for job_id, (stage, done) in others.items()}


def _labels(text: str) -> dict[str, str] | None:
    """Return the labels that a worker was given after it registered, in place of its own."""
    labels = json.loads(text)
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise TypeError("labels are an object of texts")
    _check_answerable(labels)
    return labels


def _share(text: str) -> float | None:
    return _between(0, float(text), 1)


def _offset_s(text: str) -> float | None:
    return _between(-YEARS_S, float(text) / 1000, YEARS_S)


def _metrics(text: str) -> dict[str, Any]:
    metrics = json.loads(text)
    if not isinstance(metrics, dict):
        raise TypeError(f"metrics are an object, not {type(metrics).__name__}")
    if _DOUBTFUL.search(text):
        _check_answerable(metrics)
    return metrics


def _models(metrics: str | None) -> frozenset[str]:
    """Return the models in a worker's cache. They only decide which of two workers is preferred, so nonsense counts as none."""
    if not metrics or f'"{MODELS}"' not in metrics:
        return frozenset()
    try:
        return models_of(json.loads(metrics))
    except UNREADABLE:
        return frozenset()


def _check_answerable(value: dict[str, Any]) -> None:
    """Raise ValueError for values that no API answer can hold: NaN, numbers with thousands of digits, lone surrogates."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
