"""Checks before a start what a process needs. All checks run at the same time, and none is waited for longer than `PATIENCE_S`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

from shared.clock import SystemClock
from shared.errors import FleetmarkError, InvalidInput, Unavailable

PATIENCE_S = 2.0  # so that a command, which takes up to a second to start, says within 3 s what is missing
CONNECT_S = 1.5  # how long a check may take to connect, so that its own words come before `PATIENCE_S` is over


def failed_checks(checks: Mapping[str, Callable[[], object]], patience_s: float = PATIENCE_S) -> list[FleetmarkError]:
    """Run checks and return the errors of those that failed, in the order of the checks.

    A check that has not ended in time counts as failed. Its thread goes on, and does not keep the process from ending.

    Args:
        checks: what is checked, as the subject of a sentence, and a function that raises a `FleetmarkError` if something is wrong.

    Raises:
        Exception: whatever else a check raises.
    """
    found: dict[str, BaseException | None] = {}

    def run(name: str, check: Callable[[], object]) -> None:
        try:
            check()
        except BaseException as error:  # noqa: BLE001 (raised again below, by the thread that asked)
            found[name] = error
        else:
            found[name] = None

    threads = {name: Thread(target=run, args=(name, check), name=f"check of {name}", daemon=True) for name, check in checks.items()}
    clock = SystemClock()
    until = clock.monotonic() + patience_s
    for thread in threads.values():
        thread.start()
    errors: list[FleetmarkError] = []
    for name, thread in threads.items():
        thread.join(max(until - clock.monotonic(), 0.0))
        error = found.get(name, Unavailable(f"{name} does not answer within {patience_s:g} s"))
        if isinstance(error, FleetmarkError):
            errors.append(error)
        elif error is not None:
            raise error
    return errors


def require_writable(folder: Path, variable: str) -> None:
    """Check that files can be written in a folder. It is made if it is missing.

    Args:
        variable: the setting by which the user can name another folder; part of the message.

    Raises:
        InvalidInput: the folder cannot be made or written, for example because its disk is full.
    """
    try:
        folder.mkdir(mode=0o777, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".fleetmark-check-")
        try:
            os.write(descriptor, b"written by a check")
        finally:
            os.close(descriptor)
            Path(name).unlink()
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error.strerror}; make room or make it writable, or set {variable}") from error
