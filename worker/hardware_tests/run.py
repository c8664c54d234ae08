"""Runs hardware tests in a fresh process whose environment makes no library slower than the device."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import DeviceFailed, JobError
from worker.hardware_tests.base import Readings, Share
from worker.hardware_tests.registry import TestEntry, entries, resolve
from worker.interpreter import python_command
from worker.plug_ins import MISTAKES, BrokenPlugIn

BROKEN = 3  # the exit code of a process in which a test has a mistake
SPARE_S = 120  # the time beyond the tests' own: starting, importing, and the smallest samples on a slow device


@dataclass(frozen=True)
class Run:
    """Holds what one process has measured: the readings of each test, and the environment variables that were removed for it."""

    tests: dict[str, Readings]
    unset: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return {"tests": {name: readings.as_json() for name, readings in self.tests.items()}, "unset": self.unset}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Run:
        return cls({name: Readings.from_json(readings) for name, readings in stored["tests"].items()}, dict(stored["unset"]))


def run_here(capability: str, tests: tuple[str, ...], seconds: float) -> dict[str, Readings]:
    """Run the tests one after the other in this process. Each takes its share of the time that is left.

    Raises:
        EngineUnavailable: A test is unknown on this capability, or a library is missing.
        BrokenPlugIn: A test has a mistake, or two tests return a figure of the same name.
        DeviceFailed: A test has failed.
    """
    chosen = entries(capability, tests)
    whole = Share(seconds)
    waiting = sum(entry.weight for entry in chosen.values())
    found: dict[str, Readings] = {}
    by_figure: dict[str, str] = {}
    for name, entry in chosen.items():
        found[name] = _run_one(f"the test {name!r} of {capability}", entry, Share(max(whole.left_s(), 0) * entry.weight / waiting))
        waiting -= entry.weight
        for reading in found[name].readings:
            if found[name].count(reading.name) > 1:
                raise BrokenPlugIn(f"the test {name!r} of {capability} returns {reading.name} more than once; rename it there")
            if (other := by_figure.setdefault(reading.name, name)) != name:
                raise BrokenPlugIn(f"the tests {other!r} and {name!r} of {capability} both return {reading.name}; rename it in one of them")
    return found


def _run_one(what: str, entry: TestEntry, share: Share) -> Readings:
    try:
        readings = resolve(entry)().run(share)
    except JobError:
        raise
    except MISTAKES as error:
        raise BrokenPlugIn(f"{what} has a mistake: {type(error).__name__}: {error}") from error
    except (Exception, SystemExit) as error:  # a test that calls `sys.exit` must not choose our exit code
        raise DeviceFailed(f"{what} failed: {type(error).__name__}: {error}") from error
    if not isinstance(readings, Readings):
        raise BrokenPlugIn(f"{what} has a mistake: `run` returned {readings!r:.100}, and must return Readings")
    return readings


def without_brakes(capability: str, tests: tuple[str, ...], environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment without the variables that make a library slower than the device, and the removed ones."""
    named = {name for entry in entries(capability, tests).values() for name in entry.unset}
    removed = {name: value for name, value in environment.items() if name in named}
    return {name: value for name, value in environment.items() if name not in named}, removed


def run_in_fresh_process(capability: str, tests: tuple[str, ...], seconds: float, environment: Mapping[str, str]) -> Run:
    """Run the tests in a process of their own, and return what they measured.

    Raises:
        EngineUnavailable: A test is unknown on this capability, or a library is missing.
        BrokenPlugIn: A test has a mistake.
        DeviceFailed: The process failed. The message says how, with the last line that it wrote.
    """
    cleaned, removed = without_brakes(capability, tests, environment)
    command = python_command("worker.hardware_tests.__main__", capability, ",".join(tests), str(seconds))
    try:
        done = subprocess.run(
            command, env=cleaned, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=seconds + SPARE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceFailed(f"the hardware tests of {capability} did not end within {seconds + SPARE_S:g} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        if done.returncode == BROKEN:
            raise BrokenPlugIn(last)
        raise DeviceFailed(f"the hardware tests of {capability} ended with exit code {done.returncode}: {last}")
    tests_of = json.loads(done.stdout.splitlines()[-1])
    return Run({name: Readings.from_json(readings) for name, readings in tests_of.items()}, removed)
