"""Flower on Fleetmark's broker, with Fleetmark's Celery settings: so it knows the queues' priority lists, and JSON alone."""

from __future__ import annotations

import os
import sys

from shared.celery_app import make_celery_app

BROKER_PATIENCE_S = 5


def run_flower(redis_url: str, bind: str, port: int) -> None:
    """Run Flower in this process until SIGINT or SIGTERM, which it turns into an exit itself.

    Never returns. Its threads may wait for a broker that is gone, and Python waits for such threads at its end: so the
    process is ended without them. Flower keeps nothing that could be lost.
    """
    app = make_celery_app(redis_url)
    app.conf.broker_transport_options |= {"socket_timeout": BROKER_PATIENCE_S, "max_retries": 1}
    code = 1
    try:
        app.start(["flower", f"--address={bind}", f"--port={port}"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        code = 0
    except Exception:  # noqa: BLE001 (shown as Python would show it; the process must end all the same)
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
