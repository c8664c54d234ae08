"""Runs Flower on Fleetmark's broker with Fleetmark's Celery settings: it then knows the lists of each queue, and reads nothing but JSON."""

from __future__ import annotations

import os
import sys

from shared.celery_app import make_celery_app
from shared.hosts import ANYWHERE

BROKER_PATIENCE_S = 5


def run_flower(redis_url: str, bind: str, port: int, *, reads_settings_file: bool = False) -> None:
    """Run Flower in this process until SIGINT or SIGTERM, which it turns into an exit itself.

    It never returns. Flower's threads may wait for a broker that is gone, and Python waits for such threads when it ends, so the
    process is ended without them. Flower keeps nothing that could be lost.

    Args:
        reads_settings_file: whether FLOWER_CONF names a file of settings. Without that variable Flower would run a `flowerconfig.py` in
            the current folder, which belongs to another application.
    """
    app = make_celery_app(redis_url)
    app.conf.broker_transport_options |= {"socket_timeout": BROKER_PATIENCE_S, "max_retries": 1}
    code = 1
    try:
        address = "" if bind in ANYWHERE else bind  # empty: IPv4 and IPv6; Tornado takes `::` for IPv6 alone
        settings_file = [] if reads_settings_file else [f"--conf={os.devnull}"]
        app.start(["flower", f"--address={address}", f"--port={port}", *settings_file])
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
