"""Defines the facts of a job that a comparison looks at, and those that every kind of work has.

Facts are what the measured process reported, not what was asked for. A fact that a result does not have (a worker of an earlier version
measured it) is None. Nothing is assumed in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.reports.bundle import JobRecord

Read = Callable[[JobRecord, Any], str | None]


@dataclass(frozen=True, slots=True)
class Fact:
    """Describes one fact: its name in reasons and in `--allow-different`, its meaning, and the way to read it from a job and its work."""

    name: str
    meaning: str
    read: Read


def runtime_of(job: JobRecord) -> Mapping[str, Any]:
    """Return what the runtime reported about itself. It is empty for a job without a result."""
    return job.result.runtime if job.result is not None else {}


def fact_text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def of_device(name: str) -> Read:
    return lambda job, _work: fact_text(getattr(job.result.device, name)) if job.result is not None else None


def of_software(name: str) -> Read:
    return lambda job, _work: fact_text(job.result.software.get(name)) if job.result is not None else None


def of_noise(name: str) -> Read:
    def read(job: JobRecord, _work: Any) -> str | None:
        noise = job.result.noise if job.result is not None else None
        value = noise.facts.get(name) if noise is not None else None
        return json.dumps(value, sort_keys=True) if isinstance(value, dict) else fact_text(value)

    return read


def _warmup(job: JobRecord, _work: Any) -> str | None:
    warmup = job.workload.warmup
    return None if job.unreadable else f"{warmup.min_calls} calls and {warmup.min_s:g} s, at most {warmup.max_s:g} s"


CAPABILITY = Fact(
    "capability", "what ran it, such as `cpu.onnx`", lambda job, _work: job.result.capability if job.result is not None else None
)
DEVICE = Fact("device", "the device, by the id of its worker", lambda job, _work: job.result.worker_id if job.result is not None else None)
PROCESSOR = Fact("processor", "model of the device's processor", of_device("soc"))
WARMUP = Fact("warm-up", "warm-up of each repeat", _warmup)

# These can move a figure, but often differ without moving it. Each is named beside the verdict if both sides know it and it differs.
OF_SOFTWARE: tuple[Fact, ...] = (
    Fact("fleetmark", "version of our own worker", of_software("fleetmark")),
    Fact("python", "version of Python", of_software("python")),
    Fact("numpy", "version of numpy", of_software("numpy")),
)
OF_MACHINE: tuple[Fact, ...] = (
    Fact("system", "operating system", of_device("os")),
    Fact("memory", "memory of the device", of_device("ram_gb")),
    Fact("cpus", "processors that the measured process may use", of_noise("cpus_allowed")),
    Fact("quota", "CPU quota", of_noise("quota_cores")),
    Fact("steering", "environment variables that steer a runtime", of_noise("steering")),
    Fact("governor", "frequency governor", of_noise("governor")),
)
