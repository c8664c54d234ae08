"""Ends a command in the same way by Ctrl-C, by SIGTERM, and by a terminal that is closed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class _Stopped(KeyboardInterrupt):
    """Is raised by Ctrl-C and by other signals that stop a command.

    It replaces a plain KeyboardInterrupt. CPython remembers one of those if it passes through an `exec` of text, which dataclasses, and so
    many imports, use. Even if it is caught, CPython then ends by SIGINT instead of with the exit code (`unhandled_keyboard_interrupt` in
    its pythonrun.c).
    """


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end the `with` block in the same way as Ctrl-C. Further signals are ignored."""

    def interrupt(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # stopping takes seconds; a second signal would leave processes or files behind
        raise _Stopped

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
