"""One attempt's turn on its host: the wait until no other worker measures there, which has an end."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import DeviceFailed, HostBusy
from shared.workers import WAITING_FOR_HOST
from worker.job_log import JobLog
from worker.supervisor.host_lock import HostLock

LOOK_S = 10.0  # how often one that waits looks who has the host
STOPPED_PATIENCE_S = 300.0  # with a holder that was stopped: somebody may continue it


class HostTurn:
    """
    Args:
        patience_s: how long others may measure.
    """

    def __init__(
        self, lock: HostLock, patience_s: float, clock: Clock, on_stage: Callable[[str, float | None], None], job_log: JobLog
    ) -> None:
        self._lock, self._patience_s, self._clock, self._on_stage, self._log = lock, patience_s, clock, on_stage, job_log
        self._waits_for = ""

    def take(self, inbox: SimpleQueue[Any], next_event: Callable[[float], Any]) -> Callable[[], None]:
        """Take the host's lock, or wait for it.

        Args:
            inbox: where the word that it is ours is put.
            next_event: what comes out of it, None after so many seconds; may raise to give up.

        Returns:
            Gives it back. To be called exactly once.

        Raises:
            HostBusy: others had it for too long.
            DeviceFailed: there is no lock that could be taken.
        """
        begin = self._clock.monotonic()
        turn = object()
        try:
            give_back = self._lock.take(lambda failure: inbox.put((turn, failure)))
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
        """How long to wait until the next look. Says that this attempt waits, and for whom, as often as that changes.

        Raises:
            HostBusy: there is no patience left.
        """
        holder = self._lock.holder()
        who = str(holder) if holder else "a process that cannot be seen from here"
        if self._waits_for != who:
            self._waits_for = who
            self._on_stage(WAITING_FOR_HOST, None)
            self._log.add("info", "infrastructure", f"waiting: another worker measures on this host, {who}")
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
