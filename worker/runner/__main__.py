"""`python -m worker.runner`: the guard. `--once`: one measured process. `--spawn`: a guard that never forks."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator


def main(arguments: list[str]) -> None:
    from worker.engines.registry import preloadable
    from worker.runner.guard import Reporter, preload

    if "--once" in arguments:
        from worker.runner.spawning import run_once

        run_once(preloadable())
        return
    # Ctrl-C and a service manager signal every process of the worker. The guard ends when its worker does, not before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    reports = os.dup(1)
    os.dup2(2, 1)
    reporter = Reporter(reports)
    if sys.platform == "linux" and "--spawn" not in arguments:
        from worker.runner.forking import ForkingGuard

        with _without_blas_threads():
            preloaded = preload(preloadable())
        reporter.send("ready", preloaded=preloaded)
        ForkingGuard(0, reporter).serve()
    else:
        from worker.runner.spawning import SpawningGuard

        reporter.send("ready", preloaded=[])
        SpawningGuard(0, reporter).serve()
    os._exit(0)  # daemon threads of the runtime are not waited for


@contextlib.contextmanager
def _without_blas_threads() -> Iterator[None]:
    """Keep numpy's BLAS from starting a pool of threads at its import: threads do not survive the fork.

    The variable is taken back afterwards. The measured processes inherit this environment, and in them it would steer runtimes
    that nobody meant to steer. A value that the user has set stays as it is.
    """
    environment = os.environ  # noqa: TID251 - not a setting of ours: numpy's C library reads it
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
