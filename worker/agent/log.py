"""Sets up logging: text on a terminal, one JSON object for each line elsewhere. Secrets are masked in both."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from shared.log import JsonLines, LogFormat, Masked, writes_json
from shared.masking import masked as masked

# These would log a line for each retry while the broker is away. The heartbeat logs that once.
QUIET = ("celery", "kombu", "httpx", "httpcore", "amqp", "vine")


def set_up(level: str, form: LogFormat = "auto") -> None:
    """Send all log messages to standard error. Call it once in a process."""
    handler: logging.Handler
    if writes_json(form, sys.stderr):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(Masked("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Masked("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)
    logging.captureWarnings(True)
    # Celery warns about settings whose defaults will change. We set each of them.
    logging.getLogger("py.warnings").setLevel(logging.DEBUG if level == "debug" else logging.ERROR)


def let_go() -> None:
    """Discard at the end of a process what a full disk did not accept of its output. Otherwise Python would exit with code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
