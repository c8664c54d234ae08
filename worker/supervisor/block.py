"""Measures a block of attempts in turns: each round measures one process of each attempt, in a random order.

So whatever drifts on the device (heat, other work) affects all jobs of a comparison alike, and does not become a result. A job that is
not compared with others is a block of one attempt.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from shared.clock import Clock
from shared.errors import JobError
from shared.ids import AttemptKey
from worker.hardware.noise_probe import NoiseProbe
from worker.job_log import JobLog, Level, Source
from worker.rest import OWN_FAILURES
from worker.supervisor.attempt import Attempt
from worker.supervisor.host_lock import HostLock
from worker.supervisor.host_turn import HostTurn
from worker.supervisor.outcome import Outcome
from worker.supervisor.rounds import order_of

# How long a block keeps the host's lock if another worker waits for it. Then it gives the lock away before its next process, and queues
# again. So that worker waits for this time and one process at most. A single job keeps the lock until it ends.
TURN_S = 300.0
DEVICE_FAILED = "the device failed while another job of the comparison was measured"

OnOver = Callable[[AttemptKey, Outcome], None]


class OnBlockStage(Protocol):
    def __call__(self, stage: str, progress: float | None, job: AttemptKey, *, in_turn: bool = True) -> None:
        """Take note of the stage of one job. `in_turn` is false while another job of the block is worked on."""


class NobodyLeft(Exception):
    """Raised to end a wait when every attempt of the block is over."""


class Block:
    """Runs attempts to their ends. `on_over` is called for each of them, in the order in which they end.

    It is called between two rounds, or after the host's lock was given back. So no result is sent while a job is measured.
    """

    def __init__(
        self,
        attempts: Sequence[Attempt],
        *,
        inbox: SimpleQueue[Any],
        lock: HostLock,
        host_wait_s: float,
        probe: NoiseProbe,
        clock: Clock,
        on_stage: OnBlockStage,
        on_over: OnOver,
        turn_s: float = TURN_S,
    ) -> None:
        self._attempts, self._inbox, self._lock, self._probe, self._clock = list(attempts), inbox, lock, probe, clock
        self._on_stage, self._on_over, self._turn_s = on_stage, on_over, turn_s
        self._turn = HostTurn(lock, host_wait_s, clock, self._on_wait, _Logs([attempt.log for attempt in attempts]))
        self._turn_began: float | None = None  # monotonic seconds; None while the block does not have the host's lock
        self._observed: Attempt | None = None  # the attempt on whose behalf the machine is observed
        self._seen_over: list[Attempt] = []  # the attempts that are over, in the order of their ends
        self._reported = 0  # how many of them were reported

    def run(self) -> None:
        """Run all attempts. An exception from here is a defect in our code. It releases all attempts, and some may have no outcome."""
        try:
            self._log_who_takes_turns()
            for attempt in self._attempts:
                self._say_next(self._open(besides=attempt), "made ready")
                self._take(attempt, attempt.prepare)
            self._measure()
            self._report()
        except BaseException as error:
            for attempt in self._attempts:
                attempt.release(error)
            raise

    def _open(self, besides: Attempt | None = None) -> list[Attempt]:
        return [attempt for attempt in self._attempts if attempt.outcome is None and attempt is not besides]

    def _take(self, attempt: Attempt, step: Callable[[], None]) -> None:
        """Take one step of an attempt. If the device fails, hand the others back: they would fail, too, without any fault of their own."""
        step()
        self._note_ends()
        outcome = attempt.outcome
        if outcome is not None and outcome.status == "failed" and outcome.error_kind in OWN_FAILURES:
            for other in self._open():
                other.hand_back(DEVICE_FAILED)
            self._note_ends()

    def _note_ends(self) -> None:
        self._seen_over += [attempt for attempt in self._attempts if attempt.outcome is not None and attempt not in self._seen_over]

    def _report(self) -> None:
        while self._reported < len(self._seen_over):
            attempt = self._seen_over[self._reported]
            self._reported += 1
            assert attempt.outcome is not None
            self._on_over(attempt.key, attempt.outcome)

    # Rounds

    def _measure(self) -> None:
        with ExitStack() as turn:
            for number in itertools.count(1):
                for attempt in order_of(self._open(), number):
                    self._let_stopped_leave()
                    if attempt.outcome is None and self._has_turn(turn, attempt):
                        self._visit(attempt)
                if not self._open():
                    return
                self._report()

    def _visit(self, attempt: Attempt) -> None:
        if self._observed is not attempt:
            self._stop_observing()
            self._observed = attempt
        self._take(attempt, attempt.visit)
        if attempt.outcome is None and self._open(besides=attempt):
            self._say_next([attempt], "measured")

    def _stop_observing(self) -> None:
        if self._observed is not None:
            self._observed.pause()
        self._observed = None

    def _let_stopped_leave(self) -> None:
        for attempt in self._open():
            attempt.check()
        self._note_ends()

    # The host's lock

    def _has_turn(self, turn: ExitStack, attempt: Attempt) -> bool:
        """Return whether the attempt may be measured now. Take the host's lock for this, if the block does not have it.

        Args:
            turn: Gives the lock back when it is closed.
        """
        if self._turn_began is None or self._is_neighbours_turn():
            self._stop_observing()
            turn.close()
            self._turn_began = None
            try:
                turn.callback(self._take_turn())
            except NobodyLeft:
                return False
            except JobError as error:
                self._take(attempt, partial(attempt.fail, error))
        return attempt.outcome is None

    def _is_neighbours_turn(self) -> bool:
        """Return whether another worker of this host waits, and this block has had the lock for long enough."""
        assert self._turn_began is not None
        is_long = len(self._attempts) > 1 and self._clock.monotonic() - self._turn_began >= self._turn_s
        return is_long and self._lock.is_wanted()

    def _take_turn(self) -> Callable[[], None]:
        begin, waiting = self._clock.monotonic(), self._open()
        self._turn.waited = False
        try:
            give_back = self._turn.take(self._inbox, self._next_event)
        finally:
            for attempt in waiting:
                attempt.waited(self._clock.monotonic() - begin)
        if self._turn.waited or any(attempt.had_to_wait for attempt in waiting):
            self._probe.forget()
        self._turn_began = self._clock.monotonic()
        return give_back

    def _next_event(self, timeout_s: float | None) -> Any:
        """Return the next event, or None after `timeout_s`. Raises `NobodyLeft` when every attempt was stopped."""
        self._let_stopped_leave()
        event = None
        if self._open():
            try:
                event = self._inbox.get(timeout=timeout_s)
            except Empty:
                return None
            self._let_stopped_leave()
        if not self._open():
            raise NobodyLeft
        return event

    # What is said of it

    def _on_wait(self, stage: str, progress: float | None) -> None:
        for number, attempt in enumerate(self._open()):
            self._on_stage(stage, progress, attempt.key, in_turn=number == 0)

    def _say_next(self, attempts: Sequence[Attempt], what_happens: str) -> None:
        for attempt in attempts:
            stage = f"{attempt.next_process} is next; another job of the comparison is {what_happens}"
            self._on_stage(stage, attempt.progress, attempt.key, in_turn=False)

    def _log_who_takes_turns(self) -> None:
        for attempt in self._attempts:
            others = ", ".join(other.key[0].rpartition("-")[2] for other in self._attempts if other is not attempt)
            if others:
                said = f"its repeats take turns with those of other jobs of the campaign ({others}), in rounds of a random order"
                attempt.log.add("info", "benchmark", said)


class _Logs:
    """Writes each line into the logs of all jobs of a block."""

    def __init__(self, logs: Sequence[JobLog]) -> None:
        self._logs = logs

    def add(self, level: Level, source: Source, message: str) -> None:
        for job_log in self._logs:
            job_log.add(level, source, message)
