"""Results come before deadlines: those that wait because nobody recorded, or nobody looked, are recorded before anything is late."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.operations.context import Context

BACKLOG_WAIT_S = 600.0  # with a consumer at work: under steady work the queue may never be seen empty


@dataclass
class Backlog:
    """What a watch knows of the results queue. Times are monotonic."""

    recorded: bool = False  # what had waited when somebody began to record again
    recording_since: float | None = None
    clear: bool = False  # nothing waits at this moment either, in the queue or in the batch of a consumer that died
    silent_since: float | None = None  # nobody records
    empty_at: float | None = None  # when nothing waited last
    missed_s: float = 0.0  # for so long nobody had recorded, and whoever reads it has not made up for it yet

    def doubt(self) -> None:
        """Workers may have reported while nobody looked, or are about to, as they could not before."""
        self.recorded, self.recording_since, self.clear = False, None, False

    def look(self, ctx: Context) -> None:
        """See how far the recording is.

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
        # Not within a timeout: a worker that has just found its broker again is about to send what it has.
        recording_s = now - self.recording_since
        self.recorded = self.recorded or recording_s >= BACKLOG_WAIT_S or (results.waiting == 0 and recording_s >= ctx.registry.timeout_s)
        if results.waiting == 0 or self.empty_at is None:
            self.empty_at = now
        self.clear = self.recorded and (results.waiting == 0 or now - self.empty_at >= BACKLOG_WAIT_S)
