"""Waits until a vector database has indexed what was inserted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns

from shared.errors import EngineUnavailable

FIRST_PAUSE_S, MOST_PAUSE_S = 0.02, 0.5
STILL_S = 5.0  # without another vector: those that are missing do not come any more
NS = 1e9


async def wait_for_index(progress: Callable[[], Awaitable[tuple[int, bool, str]]], size: int, timeout_s: float) -> tuple[int, str]:
    """Wait until all vectors are there and the index is complete. Return how many vectors are there, and what the server said last.

    Inserts that failed are missing for good. So the wait ends, too, when no vector has come for `STILL_S` and the index is complete.

    Args:
        progress: Returns the vectors that are there, whether the index is complete, and what the server said.

    Raises:
        EngineUnavailable: It took longer than `timeout_s`.
    """
    begin = changed = perf_counter_ns()
    pause, before = FIRST_PAUSE_S, -1
    while True:
        count, complete, said = await progress()
        now = perf_counter_ns()
        if count != before:
            before, changed = count, now
        if complete and (count >= size or now - changed > STILL_S * NS):
            return count, said
        if now - begin > timeout_s * NS:
            raise EngineUnavailable(
                f"the index was not complete {timeout_s:g} s after the inserts: {count} of {size} vectors are there, and the server says "
                f"{said!r:.200}; set client.settings.index_timeout_s, or insert fewer vectors"
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, MOST_PAUSE_S)
