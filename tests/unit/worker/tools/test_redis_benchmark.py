"""Tests how the text that redis-benchmark prints becomes a distribution, and which command line the settings become."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.services.registry import SERVICES
from worker.drivers.base import Work
from worker.drivers.redis import RedisDriver
from worker.tools.base import ToolPhase
from worker.tools.redis_benchmark import RedisBenchmark, first_digits, steps_of

# In the form of redis-benchmark 7.0; the numbers are ours.
PRINTED = """
Latency by percentile distribution:
0.000% <= 0.010 milliseconds (cumulative count 2)
50.000% <= 0.020 milliseconds (cumulative count 60)
75.000% <= 0.030 milliseconds (cumulative count 80)
100.000% <= 0.900 milliseconds (cumulative count 100)
100.000% <= 0.900 milliseconds (cumulative count 100)

Cumulative distribution of latencies:
90.000% <= 0.103 milliseconds (cumulative count 90)
100.000% <= 1.007 milliseconds (cumulative count 100)
"""


def test_the_steps_of_both_lists_and_the_percentiles_make_one_distribution() -> None:
    steps = steps_of(PRINTED, {"p95": 0.2, "p99": 0.8, "max": 0.9})
    assert steps == ((0.01, 2), (0.02, 60), (0.03, 80), (0.103, 90), (0.2, 96), (0.8, 100))


def test_the_settings_become_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis-benchmark").write_text("#!/bin/sh\n")
    (tmp_path / "redis-benchmark").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = SERVICES["redis"].client().model_copy(update={"pipeline": 8, "num_keys": 99, "value_size_bytes": 3}).model_dump()
    tool = RedisBenchmark("redis://host:7000/2", settings, {})
    asked = ToolPhase("mixed", {"set": 1.0}, None, 6, 2, 500, None, 0.0, 1, tmp_path)
    words = tool.words(asked, 500)[1:]
    assert " ".join(words) == (
        "-h host -p 7000 --dbnum 2 -n 500 -c 6 -P 8 -r 99 --threads 2 --precision 3 SET fleetmark:0000000001__rand_int__ xxx"
    )
    assert len("fleetmark:0000000001" + "0" * 12) == settings["key_size_bytes"]


@pytest.mark.parametrize("size", [22, 23, 40])
def test_the_keys_that_it_draws_are_those_of_our_own_driver(size: int) -> None:
    driver = RedisDriver(Work("redis://host", {"key_size_bytes": size, "num_keys": 99}))
    assert driver.key(98) == f"fleetmark:{first_digits(size - 22)}{98:012d}".encode()
