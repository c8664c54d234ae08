"""Runs a part of the product that kills itself with SIGKILL at a named step: the product knows nothing of it.

    python -m tests.chaos.dying before worker.spool:Spool.write campaign-…-job-3 worker.cli start
    python -m tests.chaos.dying after kombu.transport.redis:QoS.ack '' worker.cli start

The step is a function or a method by its module and name; it is the last thing that happens before it is called, or after
it has returned. The third word must be in what it is called with, or returns, as Python shows it: so one job can be meant.
"""

from __future__ import annotations

import functools
import os
import runpy
import signal
import sys
from importlib import import_module
from typing import Any


def arm(side: str, place: str, text: str) -> None:
    """Put the end of this process before or after every call of `place` that shows `text`."""
    module, _, path = place.partition(":")
    *holders, name = path.split(".")
    owner: Any = functools.reduce(getattr, holders, import_module(module))
    original = getattr(owner, name)

    @functools.wraps(original)
    def dying(*args: Any, **kwargs: Any) -> Any:
        if side == "before" and text in repr((args, kwargs)):
            _die(side, place)
        result = original(*args, **kwargs)
        if side == "after" and text in repr((args, kwargs, result)):
            _die(side, place)
        return result

    setattr(owner, name, dying)


def _die(side: str, place: str) -> None:
    os.write(2, f"dying {side} {place}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _side, _place, _text, *sys.argv = sys.argv[1:]
    arm(_side, _place, _text)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
