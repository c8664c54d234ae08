"""The loop around the sweep: leadership, patience after an outage, counters."""

from __future__ import annotations

import logging
import threading
from datetime import datetime

from orchestrator.operations.context import Context
from orchestrator.watch.sweep import Found, Memory, sweep
from shared.errors import Unavailable
from shared.ids import new_incarnation

log = logging.getLogger(__name__)


class Watch:
    """Sweeps every `sweep_s` while it leads. Safe to run several: every action is a conditional write."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._name = new_incarnation()
        self._memory = Memory()
        self._trusted_from: float | None = None  # monotonic; before it nobody is condemned
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
        if not ctx.registry.monitor.lead(self._name, max(5.0, 3 * ctx.settings.sweep_s)):
            self._trusted_from = None
            return None
        now = ctx.clock.monotonic()
        if self._trusted_from is None or self._was_away() or not ctx.registry.monitor.same_memory():
            # New as a leader, back after an outage, or Redis lost its memory: everyone gets a full timeout to be heard.
            self._trusted_from = now + ctx.registry.timeout_s
            self._memory = Memory()
            ctx.registry.monitor.same_memory()
        found = sweep(ctx, self._memory, may_condemn=now >= self._trusted_from)
        ctx.registry.monitor.count_sweep(vars(found))
        return found

    def _was_away(self) -> bool:
        """Whether this process, and maybe its whole machine, stood still since the last turn: nobody was heard meanwhile.

        By the wall clock, as the other one stands still too while a laptop sleeps.
        """
        now, before = self._ctx.clock.now(), self._last_turn
        self._last_turn = now
        return before is not None and (now - before).total_seconds() > self._ctx.registry.timeout_s / 2 + 2 * self._ctx.settings.sweep_s
