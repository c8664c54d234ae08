"""Sends the requests of one phase in one client process, and records each of them once.

It is the `Sink` of the lanes. In a closed loop, a lane that is free sends at once. In an open loop, requests are sent when they are due; if
no lane is free then, they are sent late, and this wait is part of their latency from the scheduled time. Only the next time of the schedule
is held in memory, however far behind the client is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING

from shared.request_records import NOT_CONNECTED, OPEN, TIMEOUT
from worker.load.alarm import Alarm
from worker.load.arrivals import due_times, share, share_of_count, together

if TYPE_CHECKING:
    from worker.drivers.base import Driver, Lane
    from worker.load.plan import ClientPlan, PhasePlan
    from worker.load.spool import Spool

NS = 1_000_000_000
ENDLESS = 2**62
FLUSH_S = 0.5  # how often the records so far are written: a block of a few kB, which takes some microseconds
LOOK_SHARE = 0.01  # of the time limit of a request: how often lanes are looked at for one that takes too long
SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.02, 0.25  # looking at 10 000 lanes takes half a millisecond
RETRY_S, MOST_RETRY_S = 0.05, 1.0  # between two attempts to open a connection again


class Dispatcher:
    """Runs one phase, as described at the top of this module."""

    def __init__(self, plan: ClientPlan, phase: PhasePlan, driver: Driver, spool: Spool, lanes: list[Lane]) -> None:
        self._plan, self._phase, self._driver, self._spool = plan, phase, driver, spool
        self._lanes = lanes  # those that are open; shared with the phases before and after
        self._idle: list[Lane] = []
        self._open_loop = phase.shape.is_open
        self._in_step = together(phase.shape.pattern, plan.concurrent)[1]
        self._simple = not self._open_loop and not self._in_step
        """Whether a lane that is free sends at once."""
        self._lowered: list[tuple[Lane, int]] = []  # lanes that send less at once than they could, and what they could
        self._share = ENDLESS if phase.count is None else share_of_count(phase.count, plan.client, plan.clients)
        self._next, self._limit = 0, self._share  # a warm-up sends at most as many requests as are counted
        self._counting = False
        self._over = False
        self._finished = asyncio.Event()
        self._reopening: set[asyncio.Task[None]] = set()
        self._times: Iterator[int] = iter(())
        self._due = ENDLESS  # of the next request that was not sent; it may have passed
        self._alarm: Alarm | None = None
        self._base = 0
        self._end = ENDLESS  # of the window
        self.done = spool.add  # the lanes call it: one call less for each request
        self.lost = 0
        self.gave_up = ""
        self.stopped_ns: int | None = None
        """When the phase was ended early, in nanoseconds since its window began. None if it was not."""

    async def run(self, begin_ns: int) -> None:
        """Send every request of the phase, and wait until the last one has ended.

        Args:
            begin_ns: When the measured window begins, by `perf_counter_ns`. The lead is before it.
        """
        phase = self._phase
        lead = round(phase.lead_s * NS)
        for lane in self._lanes:
            lane.sink = self
        self._base = begin_ns
        self._spool.begin(begin_ns)
        loop = asyncio.get_running_loop()
        if phase.duration_s is not None:
            self._end = begin_ns + round(phase.duration_s * NS)
        self._alarm = Alarm(loop, self._rang)
        looking = loop.create_task(self._look())
        try:
            if self._open_loop:
                self._idle = list(self._lanes)
                self._times = share(due_times(phase.shape), self._plan.client, self._plan.clients)
                self._counting = True
                self._base = begin_ns - lead
                self._advance()
                self._alarm.at(min(self._due, self._end))
                self._settle()
            else:
                await self._sleep_until(begin_ns - lead)
                if lead == 0:
                    self._begin_count()
                self._alarm.at(begin_ns)
                self._start_closed()
            await self._finished.wait()
        finally:
            self._restore()
            looking.cancel()
            self._alarm.close()
            for task in self._reopening:
                task.cancel()

    def stop(self) -> None:
        """End the phase now. What is in flight is recorded as open, because nobody knows how it would have ended."""
        if self._over and not self._lanes:
            return
        now = perf_counter_ns()
        if not self._over:
            self.stopped_ns = now - self._spool.base
            self._end = min(self._end, now)
        self._counting = True
        self._finish_window(now)
        for lane in [lane for lane in self._lanes if lane.sent]:
            lane.abort(OPEN)
        self._finished.set()

    # Closed loop

    def _start_closed(self) -> None:
        for lane in list(self._lanes):
            self.free(lane)

    def _begin_count(self) -> None:
        """Begin the window now, and begin to count: what was sent before is warm-up. So exactly as many count as were asked for."""
        if self._counting:
            return
        self._counting = True
        self._restore()
        if self._phase.count is not None:
            self._limit = self._next + self._share
            self._spool.begin_later(perf_counter_ns())
        idle, self._idle = self._idle, []
        for lane in idle:
            self.free(lane)
        for _ in range(self._plan.concurrent - len(self._lanes) - len(self._reopening)):
            self._open_another()  # in place of one that was lost when the warm-up had sent enough
        self._settle()

    # The sink of the lanes

    @property
    def recorded(self) -> int:
        return self._spool.count

    def free(self, lane: Lane) -> None:
        number = self._next
        if self._simple and (following := number + lane.at_once) <= self._limit:
            self._next = following
            lane.send(number, 0)
            return
        if self._open_loop:
            due = self._due
            if due <= perf_counter_ns() and not self._over:
                self._next = number + 1
                self._advance()
                lane.send(number, due)
                return
            self._idle.append(lane)
            if self._over or due == ENDLESS:
                self._settle()
            elif len(self._idle) == 1 and self._alarm is not None:  # while no lane was free, only the end of the window was waited for
                self._alarm.at(min(due, self._end))
            return
        if self._over or number >= self._limit:
            self._idle.append(lane)
            self._settle()
            return
        if self._in_step:
            self._idle.append(lane)
            if len(self._idle) < len(self._lanes):
                return
            group, self._idle = self._idle, []
            for one in group:
                if self._next < self._limit:
                    self._send_rest(one)
                else:
                    self._idle.append(one)
            return
        self._send_rest(lane)

    def _send_rest(self, lane: Lane) -> None:
        """Send what `lane` sends at once, or less if fewer requests are left."""
        number, left = self._next, self._limit - self._next
        if lane.at_once > left:
            self._lowered.append((lane, lane.at_once))
            lane.at_once = left
        self._next = number + lane.at_once
        lane.send(number, 0)

    def _restore(self) -> None:
        """Let lanes send as much at once as before."""
        for lane, at_once in self._lowered:
            lane.at_once = at_once
        self._lowered.clear()

    def broken(self, lane: Lane) -> None:
        self.lost += 1
        self._lanes.remove(lane)
        if lane in self._idle:
            self._idle.remove(lane)
        if self._over or (not self._open_loop and self._next >= self._limit):
            self._settle()
            return
        self._open_another()

    def _open_another(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reopen())
        self._reopening.add(task)
        task.add_done_callback(self._reopened)

    def _reopened(self, task: asyncio.Task[None]) -> None:
        self._reopening.discard(task)
        self._settle()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _reopen(self) -> None:
        """Open a connection in place of a lost one. An attempt that fails is one failed request, if a request was waiting for it."""
        pause, first = RETRY_S, perf_counter_ns()
        while not self._over and (self._open_loop or self._next < self._limit):
            before = perf_counter_ns()
            try:
                lane = await asyncio.wait_for(self._driver.open(self), self._plan.timeout_s)
            except (OSError, TimeoutError) as error:
                self._not_connected(before)
                if not self._lanes and perf_counter_ns() - first > self._plan.timeout_s * NS:
                    self.gave_up = f"no connection could be opened for {self._plan.timeout_s:g} s: {error or 'it took too long'}"
                    self._finish_window(perf_counter_ns())
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_RETRY_S)
            else:
                self._lanes.append(lane)
                self.free(lane)
                return

    def _not_connected(self, before: int) -> None:
        scheduled = before
        if self._open_loop:
            if self._due > before:
                return
            scheduled = self._due
            self._advance()
        self._next += 1
        self.done(scheduled, before, 0, perf_counter_ns(), 0, 0, 0, NOT_CONNECTED)

    # Time

    def _rang(self) -> None:
        assert self._alarm is not None
        now = perf_counter_ns()
        if not self._open_loop:
            if now >= self._end:
                self._finish_window(now)
            else:
                self._begin_count()
                self._alarm.at(self._end)
            return
        # What was due just before the end of the window is sent before this is called its end.
        while self._idle and (due := self._due) <= now:
            number = self._next
            self._next = number + 1
            self._advance()
            self._idle.pop().send(number, due)
            now = perf_counter_ns()
        if now >= self._end:
            self._finish_window(now)
        elif self._due == ENDLESS and self._end == ENDLESS:
            self._settle()
        else:
            self._alarm.at(min(self._due, self._end) if self._idle else self._end)

    def _advance(self) -> None:
        """Take the next time of the schedule. A count is of requests after the lead."""
        due = next(self._times, None)
        if due is None:
            self._due = ENDLESS
            return
        self._due = self._base + due
        if due >= round(self._phase.lead_s * NS):
            if self._limit <= 0:
                self._due = ENDLESS
            elif self._limit < ENDLESS:
                self._limit -= 1
        if self._due >= self._end:
            self._due = ENDLESS

    def _finish_window(self, now: int) -> None:
        self._over, self._simple = True, False
        while self._due < min(self._end, now):  # due in the window, and never sent
            self.done(self._due, now, 0, 0, 0, 0, 0, OPEN)
            self._advance()
        self._due = ENDLESS
        self._settle()

    async def _look(self) -> None:
        """Give up requests that take too long. It is noticed at the next look: a timer for each would cost more than the request."""
        limit = round(self._plan.timeout_s * NS)
        pause = min(max(self._plan.timeout_s * LOOK_SHARE, SHORTEST_LOOK_S), LONGEST_LOOK_S)
        flushed = perf_counter_ns()
        while True:
            await asyncio.sleep(pause)
            if perf_counter_ns() - flushed > FLUSH_S * NS:
                flushed = perf_counter_ns()
                self._spool.flush()
                self._spool.tell(sum(lane.at_once for lane in self._lanes if lane.sent), max(0, flushed - self._due))
            oldest = perf_counter_ns() - limit
            for lane in [lane for lane in self._lanes if 0 < lane.sent < oldest]:
                lane.abort(TIMEOUT)
            while self._due < oldest and not self._lanes:
                self.done(self._due, perf_counter_ns(), 0, 0, 0, 0, 0, NOT_CONNECTED)
                self._advance()

    async def _sleep_until(self, due_ns: int) -> None:
        while (left := due_ns - perf_counter_ns()) > 0:
            await asyncio.sleep(left / NS)

    def _settle(self) -> None:
        """Note the end of the phase, if nothing more is sent, waited for, or in flight."""
        sends = not self._over and (self._due != ENDLESS if self._open_loop else self._next < self._limit)
        if self._counting and not sends and len(self._idle) == len(self._lanes):
            self._finished.set()
