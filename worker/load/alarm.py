"""Wakes an event loop at a given moment, with an error of some ten microseconds.

Event loops wait in whole milliseconds: a load of 1 000 requests per second would be sent in bursts. Linux has timers that are files
(timerfd_create(2)), which an event loop can wait for. Elsewhere the loop waits until a moment before, and then polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from time import perf_counter_ns

NS = 1_000_000_000
CLOCK_MONOTONIC = 1  # what perf_counter_ns reads on Linux
TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME = 0o4000, 0o2000000, 1
POLL_NS = 2_000_000  # before the moment, where there are no such timers


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


class Alarm:
    """Calls a function at one moment. `at` sets the moment, and replaces the one that was set before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop, self._call = loop, call
        self._due = 0
        self._waiting: asyncio.Handle | None = None
        self._timer = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._timer = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._timer >= 0:
            loop.add_reader(self._timer, self._rang)

    def at(self, due_ns: int) -> None:
        """Call at a time of `perf_counter_ns`. A time that has passed means: as soon as possible."""
        self._due = due_ns
        if self._timer >= 0:
            due_ns = max(due_ns, 1)  # 0 would turn the timer off
            setting = _Setting(_Time(0, 0), _Time(due_ns // NS, due_ns % NS))
            self._libc.timerfd_settime(self._timer, TFD_TIMER_ABSTIME, ctypes.byref(setting), None)
        else:
            self._wait()

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        if self._timer >= 0:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = -1

    def _rang(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it was set again after it rang
            os.read(self._timer, 8)
            self._call()

    def _wait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        left = self._due - perf_counter_ns()
        if left <= 0:
            self._waiting = self._loop.call_soon(self._call)
        elif left <= POLL_NS:
            self._waiting = self._loop.call_soon(self._wait)
        else:
            self._waiting = self._loop.call_later((left - POLL_NS) / NS, self._wait)
