"""How a measured process died, in words."""

from __future__ import annotations

import signal
from typing import Any

from worker.runner.request import NO_ROOM


def how_it_died(facts: dict[str, Any], where: str, phase: str) -> str:
    """A sentence from the guard's `exited` event: the signal's name or the exit code, when, and what it most likely means."""
    during = f"the measured process of {where} ended while {phase}"
    number = facts["signal"]
    if number is None and facts["code"] == NO_ROOM:
        return f"{during}: what it measured could not be written to the worker's cache folder; free some space on this device"
    if number is None:
        return f"{during}, with exit code {facts['code']} and no result"
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    peak = f" ({facts['max_rss_mb']:.0f} MB were resident at its peak)" if facts["max_rss_mb"] else ""
    if number == 9 and not facts["killed_by_us"]:
        if facts["oom_kill"]:
            return (
                f"{during}: killed by the kernel's out-of-memory killer; take a smaller model or batch, or a device with more memory{peak}"
            )
        return f"{during}: killed by SIGKILL, which the worker did not send; most likely the out-of-memory killer{peak}"
    return f"{during}: killed by {name}"
