"""Drives Redis with redis-benchmark, on the keys of our own driver.

redis-benchmark tells nothing of single requests. It prints how many requests took at most so long, at ever finer steps, and the 95th and
the 99th percentile; from these we make the distribution. It takes a number of requests and no time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from time import time_ns
from typing import Any

from shared.errors import EngineUnavailable, JobCancelled
from worker.tools.base import EndsEarly, News, Steps, ToolPhase, ToolRun
from worker.tools.program import find_program, run_program, version_of
from worker.tools.redis_target import target_of

NAME = "redis-benchmark"
PREFIX, DRAWN = "fleetmark:", 12  # our driver's keys, of which the tool draws the last 12 digits
FIRST_RUN_S, FIRST_RUN_REQUESTS = 0.3, 2_000
STEP = re.compile(r"^([\d.]+)% <= ([\d.]+) milliseconds \(cumulative count (\d+)\)", re.MULTILINE)
RATE = re.compile(r"throughput summary: ([\d.]+) requests per second")
SUMMARY = re.compile(r"avg\s+min\s+p50\s+p95\s+p99\s+max\s*\n\s*([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)")
PRINTED = ("avg", "min", "p50", "p95", "p99", "max")


class RedisBenchmark:
    """Implements `worker.tools.base.Tool`."""

    operations = ("get", "set")

    def __init__(self, address: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self._server = target_of(NAME, address, settings, secrets)
        self._settings = settings

    def version(self) -> str:
        return version_of(find_program(NAME))

    def words(self, phase: ToolPhase, count: int) -> list[str]:
        settings = self._settings
        operation = next(iter(phase.operations))
        key = PREFIX + first_digits(int(settings["key_size_bytes"]) - len(PREFIX) - DRAWN) + "__rand_int__"
        command = ["GET", key] if operation == "get" else ["SET", key, "x" * int(settings["value_size_bytes"])]
        threads = ["--threads", str(phase.processes)] if phase.processes > 1 else []
        return [
            *(find_program(NAME), "-h", self._server.host, "-p", str(self._server.port), "--dbnum", self._server.database),
            *("-n", str(count), "-c", str(phase.in_flight), "-P", str(settings["pipeline"]), "-r", str(settings["num_keys"]), *threads),
            *("--precision", "3", *command),
        ]

    def run(self, phase: ToolPhase, on_news: News, ends_early: EndsEarly) -> ToolRun:
        count = phase.count
        if count is None or phase.lead_s:
            on_news("a first run finds the rate")
            per_s = self._warm_up(phase, ends_early)
            count = count or max(1, round(per_s * (phase.duration_s or 0.0)))
        words = self.words(phase, count)
        began_at = time_ns() / 1e9
        steps, per_s, printed = self._told(phase, words, ends_early)
        return ToolRun(
            command=" ".join(word if len(word) < 100 else f"{word[:20]}…" for word in words),
            printed={"requests per second": per_s, **{f"{name} in ms": value for name, value in printed.items()}},
            began_at=began_at,
            steps={next(iter(phase.operations)): steps},
            window_s=steps[-1][1] / per_s,
        )

    def _warm_up(self, phase: ToolPhase, ends_early: EndsEarly) -> float:
        """Send requests for about `lead_s`, and return how many there were per second."""
        count, wanted_s = max(FIRST_RUN_REQUESTS, phase.in_flight), max(phase.lead_s, FIRST_RUN_S)
        while True:
            steps, per_s, _ = self._told(phase, self.words(phase, count), ends_early)
            took_s = steps[-1][1] / per_s
            if took_s >= wanted_s:
                return per_s
            count = math.ceil(per_s * wanted_s * 1.1)

    def _told(self, phase: ToolPhase, words: list[str], ends_early: EndsEarly) -> tuple[Steps, float, dict[str, float]]:
        ended = run_program(words, phase.folder, ends_early=ends_early)
        if ended.early:
            raise JobCancelled("redis-benchmark was ended, and it prints nothing before its end")
        rate, summary = RATE.search(ended.output), SUMMARY.search(ended.output)
        if ended.code or rate is None or summary is None:
            raise EngineUnavailable(f"redis-benchmark measured nothing (exit code {ended.code}): {ended.last_words()}")
        printed = {name: float(value) for name, value in zip(PRINTED, summary.groups(), strict=True)}
        return steps_of(ended.output, printed), float(rate[1]), printed


def first_digits(count: int) -> str:
    """Return the first digits of our driver's keys (`worker.drivers.redis.FIRST`)."""
    return "1".zfill(count) if count else ""


def steps_of(output: str, printed: Mapping[str, float]) -> Steps:
    """Return the steps of the distribution in order: a latency in ms, and how many requests took at most so long.

    The two lists that the tool prints are steps at different latencies. Its 95th and 99th percentile are steps, too.
    """
    found = {(float(latency), int(count)) for _, latency, count in STEP.findall(output)}
    total = max(count for _, count in found)
    # One more, because our percentile lies between two requests.
    found |= {(printed[name], min(total, math.ceil(share * total) + 1)) for name, share in (("p95", 0.95), ("p99", 0.99))}
    most: list[tuple[float, int]] = []
    for latency, count in sorted(found, key=lambda step: (step[1], step[0])):
        if most and count == most[-1][1]:
            continue  # the lowest latency of which the tool says that so many requests took no longer
        most.append((min(latency, printed["max"]), count))
    return tuple(most)
