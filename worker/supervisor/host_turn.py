"""Waits for an attempt's turn on its host: until no other worker measures there, up to a time limit."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

from shared.clock import Clock
from shared.errors import DeviceFailed, HostBusy
from shared.workers import WAITING_FOR_HOST
from worker.job_log import Level, Source
from worker.supervisor.host_lock import HostLock

LOOK_S = 10.0  # how often a waiting attempt checks who holds the lock
STOPPED_PATIENCE_S = 300.0  # how long to wait for a process of a measurement that was stopped by a signal: somebody may continue it


class TakesLines(Protocol):
    """Defines the part of a job's log that is needed here."""

    def add(self, level: Level, source: Source, message: str) -> None: ...


class HostTurn:
    """Takes the host's lock, and reports in the log which process it waits for.

    Args:
        patience_s: How long to wait while other workers hold the lock.
    """

    def __init__(
        self,
        lock: HostLock,
        patience_s: float,
        clock: Clock,
        on_stage: Callable[[str, float | None], None],
        job_log: TakesLines,
    ) -> None:
        self._lock, self._patience_s, self._clock, self._on_stage, self._log = lock, patience_s, clock, on_stage, job_log
        self.waited = False  # for another worker
        self._waits_for = ""

    def take(self, inbox: SimpleQueue[Any], next_event: Callable[[float], Any], *, shared: bool = False) -> Callable[[], None]:
        """Take the host's lock, and wait for it if necessary.

        Args:
            inbox: Receives an event when the lock is ours.
            next_event: Takes the next event from the inbox, or returns None after the given number of seconds. It may raise to give up.
            shared: True for heavy work, which other workers may do at the same time. False for measuring, which excludes all others.

        Returns:
            A function that gives the lock back. Call it exactly once.

        Raises:
            HostBusy: Other workers held the lock for too long.
            DeviceFailed: The lock cannot be taken on this system, for example because its file cannot be opened.
        """
        begin = self._clock.monotonic()
        turn = object()
        try:
            give_back = self._lock.take(lambda failure: inbox.put((turn, failure)), shared=shared)
        except OSError as error:
            raise self._no_lock(error) from error
        try:
            event = next_event(0)
            while not (isinstance(event, tuple) and event[0] is turn):
                event = next_event(self._look(begin) if event is None else 0)
            if event[1] is not None:
                raise self._no_lock(event[1]) from event[1]
        except BaseException:
            give_back()
            raise
        return give_back

    def _look(self, begin: float) -> float:
        """Return the seconds until the next check. Log which process holds the lock whenever that changes.

        The stage is told at each look: an attempt waits more than once, and the orchestrator goes by it when it counts the job's time.

        Raises:
            HostBusy: The time limit for waiting is over.
        """
        self.waited = True
        holder = self._lock.holder()
        who = str(holder) if holder else "a process that cannot be seen from here"
        self._on_stage(WAITING_FOR_HOST, None)
        if self._waits_for != who:
            self._waits_for = who
            does = "measures" if holder is None or holder.measures else "prepares its job"
            self._log.add("info", "infrastructure", f"waiting: another worker {does} on this host, {who}")
        patience_s = min(self._patience_s, STOPPED_PATIENCE_S) if holder and holder.stopped else self._patience_s
        waited = self._clock.monotonic() - begin
        if waited >= patience_s:
            raise HostBusy(
                f"waited {waited:.0f} s for another measurement on this host: {who} holds {self._lock.path}; "
                "continue or end it, or allow for longer measurements with FLEETMARK_WORKER_HOST_WAIT_S"
            )
        return min(patience_s - waited, LOOK_S)

    def _no_lock(self, error: OSError) -> DeviceFailed:
        return DeviceFailed(
            f"the lock that keeps two workers of a host from measuring at once cannot be taken: {error}; "
            f"make {self._lock.path} a file that can be opened, or set FLEETMARK_WORKER_LOCK_FILE to one that is"
        )
