"""How far the recording of results is. No job is late before the results that waited are recorded: its own may be among them."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.operations.context import Context

BACKLOG_WAIT_S = 600.0  # while a consumer records: under steady work the queue may never be seen empty


@dataclass
class Backlog:
    """What a watch knows about the results queue. Times are monotonic."""

    recorded: bool = False  # the results that waited when somebody began to record again are recorded
    recording_since: float | None = None
    clear: bool = False  # and nothing waits at this moment, in the queue or in the batch of a consumer that died
    silent_since: float | None = None  # since then nobody has recorded
    empty_at: float | None = None  # when the queue was last seen empty
    missed_s: float = 0.0  # how long nobody recorded; the watch adds it to the deadlines and sets this to 0

    def doubt(self) -> None:
        """Start over: workers may have reported while nobody looked, or may be about to report what they could not send before."""
        self.recorded, self.recording_since, self.clear = False, None, False

    def look(self, ctx: Context) -> None:
        """Look at the results queue and at who takes from it.

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
        # An empty queue proves nothing within a timeout: a worker that has just found its broker again is about to send what it has.
        recording_s = now - self.recording_since
        self.recorded = self.recorded or recording_s >= BACKLOG_WAIT_S or (results.waiting == 0 and recording_s >= ctx.registry.timeout_s)
        if results.waiting == 0 or self.empty_at is None:
            self.empty_at = now
        self.clear = self.recorded and (results.waiting == 0 or now - self.empty_at >= BACKLOG_WAIT_S)
