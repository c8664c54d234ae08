"""Contains the measured passes of a task: each document is a call of its own, and ends where the model ends it.

Blocks of two passes alternate, so that a slow drift of the device meets both:

- **streamed**: a stamp each time a token is visible to the caller.
- **plain**: one call, and one reading of the clock after it. What it writes is what is kept and judged.

There is no pass of calls with one new token: what a prompt costs is in the time until the first token.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.errors import ModelInvalid
from worker.generators.alternation import alternate, warm_up
from worker.generators.base import Clock, Ending, Generator, Written


@dataclass
class TaskStamps:
    """Holds what the passes recorded, in nanoseconds and in order of time.

    Attributes:
        warmup: The calls before the measured ones.
        streamed: The duration of each streamed call.
        tokens: The time of each token from the beginning of its streamed call.
        counts: How many tokens each streamed call wrote, so that `tokens` can be divided into calls.
        plain: The duration of each plain call.
        plain_counts: How many tokens each plain call wrote.
        blocks: When each block of plain calls began, counted from the call of `measure`, and how long it took: two values a block.
        compilations: How often the runtime compiled in the measured part.
        first_token: The time until the first token of the first call of the process.
    """

    warmup: array[int] = field(default_factory=lambda: array("q"))
    streamed: array[int] = field(default_factory=lambda: array("q"))
    tokens: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))
    plain: array[int] = field(default_factory=lambda: array("q"))
    plain_counts: array[int] = field(default_factory=lambda: array("q"))
    blocks: array[int] = field(default_factory=lambda: array("q"))
    compilations: int = 0
    first_token: int = 0
    wall_ns: int = 0
    cpu_ns: int = 0


class TaskPasses:
    """Makes the calls of one process. `documents` is how many prompts are prepared; each of them is a batch."""

    def __init__(self, generator: Generator, ending: Ending, documents: int, clock: Clock) -> None:
        self._generator, self._ending, self._documents, self._clock = generator, ending, documents, clock
        self.stamps = TaskStamps()
        self.written: dict[int, Written] = {}  # by the number of the document, of the plain pass

    def warm_up(self, min_calls: int, min_s: float, max_s: float) -> None:
        """Make streamed and plain calls in turns; see `alternation.warm_up`."""
        warm_up(self._warm_up_call, self.stamps.warmup, self._clock, min_calls=min_calls, min_s=min_s, max_s=max_s)

    def _warm_up_call(self, number: int) -> int:
        document = number % self._documents
        if number % 2:
            return self._plain_call(document)[0]
        duration, times = self._streamed_call(document)
        self.stamps.first_token = self.stamps.first_token or times[0]
        return duration

    def measure(self) -> None:
        """Make the measured calls. `blocks` counts from here, so call it when the phase was announced."""
        passes = (self._streamed_block, self._plain_block)
        alternate(self._documents, passes, self._plain_block, self.stamps, self._generator, self._clock)

    def _streamed_block(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            duration, times = self._streamed_call(number)
            self.stamps.streamed.append(duration)
            self.stamps.tokens.extend(times)
            self.stamps.counts.append(len(times))

    def _plain_block(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            duration, self.written[number] = self._plain_call(number)
            self.stamps.plain.append(duration)
            self.stamps.plain_counts.append(len(self.written[number].ids))

    def _streamed_call(self, number: int) -> tuple[int, array[int]]:
        clock, write, seen = self._clock, self._generator.write, array("q")
        note = seen.append
        begin = clock()
        written = write(number, self._ending, lambda: note(clock()))
        after = clock()
        self._check(written)
        if len(seen) != len(written.ids):
            raise ModelInvalid(
                f"the runtime showed {len(seen)} tokens of a call that wrote {len(written.ids)}: nothing can be said about single tokens"
            )
        return after - begin, array("q", [stamp - begin for stamp in seen])

    def _plain_call(self, number: int) -> tuple[int, Written]:
        clock, write = self._clock, self._generator.write
        begin = clock()
        written = write(number, self._ending)
        after = clock()
        self._check(written)
        return after - begin, written

    def _check(self, written: Written) -> None:
        if not 1 <= len(written.ids) <= self._ending.max_tokens:
            raise ModelInvalid(f"the runtime wrote {len(written.ids)} tokens where 1 to {self._ending.max_tokens} were asked for")
