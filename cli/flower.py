"""Runs Flower on Fleetmark's broker with Fleetmark's Celery settings. So Flower knows all queues, and accepts only JSON."""

from __future__ import annotations

import os
import sys

from shared.capabilities import RESULTS_QUEUE
from shared.celery_app import make_celery_app
from shared.hosts import ANYWHERE

BROKER_PATIENCE_S = 5


def run_flower(redis_url: str, bind: str, port: int, *, login: str | None = None, reads_settings_file: bool = False) -> None:
    """Run Flower in this process until SIGINT or SIGTERM. This function never returns: it ends the process.

    It uses `os._exit`, because Flower's threads may wait for a broker that is away, and Python would wait for these threads. Nothing is
    lost, because Flower stores no data.

    Flower only shows: workers refuse its commands, so it refuses them too (403, "Read only mode is enabled").

    Args:
        login: `user:password` that Flower asks for. None leaves it to FLOWER_BASIC_AUTH or the settings file.
        reads_settings_file: True if FLOWER_CONF names a settings file. Otherwise Flower reads no file. By default it would run a
            `flowerconfig.py` in the current folder, which belongs to another program.
    """
    app = make_celery_app(redis_url)
    app.conf.broker_transport_options |= {"socket_timeout": BROKER_PATIENCE_S, "max_retries": 1}
    code = 1
    try:
        address = "" if bind in ANYWHERE else bind  # an empty address means IPv4 and IPv6; for Tornado, `::` means IPv6 only
        settings_file = [] if reads_settings_file else [f"--conf={os.devnull}"]
        # this is not visible in the list of processes, because this process has started already
        logins = [f"--basic_auth={login}"] if login is not None else []
        _list_the_results_queue()
        app.start(["flower", f"--address={address}", f"--port={port}", "--read_only=true", *logins, *settings_file])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        code = 0
    except Exception:  # noqa: BLE001 (printed as Python would print it; the process must end in any case)
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _list_the_results_queue() -> None:
    """Make Flower list the queue of results. By itself it lists only queues that workers read, and the orchestrator is no Celery worker."""
    from flower.views import BaseHandler

    names = BaseHandler.get_active_queue_names
    BaseHandler.get_active_queue_names = lambda handler: sorted({*names(handler), RESULTS_QUEUE})
