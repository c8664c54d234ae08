"""Notes when transformers gives each token to the streamer of a generator: the truth for the stamps that the generator makes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Any


@contextlib.contextmanager
def streamer_times(generator: Any) -> Iterator[list[int]]:
    """Yield the list that gets a time in nanoseconds whenever the streamer is given something: first the prompt, then each token.

    Args:
        generator: a generator of transformers. At the end of the `with` block it is as before.
    """
    times: list[int] = []
    inner = generator._watched

    def watched(visible: Callable[[], None]) -> Any:
        streamer = inner(visible)
        put = streamer.put

        def noting(ids: Any) -> None:
            times.append(perf_counter_ns())
            put(ids)

        streamer.put = noting
        return streamer

    generator._watched = watched
    try:
        yield times
    finally:
        generator._watched = inner
