"""`python -m worker.runner`: the guard. `--once`: one measured process. `--spawn`: a guard that never forks."""

from __future__ import annotations

import os
import signal
import sys


def main(arguments: list[str]) -> None:
    # numpy's BLAS would start a pool at import, and a pool does not survive a fork. No runtime measured here uses it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251 - not a setting of ours: read by numpy's C library at import
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

        reporter.send("ready", preloaded=preload(preloadable()))
        ForkingGuard(0, reporter).serve()
    else:
        from worker.runner.spawning import SpawningGuard

        reporter.send("ready", preloaded=[])
        SpawningGuard(0, reporter).serve()
    os._exit(0)  # daemon threads of the runtime are not waited for


if __name__ == "__main__":
    main(sys.argv[1:])
