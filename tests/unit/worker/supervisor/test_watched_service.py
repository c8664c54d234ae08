"""Tests that telemetry follows the service of a job, and that the log says why a service tells nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

from shared.clock import SystemClock
from worker.job_log import JobLog
from worker.samplers.looks import Looks
from worker.supervisor.idle_power import IdlePower
from worker.supervisor.sampling import Sampling
from worker.supervisor.telemetry import Telemetry, TelemetryOptions, WatchedService


@dataclass
class Ended:
    """Stands for a process that samples, which has ended."""

    looks: Looks

    def end(self, job_log: JobLog) -> Looks:
        del job_log
        return self.looks


def telemetry(looks: Looks) -> Telemetry:
    made = Telemetry(SystemClock(), TelemetryOptions(), cast("IdlePower", None), "service.redis")
    made._sampling = cast("Sampling", Ended(looks))  # what runs between two repeats
    return made


def test_the_log_says_why_a_service_tells_nothing_and_nothing_of_other_samplers() -> None:
    log = JobLog(("job", 1), SystemClock())
    made = telemetry(Looks(absent={"redis": "Redis at x does not answer: refused", "rapl": "no counter"}))
    made.watch(WatchedService("redis", "redis://x", {}), log)
    said = [json.loads(line)["message"] for line in log.to_jsonl().splitlines()]
    assert said == ["telemetry has no statistics of the service: Redis at x does not answer: refused"]


def test_what_samples_ends_only_when_the_service_is_elsewhere() -> None:
    made, log = telemetry(Looks()), JobLog(("job", 1), SystemClock())
    made.watch(None, log)
    assert made._sampling is not None
    made.watch(WatchedService("redis", "redis://127.0.0.1:1", {}), log)
    assert made._sampling is None
