"""Implements a generator whose durations are all known in advance. Its model file is a schedule in JSON.

    {"load_s": 0.002, "first_s": [0.004], "next_s": [0.001, 0.002], "after_s": 0.0, "vocabulary": 100, "longest": 4096}

- `load_s`: how long reading the weights takes.
- `first_s`: how long each call takes until its first token. After the last value the list starts again.
- `next_s`: how long each further token of a call takes. The list starts again in each call.
- `after_s`: how long a call goes on after its last token.
- `watched_s`: how much longer each token takes while somebody looks at it.
- `loses`: how many tokens fewer than asked each call writes.
- `raises`: an error of each call.
- `compile_s`: how long compiling takes while the model loads.
- `compiles_at`: the numbers of the calls in which it compiles once more, counted from 0.
- `weights_bytes` and `kv_bytes_per_token`: what each step reads of the memory.
- `answers`: what `write` writes, one text for each prompt; after the last one the list starts again. Without it, the prompt is repeated.
- `no_tokenizer`: true if the model cannot read text.

Its tokens are the characters of a text, by their numbers in Unicode. A text ends with the token 0.

Waiting is reading the clock that `load` gets. With a `KnownClock`, every figure is exact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from shared.errors import JobError, ModelInvalid
from worker.engines.base import Facts
from worker.generators.base import (
    COMPILE,
    END_TOKEN,
    IMPORT,
    LENGTH,
    STOP_STRING,
    TOKENIZER,
    WEIGHTS,
    Batch,
    Clock,
    Compiled,
    Ending,
    Reads,
    Settings,
    Written,
)

END = 0
MOST_SHOWN = 10_000  # tokens of all prompts; the documents of a task would make a result of megabytes


class KnownClock:
    """Is a clock that moves only when something waits for a known time. The time that code takes to run does not count."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def wait_until(self, end: int) -> None:
        self.now_ns = max(self.now_ns, end)


class FakeGenerator:
    """Follows a schedule, as described at the top of this module. Only a job for the capability `fake` uses it."""

    def __init__(self) -> None:
        self._schedule: dict[str, Any] = {}
        self._clock: Clock = lambda: 0
        self._batches: Sequence[Batch] = ()
        self._calls = 0
        self._settings = Settings()

    def load(self, model: Path, settings: Settings, capability: str, clock: Clock) -> Mapping[str, int | None]:
        self._clock, self._settings = clock, settings
        before = clock()
        try:
            self._schedule = dict(json.loads(model.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ModelInvalid(f"{model.name} is not a schedule of the fake generator ({capability}): {error}") from error
        self._wait_until(before + _ns(self._schedule.get("load_s", 0.0)))
        loaded = clock()
        compile_s = self._schedule.get("compile_s")
        if compile_s is not None:
            self._wait_until(loaded + _ns(compile_s))
        return {IMPORT: 0, TOKENIZER: None, WEIGHTS: loaded - before, COMPILE: None if compile_s is None else clock() - loaded}

    def vocabulary(self) -> int:
        return int(self._schedule.get("vocabulary", 100))

    def longest(self) -> int | None:
        longest: int | None = self._schedule.get("longest")
        return longest

    def prepare(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def generate(self, batch: int, new_tokens: int, visible: Callable[[], None] | None = None) -> Sequence[int]:
        written = new_tokens - self._schedule.get("loses", 0)
        self._follow(written, visible)
        return [written] * len(self._batches[batch])

    def encode(self, text: str) -> Sequence[int]:
        if self._schedule.get("no_tokenizer"):
            raise ModelInvalid("the fake model has no tokenizer, so it cannot read text")
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(one) for one in ids if one != END)

    def write(self, batch: int, ending: Ending, visible: Callable[[], None] | None = None) -> Written:
        answers = self._schedule.get("answers")
        text = answers[batch % len(answers)] if answers else self.decode(self._batches[batch][0])
        reason = END_TOKEN
        ends = [place + len(one) for one in ending.strings if (place := text.find(one)) >= 0]
        ids = [ord(character) for character in text] + [END]
        if ends:
            ids, reason = ids[: min(ends)], STOP_STRING
        if len(ids) > ending.max_tokens:
            ids, reason = ids[: ending.max_tokens], LENGTH
        self._follow(len(ids), visible)
        return Written(ids, reason)

    def _follow(self, written: int, visible: Callable[[], None] | None) -> None:
        """Take the time of a call that writes this many tokens."""
        schedule = self._schedule
        if "raises" in schedule:
            raise ArithmeticError(schedule["raises"])
        end = self._clock()
        firsts, nexts = schedule.get("first_s", [0.0]), schedule.get("next_s", [0.0])
        first = firsts[self._calls % len(firsts)]
        self._calls += 1
        for seconds in [first, *islice(cycle(nexts), max(0, written - 1))]:
            end += _ns(seconds)
            if visible is not None:
                end += _ns(schedule.get("watched_s", 0.0))
            self._wait_until(end)
            if visible is not None:
                visible()
        self._wait_until(end + _ns(schedule.get("after_s", 0.0)))

    def compiled(self) -> Compiled:
        return Compiled(sum(number < self._calls for number in self._schedule.get("compiles_at", [])))

    def reads(self) -> Reads:
        return Reads(self._schedule.get("weights_bytes", 0), self._schedule.get("kv_bytes_per_token", 0))

    def start_phase(self) -> None:
        pass

    def peak_gpu_mb(self) -> float | None:
        return None

    def facts(self) -> Facts:
        prompts = [list(map(list, batch)) for batch in self._batches]
        few = {"prompts": prompts} if sum(len(one) for batch in prompts for one in batch) <= MOST_SHOWN else {}
        return Facts({"runtime": "fake", "version": "1", **few, "prompt_format": "plain text"}, {})

    def explain(self, error: Exception) -> JobError | None:
        return ModelInvalid(f"the fake model says: {error}") if isinstance(error, ArithmeticError) else None

    def unload(self) -> None:
        self._batches = ()

    def _wait_until(self, end: int) -> None:
        if isinstance(self._clock, KnownClock):
            self._clock.wait_until(end)
        while self._clock() < end:
            pass


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
