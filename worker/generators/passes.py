"""Contains the measured passes of a language model. Blocks of three passes alternate, so that a slow drift of the device meets all of them.

- **streamed**: a stamp each time a token is visible to the caller. Looking costs time, so no rate of whole calls comes from this pass.
- **plain**: one call, and one reading of the clock after it.
- **prefill**: the plain call with one new token.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from shared.errors import ModelInvalid
from worker.generators.alternation import WARMUPS, alternate, warm_up
from worker.generators.base import Batch, Clock, Generator

MAX_PROMPT_TOKENS = 4_000_000  # of all prompts of a process together; further calls use the same prompts again


@dataclass(frozen=True)
class Shape:
    """Says what one call reads and writes, and how many calls each pass makes."""

    batch_size: int
    input_tokens: int
    output_tokens: int
    requests: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def draw_prompts(shape: Shape, vocabulary: int, seed: int) -> list[Batch]:
    """Return a batch of random token ids for each call, or fewer if they would be more than `MAX_PROMPT_TOKENS`."""
    of_one = shape.batch_size * shape.input_tokens
    drawn = random.Random(seed)  # noqa: S311 - no secret
    count = max(1, min(shape.requests, MAX_PROMPT_TOKENS // of_one))
    ids = range(vocabulary)
    return [[drawn.choices(ids, k=shape.input_tokens) for _ in range(shape.batch_size)] for _ in range(count)]


@dataclass
class Stamps:
    """Holds what the passes recorded, in nanoseconds and in order of time.

    Attributes:
        warmup: The whole calls before the measured ones, and `warmup_prefill` those with one new token.
        streamed: The duration of each streamed call.
        tokens: The time of each token from the beginning of its call: `output_tokens` values for each call.
        blocks: When each block of plain calls began, counted from the call of `Passes.measure`, and how long it took: two values a block.
        compilations: How often the runtime compiled in the measured part.
        first_token: The time until the first token of the first call of the process.
    """

    warmup: array[int] = field(default_factory=lambda: array("q"))
    warmup_prefill: array[int] = field(default_factory=lambda: array("q"))
    streamed: array[int] = field(default_factory=lambda: array("q"))
    tokens: array[int] = field(default_factory=lambda: array("q"))
    plain: array[int] = field(default_factory=lambda: array("q"))
    prefill: array[int] = field(default_factory=lambda: array("q"))
    blocks: array[int] = field(default_factory=lambda: array("q"))
    compilations: int = 0
    first_token: int = 0
    wall_ns: int = 0
    cpu_ns: int = 0


class Passes:
    """Makes the calls of one process. `batches` is how many batches of prompts are prepared."""

    def __init__(self, generator: Generator, shape: Shape, batches: int, clock: Clock) -> None:
        self._generator = generator
        self._shape = shape
        self._batches = batches
        self._clock = clock
        self.stamps = Stamps()

    def warm_up(self, min_calls: int, min_s: float, max_s: float) -> None:
        """Make whole calls, streamed and plain ones in turns (see `alternation.warm_up`), then calls with one new token."""
        warm_up(self._warm_up_call, self.stamps.warmup, self._clock, min_calls=min_calls, min_s=min_s, max_s=max_s)
        for number in range(WARMUPS):
            self.stamps.warmup_prefill.append(self._plain_call(number, 1))

    def _warm_up_call(self, number: int) -> int:
        if number % 2:
            return self._plain_call(number, self._shape.output_tokens)
        duration, times = self._streamed_call(number)
        self.stamps.first_token = self.stamps.first_token or times[0]
        return duration

    def measure(self) -> None:
        """Make the measured calls. `blocks` counts from here, so call it when the phase was announced."""
        passes = (self._streamed_block, self.plain_block, self._prefill_block)
        alternate(self._shape.requests, passes, self.plain_block, self.stamps, self._generator, self._clock)

    def _streamed_block(self, numbers: range) -> None:
        for number in numbers:
            duration, times = self._streamed_call(number)
            self.stamps.streamed.append(duration)
            self.stamps.tokens.extend(times)

    def plain_block(self, numbers: range) -> None:
        """Make the plain calls with these numbers."""
        for number in numbers:
            self.stamps.plain.append(self._plain_call(number, self._shape.output_tokens))

    def _prefill_block(self, numbers: range) -> None:
        for number in numbers:
            self.stamps.prefill.append(self._plain_call(number, 1))

    def _streamed_call(self, number: int) -> tuple[int, array[int]]:
        clock, generate, wanted = self._clock, self._generator.generate, self._shape.output_tokens
        batch, seen = number % self._batches, array("q")
        note = seen.append
        begin = clock()
        counts = generate(batch, wanted, lambda: note(clock()))
        after = clock()
        self._check(counts, wanted)
        if len(seen) != wanted:
            raise ModelInvalid(
                f"the runtime showed {len(seen)} tokens of a call that wrote {wanted}: nothing can be said about single tokens"
            )
        return after - begin, array("q", [stamp - begin for stamp in seen])

    def _plain_call(self, number: int, wanted: int) -> int:
        clock, generate, batch = self._clock, self._generator.generate, number % self._batches
        begin = clock()
        counts = generate(batch, wanted)
        after = clock()
        self._check(counts, wanted)
        return after - begin

    def _check(self, counts: Sequence[int], wanted: int) -> None:
        if len(counts) != self._shape.batch_size or any(count != wanted for count in counts):
            raise ModelInvalid(
                f"the model wrote {', '.join(map(str, counts))} tokens where exactly {wanted} were asked of "
                f"{self._shape.batch_size} sequences: speeds of different lengths cannot be compared, so nothing was measured"
            )
