"""The loop around the sweep: leadership, patience after an outage, time that does not count, counters."""

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
from orchestrator.watch.sweep import Memory, sweep
from shared.errors import Unavailable
from shared.ids import new_incarnation

log = logging.getLogger(__name__)


class Watch:
    """Sweeps every `sweep_s` while it leads. Safe to run several: every action is a conditional write."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._name = f"{socket.gethostname()}/{os.getpid()}/{new_incarnation()}"
        self._lease_s = max(5.0, 3 * ctx.settings.sweep_s)  # without a sign of the leader for so long, another one leads
        self._leads = False
        self._memory = Memory()
        self._backlog = Backlog()
        self._trusted_from: float | None = None  # monotonic; before it nobody is condemned, and nothing is late
        self._last_turn: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. An outage of Redis or of the database is waited out."""
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
            stop.wait(self._ctx.settings.sweep_s)

    def once(self) -> Found | None:
        """One turn; None when another watch leads.

        Raises:
            Unavailable: Redis or the database does not answer.
        """
        ctx = self._ctx
        leads = ctx.registry.monitor.lead(self._name, self._lease_s)
        unwatched_s = self._unwatched_s()
        away = unwatched_s > ctx.registry.timeout_s / 2 + 2 * ctx.settings.sweep_s
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
        )
        ctx.registry.monitor.count_sweep({name: number + getattr(counted, name) for name, number in vars(found).items()})
        return found

    def _unwatched_s(self) -> float:
        """How long nobody looked: this process, and maybe its whole machine, stood still, or there was no watch.

        By the wall clock, as the other one stands still too while a laptop sleeps, and deadlines follow a step of it; and by
        what Redis remembers, as this process may be new.
        """
        now, before = self._ctx.clock.now(), self._last_turn
        self._last_turn = now
        own_s = (now - before).total_seconds() if before is not None else 0.0
        return max(own_s, self._ctx.registry.monitor.unwatched_s())
