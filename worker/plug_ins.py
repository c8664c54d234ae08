"""Imports what a registry names, and asks a plug-in whether it is really there. A plug-in that is broken must not end the worker.

This module imports neither pydantic nor numpy, because the guard imports it, and the memory of the guard is the baseline of each measured
process.
"""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout
from importlib import import_module
from inspect import isfunction
from threading import Thread
from typing import Any

from shared.errors import EngineUnavailable

log = logging.getLogger(__name__)

# Errors of the code itself. They would be the same on every device, so the job fails at once; any other may be the device's.
MISTAKES = (ArithmeticError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError)
PATIENCE_S = 10.0  # then the log says what is waited for
LONGEST_S = 200.0  # longer than `worker.hardware.short_process.TIMEOUT_S`, so that what such a process says is still heard

_silent: dict[str, str] = {}  # why nothing is said, by the function; nobody waits for it again, whatever the capability


class BrokenPlugIn(EngineUnavailable):
    """Is raised when a plug-in cannot be imported, or does not implement its port."""


def named(target: str) -> Any:
    """Import and return what a registry names as `module:name`.

    Raises:
        BrokenPlugIn: It cannot be imported.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # a plug-in may be of another package, and its code may raise anything
        raise BrokenPlugIn(f"{target} cannot be imported: {type(error).__name__}: {error}") from error


def implementing(port: type, target: str) -> Any:
    """Import and return a class of a plug-in that has every method of its port, which is a `Protocol`.

    Raises:
        BrokenPlugIn: It cannot be imported, or it lacks a method.
    """
    found = named(target)
    methods = [name for one in port.__mro__ for name, value in vars(one).items() if isfunction(value) and not name.startswith("_")]
    if lacking := [name for name in methods if not callable(getattr(found, name, None))]:
        raise BrokenPlugIn(f"{target} has no method {', '.join(lacking)}; see {port.__name__} in {port.__module__}")
    return found


def why_not(target: str, capability: str, hardware: object) -> str:
    """Return what the function `module:name` of a registry says: why a capability cannot be used here, or an empty text if it can.

    If the function fails, says nothing in time or returns no text, that is the reason. What it prints goes to stderr. A function that
    has once said nothing in time is not asked again for any capability, so that it delays the start of a worker only once.
    """
    if target in _silent:
        return _silent[target]
    answers: list[Any] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(named(target)(capability, hardware))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
            failures.append(error)

    asking = Thread(target=ask, name=f"presence of {capability}", daemon=True)
    with redirect_stdout(sys.stderr):
        asking.start()
        asking.join(PATIENCE_S)
        if asking.is_alive():
            log.warning(
                "%s has not said for %g s whether %s is there; the worker starts only when it has answered, or after %g s",
                target,
                PATIENCE_S,
                capability,
                LONGEST_S,
            )
            asking.join(LONGEST_S - PATIENCE_S)
    if failures:
        error = failures[0]
        return error.detail if isinstance(error, BrokenPlugIn) else f"{target} failed: {type(error).__name__}: {error}"
    if not answers:
        _silent[target] = f"{target} did not answer within {LONGEST_S:g} s"
        return _silent[target]
    answer = answers[0]
    return answer if isinstance(answer, str) else f"{target} returned {answer!r:.100}; it must return a text: why not, or an empty one"
