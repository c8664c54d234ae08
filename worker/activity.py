"""Holds what the worker is doing now. The job's thread writes it; the heartbeat, the info server and the stop read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition

from shared.ids import AttemptKey
from shared.workers import WorkerStatus


@dataclass(frozen=True)
class Snapshot:
    status: WorkerStatus = WorkerStatus.ACTIVE
    job: AttemptKey | None = None
    stage: str = ""
    progress: float | None = None  # between 0 and 1, or None if it is not known


class Activity:
    """Tracks the one current job: active → busy → cleanup → active."""

    def __init__(self) -> None:
        self._now = Snapshot()
        self._changed = Condition()
        self._listeners: list[Callable[[], None]] = []
        self._stopping = False

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change of status. It must return at once."""
        self._listeners.append(listener)

    def snapshot(self) -> Snapshot:
        with self._changed:
            return self._now

    def begin(self, job: AttemptKey) -> None:
        self._become(Snapshot(WorkerStatus.BUSY, job, "starting"))

    def stage(self, stage: str, progress: float | None) -> None:
        """Record a step within the job. No listener is called, because the next heartbeat is early enough."""
        with self._changed:
            self._now = Snapshot(self._now.status, self._now.job, stage, progress)

    def clean_up(self) -> None:
        """Record that the measurement is over and that its result is being written and sent."""
        with self._changed:
            job = self._now.job
        self._become(Snapshot(WorkerStatus.CLEANUP, job, "sending the result"))

    def end(self) -> None:
        self._become(Snapshot())

    def _become(self, now: Snapshot) -> None:
        with self._changed:
            self._now = now
            self._changed.notify_all()
        for listener in self._listeners:
            listener()

    @property
    def stopping(self) -> bool:
        """Return whether the worker is about to stop. Then no job may begin."""
        with self._changed:
            return self._stopping

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until there is no current job. Returns False if there still is one after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._now.job is None, timeout_s)

    def wait_stopping(self, timeout_s: float) -> bool:
        """Wait until the time is over or the worker is asked to stop. Returns whether it was asked."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, timeout_s)
