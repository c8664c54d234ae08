"""Runs the sweep in a loop: elects a leader, waits after an outage before it judges workers again, and counts the findings."""

from __future__ import annotations

import logging
import os
import socket
import threading
from datetime import datetime

from orchestrator.domain.findings import Found
from orchestrator.operations.context import Context
from orchestrator.operations.recovery import stand_still
from orchestrator.watch.backlog import Backlog
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.errors import Unavailable
from shared.ids import new_incarnation

log = logging.getLogger(__name__)


class Watch:
    """Sweeps every `watch_sweep_s` seconds while it leads. Several may run safely, because every action is a conditional write."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._name = f"{socket.gethostname()}/{os.getpid()}/{new_incarnation()}"
        self._lease_s = max(5.0, 3 * ctx.settings.watch_sweep_s)  # if the leader does not renew its lease for so long, another watch leads
        self._leads = False
        self._memory = Memory()
        self._backlog = Backlog()
        self._trusted_from: float | None = None  # a monotonic time; before it, no worker is declared faulty and no job is late
        self._last_sign: datetime | None = None  # the wall-clock time when this process last noted that it runs
        self._unseen_s = 0.0  # how long this process stood still, not yet added to the deadlines
        self._lease_until = 0.0  # the monotonic time when our lease ends

    def run(self, stop: threading.Event) -> None:
        """Sweep until `stop` is set. Continue after outages of Redis or of the database."""
        down = False
        while not stop.is_set():
            try:
                self.once()
                if down:
                    log.info("Redis and the database answer again")
                down = False
            except Unavailable as error:
                if not down:
                    log.warning("the watch waits: %s", error.detail)
                down = True
                self._trusted_from = None
            except Exception:  # a restarted watch would give every worker a full timeout each time
                log.exception("this turn of the watch failed; the next one comes all the same")
            stop.wait(self._ctx.settings.watch_sweep_s)

    def once(self) -> Found | None:
        """Take one turn. Return what it found, or None if another watch leads.

        Raises:
            Unavailable: Redis or the database does not answer.
        """
        ctx = self._ctx
        leads = self._keep_the_lead()
        self._stood_still()
        # Redis remembers the last sweep of any watch. This is needed because this process may be new, or another watch may have led.
        unwatched_s, self._unseen_s = max(self._unseen_s, ctx.registry.monitor.unwatched_s()), 0.0
        away = unwatched_s > self._away_s()
        if not leads:
            self._leads = False
            return None
        now = ctx.clock.monotonic()
        remembers = ctx.registry.monitor.same_memory()
        counted = Found(leaders_changed=int(not self._leads), memory_losses=int(not remembers))
        if not self._leads or self._trusted_from is None or away or not remembers:
            # We are a new leader, or back after an outage, or Redis was restarted or lost data. Every worker gets a full timeout to
            # send a heartbeat.
            self._trusted_from = now + ctx.registry.timeout_s
            self._memory = Memory()
            self._backlog.doubt()
        self._leads = True
        self._backlog.look(ctx)
        missed_s = max(unwatched_s if away else 0.0, self._backlog.missed_s)
        if missed_s:
            log.warning("for %.0f s nobody looked or nobody recorded: deadlines and queue timeouts are later by that", missed_s)
            counted.deadlines_postponed = stand_still(ctx, missed_s)
            self._backlog.missed_s = 0.0
        trusted = now >= self._trusted_from
        found = sweep(
            ctx,
            self._memory,
            may_condemn=trusted,
            may_expire=trusted and self._backlog.recorded,
            may_give_up=trusted and self._backlog.clear,
            stood_still=self._stood_still_in_a_step,
        )
        ctx.registry.monitor.count_sweep({name: number + getattr(counted, name) for name, number in vars(found).items()})
        return found

    def _away_s(self) -> float:
        """Return after how many seconds without a sweep no worker may be judged, as heartbeats may have come or been impossible."""
        return self._ctx.registry.timeout_s / 2 + 2 * self._ctx.settings.watch_sweep_s

    def _stood_still(self) -> bool:
        """Note that this process runs. Return whether it stood still since the last call, alone or with its whole machine.

        A sweep that is slow because of Redis or the database must not count as standing still. So this is called after each step of a
        sweep, and the time counts from the end of the last step. It uses the wall clock: the monotonic clock stops while a laptop
        sleeps, and deadlines follow the wall clock.
        """
        now, before = self._ctx.clock.now(), self._last_sign
        self._last_sign = now
        gap_s = (now - before).total_seconds() if before is not None else 0.0
        if gap_s <= self._away_s():
            return False
        self._unseen_s += gap_s
        return True

    def _stood_still_in_a_step(self) -> bool:
        if self._ctx.clock.monotonic() > self._lease_until - self._lease_s / 2:
            self._keep_the_lead()  # renew the lease within a slow sweep, or two watches would take the lead from each other
        return self._stood_still()

    def _keep_the_lead(self) -> bool:
        self._lease_until = self._ctx.clock.monotonic() + self._lease_s
        return self._ctx.registry.monitor.lead(self._name, self._lease_s)
