"""Tracks how far the recording of results is. No job counts as late while results wait, because its own may be among them."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.operations.context import Context

BACKLOG_WAIT_S = 600.0  # how long a consumer must record until we stop waiting for an empty queue; under steady work it may never be empty


@dataclass
class Backlog:
    """Holds what a watch knows about the results queue. Times are monotonic, in seconds."""

    recorded: bool = False  # True once the results are recorded that waited when recording began again
    recording_since: float | None = None
    clear: bool = False  # True if also nothing waits now, neither in the queue nor in a batch that a consumer took
    silent_since: float | None = None  # when we noticed that no consumer records
    empty_at: float | None = None  # when the queue was last seen empty
    missed_s: float = 0.0  # how long no consumer recorded; the watch adds it to the deadlines and sets it to 0

    def doubt(self) -> None:
        """Start over: workers may have reported while no watch looked, or may soon send reports that they could not send before."""
        self.recorded, self.recording_since, self.clear = False, None, False

    def look(self, ctx: Context) -> None:
        """Look at the results queue and at its consumers.

        Raises:
            Unavailable: Redis does not answer.
        """
        results, now = ctx.registry.monitor.results(), ctx.clock.monotonic()
        if results.taken_s_ago > ctx.registry.timeout_s:
            self.doubt()
            if self.silent_since is None:
                self.silent_since = now
            return
        if self.silent_since is not None:
            self.missed_s += now - self.silent_since
            self.silent_since = None
        if self.recording_since is None:
            self.recording_since = now
        # An empty queue proves nothing within the first timeout: a worker that has just reconnected to its broker may still send results.
        recording_s = now - self.recording_since
        self.recorded = self.recorded or recording_s >= BACKLOG_WAIT_S or (results.waiting == 0 and recording_s >= ctx.registry.timeout_s)
        if results.waiting == 0 or self.empty_at is None:
            self.empty_at = now
        self.clear = self.recorded and (results.waiting == 0 or now - self.empty_at >= BACKLOG_WAIT_S)
