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
from worker.generators.base import COMPILE, IMPORT, TOKENIZER, WEIGHTS, Batch, Clock, Compiled, Reads, Settings


class KnownClock:
    """A clock that stands still while code runs, and that waiting moves on. So what takes no known time takes none."""

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
        schedule = self._schedule
        if "raises" in schedule:
            raise ArithmeticError(schedule["raises"])
        end = self._clock()
        firsts, nexts = schedule.get("first_s", [0.0]), schedule.get("next_s", [0.0])
        first = firsts[self._calls % len(firsts)]
        self._calls += 1
        written = new_tokens - schedule.get("loses", 0)
        for seconds in [first, *islice(cycle(nexts), max(0, written - 1))]:
            end += _ns(seconds)
            if visible is not None:
                end += _ns(schedule.get("watched_s", 0.0))
            self._wait_until(end)
            if visible is not None:
                visible()
        self._wait_until(end + _ns(schedule.get("after_s", 0.0)))
        return [written] * len(self._batches[batch])

    def compiled(self) -> Compiled:
        return Compiled(sum(number < self._calls for number in self._schedule.get("compiles_at", [])))

    def reads(self) -> Reads:
        return Reads(self._schedule.get("weights_bytes", 0), self._schedule.get("kv_bytes_per_token", 0))

    def start_phase(self) -> None:
        pass

    def peak_gpu_mb(self) -> float | None:
        return None

    def facts(self) -> Facts:
        return Facts({"runtime": "fake", "version": "1", "prompts": [list(map(list, batch)) for batch in self._batches]}, {})

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
