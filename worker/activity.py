"""Holds what the worker is doing now. The job's thread writes it; the heartbeat, the info server and the stop read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Condition
from typing import NamedTuple

from shared.ids import AttemptKey
from shared.workers import WorkerStatus


class Stage(NamedTuple):
    """Says what is done for a job now, and how much of the job is done: 0 to 1, or None if that is not known."""

    stage: str
    progress: float | None


@dataclass(frozen=True)
class Snapshot:
    """Describes the current job and, if it takes turns with other jobs, these `others`."""

    status: WorkerStatus = WorkerStatus.ACTIVE
    job: AttemptKey | None = None
    stage: str = ""
    progress: float | None = None  # 0 to 1; None if it is not known
    others: Mapping[AttemptKey, Stage] = field(default_factory=dict)

    @property
    def jobs(self) -> list[AttemptKey]:
        """Return every job that this worker has in hand, the current one first."""
        return [*([self.job] if self.job else []), *self.others]


class Activity:
    """Tracks the current job, or the jobs of the current block: active → busy → cleanup → active."""

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

    def begin(self, job: AttemptKey, *others: AttemptKey) -> None:
        self._become(Snapshot(WorkerStatus.BUSY, job, "starting", others={other: Stage("starting", None) for other in others}))

    def stage(self, stage: str, progress: float | None, job: AttemptKey | None = None, *, in_turn: bool = True) -> None:
        """Record a step within a job. No listener is called, because the next heartbeat is early enough.

        Args:
            job: By default the current job. Another job of the block becomes the current one.
            in_turn: False while another job of the block is worked on.
        """
        with self._changed:
            now = self._now
            if job is not None and job != now.job and in_turn:
                now = _with_current(now, job)
            if job in (None, now.job):
                self._now = replace(now, stage=stage, progress=progress)
            elif job in now.others:
                self._now = replace(now, others={**now.others, job: Stage(stage, progress)})

    def leave(self, job: AttemptKey) -> None:
        """Record that a job of the block is over. Its result is answered by the spool. The last job ends with `end`."""
        with self._changed:
            now = self._now
            if job == now.job and now.others:
                now = _with_current(now, next(iter(now.others)))
            self._now = replace(now, others={other: stage for other, stage in now.others.items() if other != job})

    def clean_up(self) -> None:
        """Record that the measurement is over and that its result is being written and sent."""
        with self._changed:
            now = self._now
        self._become(replace(now, status=WorkerStatus.CLEANUP, stage="sending the result", progress=None))

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


def _with_current(now: Snapshot, job: AttemptKey) -> Snapshot:
    """Return the snapshot with another job of the block as the current one."""
    if job not in now.others:
        return now
    others = {other: stage for other, stage in now.others.items() if other != job}
    if now.job is not None:
        others[now.job] = Stage(now.stage, now.progress)
    return replace(now, job=job, stage=now.others[job].stage, progress=now.others[job].progress, others=others)
