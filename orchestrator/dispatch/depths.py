"""Counts the messages that wait in queues. A queue is counted again only when Redis reports that one of its lists has changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from orchestrator.tracking import Script, Tracking
from shared.celery_app import PRIORITY_STEPS

SEPARATOR = "\x06\x16"  # kombu puts this between a queue's name and its priority step
SUFFIXES = [f"{SEPARATOR}{step}" if step else "" for step in PRIORITY_STEPS]
AT_ONCE = 2_000  # queues per script call; each call blocks Redis for a few milliseconds
MOST_KEPT = 100_000  # counts that are kept; beyond that all are forgotten, for example those of workers that left long ago

# ARGV: the suffixes of the names of a queue's lists, separated by commas, then the queues. Returns how many messages wait in each queue.
# A thousand private queues have four thousand lists. Separate commands for them would take 100 ms.
_DEPTHS = Script("""
local suffixes, depths = {}, {}
for suffix in string.gmatch(ARGV[1] .. ',', '(.-),') do table.insert(suffixes, suffix) end
for i = 2, #ARGV do
  local depth = 0
  for _, suffix in ipairs(suffixes) do depth = depth + redis.call('LLEN', ARGV[i] .. suffix) end
  depths[i - 1] = depth
end
return depths
""")


class Depths:
    """Counts what waits in queues, and keeps the counts of queues that have not changed."""

    def __init__(self, broker_url: str) -> None:
        self._tracking = Tracking(broker_url, timeout_s=10.0)
        self._kept: dict[str, int] = {}

    def of(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many messages wait in each queue. Raises what redis-py raises."""
        names = list(queues)
        with self._tracking.session():
            _, changed = self._tracking.look()
            if changed is None or len(self._kept) > MOST_KEPT:
                self._kept.clear()
            else:
                for name in changed:
                    self._kept.pop(name.partition(SEPARATOR)[0], None)
            uncounted = [name for name in names if name not in self._kept]
            for start in range(0, len(uncounted), AT_ONCE):
                some = uncounted[start : start + AT_ONCE]
                reads = [name + suffix for name in some for suffix in SUFFIXES]
                found = cast("list[int]", self._tracking.run(_DEPTHS, ",".join(SUFFIXES), *some, reads=reads))
                self._kept.update(zip(some, found, strict=True))
            return {name: self._kept[name] for name in names}

    def close(self) -> None:
        self._tracking.close()
