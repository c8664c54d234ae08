"""Runs a part of the product that kills itself with SIGKILL at a named step. The product's code is not changed for this.

    python -m tests.chaos.dying before worker.spool:Spool.write campaign-…-job-3 worker.cli start
    python -m tests.chaos.dying after kombu.transport.redis:QoS.ack '' worker.cli start

The step is a function or method, given by module and name. The process dies just before the step is called, or just after it has returned.
The third argument is a text that must occur in the `repr` of the step's arguments or result. So a test can choose one job.
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
    """Make this process kill itself before or after a call of `place` whose arguments or result contain `text`."""
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
