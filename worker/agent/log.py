"""Logging for whoever reads it: colours on a terminal, one JSON object a line everywhere else. No secret in either."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from shared.log import Masked
from shared.masking import masked as masked

# What these say of a lost broker, the heartbeat says once; each try again would be a line otherwise.
QUIET = ("celery", "kombu", "httpx", "httpcore", "amqp", "vine")


class JsonLines(logging.Formatter):
    """`time level source logger message`, and what else a record was given."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "source": "application" if record.name.startswith(("worker", "shared")) else "infrastructure",
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if record.exc_info:
            line["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(line)


def set_up(level: str) -> None:
    """Send everything to standard error; once a process."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(Masked("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)
    logging.captureWarnings(True)
    # Celery warns of settings whose defaults will change; each of them is set.
    logging.getLogger("py.warnings").setLevel(logging.DEBUG if level == "debug" else logging.ERROR)


def let_go() -> None:
    """At the end of a process: what a full disk did not take of the log is given up, or Python would end with 120 for it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
