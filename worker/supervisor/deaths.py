"""Describes in words how a measured process died."""

from __future__ import annotations

import signal
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from worker.engines.registry import find_entry
from worker.generators.registry import GENERATORS
from worker.runner.record_file import NO_ROOM

OUTPUT = "; its last output:\n"
PYTHONS_ACCOUNT = "Fatal Python error: "  # the first words that Python's faulthandler prints
# The most common cause of each crash signal. `how_it_died` handles SIGKILL itself.
MEANINGS = {
    "SIGILL": "a library uses an instruction that this processor does not have; install a build of it for this processor",
    "SIGSEGV": "a crash in native code, most likely of the runtime; try another version of it, or fewer options",
    "SIGBUS": "memory that could not be read: a model file that was cut short while it was mapped, or a full /dev/shm",
    "SIGABRT": "native code gave up; its last words say why",
    "SIGFPE": "native code divided by zero",
}


def how_it_died(facts: dict[str, Any], where: str, phase: str, software: str = "") -> str:
    """Return a sentence about a process's end: when it died, by which signal or exit code, and the most likely cause.

    Args:
        facts: The facts of the guard's `exited` event.
        software: The runtime that was measured, with its version.
    """
    during = f"the measured process of {where} ended while {phase}"
    number = facts["signal"]
    if number is None and facts["code"] == NO_ROOM:
        return f"{during}: what it measured could not be written to the worker's cache folder; free some space on this device"
    if number is None:
        return f"{during}, with exit code {facts['code']} and no result"
    peak = f" ({facts['max_rss_mb']:.0f} MB were resident at its peak)" if facts["max_rss_mb"] else ""
    if number == 9 and not facts["killed_by_us"]:
        if facts["oom_kill"]:
            return (
                f"{during}: killed by the kernel's out-of-memory killer; take a smaller model or batch, or a device with more memory{peak}"
            )
        return f"{during}: killed by SIGKILL, which the worker did not send; most likely the out-of-memory killer{peak}"
    name = signal_name(number)
    meaning = f": {MEANINGS[name]}" if name in MEANINGS else ""
    return f"{during}: killed by {name}{f' in {software}' if software else ''}{meaning}"


def signal_name(number: int) -> str:
    """Return the name of a signal, such as `SIGILL` for 4, or `signal <number>` if this system has no name for it."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def software_of(capability: str) -> str:
    """Return the libraries of an engine with their versions, such as `onnxruntime 1.22.0, numpy 2.3.1`. Empty if it uses none."""
    entry = find_entry(capability) or GENERATORS.get(capability)
    distributions = packages_distributions() if entry is not None and entry.needs else {}
    found = []
    for module in reversed(entry.needs if entry is not None else ()):  # `needs` names the runtime last
        for distribution in dict.fromkeys(distributions.get(module, [])):
            try:
                found.append(f"{distribution} {version(distribution)}")
            except PackageNotFoundError:
                continue
    return ", ".join(found)


def with_output(sentence: str, output: str) -> str:
    """Return the sentence, followed by the last output of the process.

    Python's own crash report is left out: it shows the stack of our functions and says nothing about the runtime. It is still in the
    job's log.
    """
    printed = output.partition(PYTHONS_ACCOUNT)[0].strip()
    return f"{sentence}{OUTPUT}{printed}" if printed else sentence


def without_output(detail: str) -> str:
    """Return the sentence without the output. The job's log has the output already, in an entry of its own."""
    return detail.partition(OUTPUT)[0]
