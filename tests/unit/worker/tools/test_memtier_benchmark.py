"""Tests how the JSON of memtier_benchmark becomes a distribution, and which command line the settings become."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.services.registry import SERVICES
from worker.drivers.base import Work
from worker.drivers.redis import RedisDriver
from worker.tools.base import ToolPhase
from worker.tools.memtier_benchmark import MemtierBenchmark, ratio_of, steps_of

# In the form of memtier_benchmark 2.3; the numbers are ours.
FIGURES = {"Count": 1_000, "Percentile Latencies": {"p50.00": 0.071, "p99.00": 0.4, "Histogram log format": {"Compressed Histogram": "x"}}}
LISTED = [
    {"<=msec": ms, "percent": percent} for ms, percent in [(0.031, 0.0), (0.071, 45.0), (0.071, 50.0), (0.199, 98.75), (5.215, 100.0)]
]


def test_each_latency_has_the_most_requests_of_which_the_tool_says_that_they_took_no_longer() -> None:
    assert steps_of(FIGURES, LISTED) == ((0.071, 501), (0.199, 989), (0.4, 991), (5.215, 1_000))


@pytest.mark.parametrize(
    ("weights", "ratio"),
    [({"get": 50.0, "set": 50.0}, "1:1"), ({"get": 1.0}, "0:1"), ({"set": 0.3, "get": 0.9}, "1:3"), ({"set": 7}, "1:0")],
)
def test_the_shares_become_the_smallest_turns(weights: dict[str, float], ratio: str) -> None:
    assert ratio_of(weights) == ratio


def test_the_settings_become_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memtier_benchmark").write_text("#!/bin/sh\n")
    (tmp_path / "memtier_benchmark").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = SERVICES["redis"].client().model_copy(update={"num_keys": 99, "value_size_bytes": 3}).model_dump()
    tool = MemtierBenchmark("redis://host:7000/2", settings, {})
    words = tool.words(ToolPhase("mixed", {"set": 1.0, "get": 3.0}, 600.0, 6, 2, 500, None, 0.0, 1, tmp_path))
    assert " ".join(words[1:-1]) == (
        "-h host -p 7000 --select-db 2 -t 2 -c 3 -n 83 --pipeline 1 --rate-limiting 100 --ratio 1:3 -R -d 3 "
        "--key-prefix fleetmark:000000000 --key-pattern R:R --distinct-client-seed --key-minimum 1000000000000 --key-maximum 1000000000098 "
        "--print-percentiles 50,90,95,99,99.9 --json-out-file"
    )
    timed = tool.words(ToolPhase("mixed", {"get": 1.0}, None, 6, 1, None, 3.0, 0.0, 1, tmp_path))
    assert ("--test-time 3" in " ".join(timed), "--rate-limiting" in timed) == (True, False)
    driver = RedisDriver(Work("redis://host", settings))
    assert driver.key(98).decode() == words[words.index("--key-prefix") + 1] + words[words.index("--key-maximum") + 1]
