"""Starts a guard: `python -m worker.runner MODULES`, where MODULES are the modules to import before anything is measured, with commas.

With `--spawn` it is a guard that never forks. With `--once` it is one measured process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator


def main(arguments: list[str]) -> None:
    from worker.runner.guard import Reporter, preload

    modules = [module for module in arguments[0].split(",") if module]
    if "--once" in arguments:
        from worker.runner.spawning import run_once

        run_once(modules)
        return
    # Ctrl-C and service managers signal all processes of the worker. The guard ignores that: it ends after its worker.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    reports = os.dup(1)
    os.dup2(2, 1)
    reporter = Reporter(reports)
    if sys.platform == "linux" and "--spawn" not in arguments:
        from worker.runner.forking import ForkingGuard

        with _without_blas_threads():
            preloaded = preload(modules)
        reporter.send("ready", preloaded=preloaded)
        ForkingGuard(0, reporter).serve()
    else:
        from worker.runner.spawning import SpawningGuard

        reporter.send("ready", preloaded=[])
        SpawningGuard(0, reporter, modules).serve()
    os._exit(0)  # does not wait for daemon threads of the runtime


@contextlib.contextmanager
def _without_blas_threads() -> Iterator[None]:
    """Keep numpy's BLAS from starting a pool of threads when it is imported: threads do not survive a fork.

    The variable is removed afterwards. The measured processes inherit this environment, and there it would limit the threads of
    runtimes that must keep their own default. A value that the user has set stays as it is.
    """
    environment = os.environ  # noqa: TID251 - not one of our settings: numpy's C library reads it
    if "OPENBLAS_NUM_THREADS" in environment:
        yield
        return
    environment["OPENBLAS_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del environment["OPENBLAS_NUM_THREADS"]


if __name__ == "__main__":
    main(sys.argv[1:])
