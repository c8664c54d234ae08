"""One attempt's turn on its host: it waits until no other worker measures there, but not for ever."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import DeviceFailed, HostBusy
from shared.workers import WAITING_FOR_HOST
from worker.job_log import JobLog
from worker.supervisor.host_lock import HostLock

LOOK_S = 10.0  # how often a waiting attempt looks who has the host
STOPPED_PATIENCE_S = 300.0  # with a holder that was stopped: somebody may continue it


class HostTurn:
    """
    Args:
        patience_s: how long others may measure.
        doubt: why the lock may not be the one that other workers of the host take; empty if there is no doubt.
    """

    def __init__(
        self,
        lock: HostLock,
        patience_s: float,
        clock: Clock,
        on_stage: Callable[[str, float | None], None],
        job_log: JobLog,
        doubt: str = "",
    ) -> None:
        self._lock, self._patience_s, self._clock, self._on_stage, self._log = lock, patience_s, clock, on_stage, job_log
        self.doubt = doubt
        self.waited = False  # for another worker, at any time of this attempt
        self._waits_for = ""

    def take(self, inbox: SimpleQueue[Any], next_event: Callable[[float], Any], *, shared: bool = False) -> Callable[[], None]:
        """Take the host's lock, or wait for it.

        Args:
            shared: for heavy work beside that of others; otherwise to measure, alone.
            inbox: receives an event when the lock is ours.
            next_event: takes the next event from it, or None after so many seconds; may raise to give up.

        Returns:
            Gives it back. To be called exactly once.

        Raises:
            HostBusy: others had the lock for too long.
            DeviceFailed: there is no lock that could be taken.
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
        """How long to wait until the next look. Logs for whom this attempt waits, whenever that changes.

        The stage is told at each look: an attempt waits more than once, and the orchestrator goes by it when it counts the job's time.

        Raises:
            HostBusy: the patience is used up.
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
