"""The loop around the sweep: who leads, when the leader may judge again after an outage, and what the sweeps came to."""

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
    """Sweeps every `sweep_s` while it leads. Safe to run several: every action is a conditional write."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._name = f"{socket.gethostname()}/{os.getpid()}/{new_incarnation()}"
        self._lease_s = max(5.0, 3 * ctx.settings.sweep_s)  # if the leader is not heard of for so long, another watch leads
        self._leads = False
        self._memory = Memory()
        self._backlog = Backlog()
        self._trusted_from: float | None = None  # monotonic; before it nobody is condemned, and nothing is late
        self._last_sign: datetime | None = None  # when this process was last seen to go on
        self._unseen_s = 0.0  # how long it stood still, or did not look, since that was last made up for
        self._lease_until = 0.0  # monotonic

    def run(self, stop: threading.Event) -> None:
        """Sweep until `stop` is set. An outage of Redis or of the database is waited out."""
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
            except Exception:  # a watch that was started anew would give everyone a full timeout, each time
                log.exception("this turn of the watch failed; the next one comes all the same")
            stop.wait(self._ctx.settings.sweep_s)

    def once(self) -> Found | None:
        """Take one turn. Returns what it found, or None when another watch leads.

        Raises:
            Unavailable: Redis or the database does not answer.
        """
        ctx = self._ctx
        leads = self._keep_the_lead()
        self._stood_still()
        # By what Redis remembers too, as this process may be new, and another one may have looked while it stood still or stood by.
        unwatched_s, self._unseen_s = max(self._unseen_s, ctx.registry.monitor.unwatched_s()), 0.0
        away = unwatched_s > self._away_s()
        if not leads:
            self._leads = False
            return None
        now = ctx.clock.monotonic()
        remembers = ctx.registry.monitor.same_memory()
        counted = Found(leaders_changed=int(not self._leads), memory_losses=int(not remembers))
        if not self._leads or self._trusted_from is None or away or not remembers:
            # New as a leader, back after an outage, or Redis lost its memory or was started anew: everyone gets a full timeout to be heard.
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
        """Return the seconds without a look after which nobody can be judged: workers may have been heard, or not been able to speak."""
        return self._ctx.registry.timeout_s / 2 + 2 * self._ctx.settings.sweep_s

    def _stood_still(self) -> bool:
        """Note that this process goes on. Returns whether it, and maybe its whole machine, stood still since it was last seen to.

        A sweep may take long because Redis or the database is slow: that is no standing still, so this is asked after each step
        of it, and the time is counted from the end of the last one. By the wall clock, as the other one stands still too while a
        laptop sleeps, and deadlines follow a step of it.
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
            self._keep_the_lead()  # a slow sweep must not cost the lead, or two watches would take it from each other
        return self._stood_still()

    def _keep_the_lead(self) -> bool:
        self._lease_until = self._ctx.clock.monotonic() + self._lease_s
        return self._ctx.registry.monitor.lead(self._name, self._lease_s)
