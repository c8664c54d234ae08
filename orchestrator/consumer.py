"""The results consumer: takes what workers report from the results queue into the store, in batches."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Sequence
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from shared.celery_app import make_celery_app, results_queue
from shared.errors import IllegalTransition, Unavailable
from shared.protocol.messages import REPORT, HandBack, Result, Started

log = logging.getLogger(__name__)

BATCH = 200
FIRST_WAIT_S = 0.5  # how soon a stop is noticed
LINGER_S = 0.005  # how long a batch waits for one more message
BACKOFF_S = 1.0


class ResultsConsumer:
    """Takes messages, records them, then acknowledges: one that was not recorded is delivered again."""

    def __init__(self, ctx: Context, broker_url: str) -> None:
        self._ctx = ctx
        self._app = make_celery_app(broker_url)
        self._waiting: list[Any] = []

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. An outage of Redis or of the database is waited out."""
        while not stop.is_set():
            try:
                with self._app.connection_for_read(
                    transport_options={**self._app.conf.broker_transport_options, "max_retries": 0}
                ) as connection:
                    self._consume(connection, stop)
            except (OperationalError, OSError, *self._app.connection_for_read().recoverable_connection_errors) as error:
                log.warning("the results queue does not answer: %s; trying again", error)
                stop.wait(BACKOFF_S)
        self._app.close()

    def _consume(self, connection: Connection, stop: threading.Event) -> None:
        self._waiting.clear()
        consumer = connection.Consumer(queues=[results_queue()], accept=["json"], on_message=self._waiting.append, prefetch_count=BATCH)
        with consumer:
            while not stop.is_set():
                self._fill(connection)
                if self._waiting:
                    batch, self._waiting[:] = list(self._waiting), []
                    self._take(batch, stop)

    def _fill(self, connection: Connection) -> None:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=FIRST_WAIT_S)
            while len(self._waiting) < BATCH:
                connection.drain_events(timeout=LINGER_S)

    def _take(self, messages: Sequence[Any], stop: threading.Event) -> None:
        reports = [(message, report) for message in messages if (report := self._read(message)) is not None]
        while reports and not stop.is_set():
            try:
                self._record([report for _, report in reports])
            except Unavailable as error:
                log.warning("%d reports wait: %s", len(reports), error.detail)
                stop.wait(BACKOFF_S)
                continue
            for message, _ in reports:
                message.ack()
            return

    def _read(self, message: Any) -> Started | HandBack | Result | None:
        text = message.body if isinstance(message.body, str) else bytes(message.body).decode("utf-8", "replace")
        try:
            # PostgreSQL keeps no NUL in text, and no report means one.
            return REPORT.validate_python(_without_nul(json.loads(text)))
        except (ValidationError, ValueError, RecursionError) as error:
            log.warning("a report that cannot be read goes to the dead letters: %s", error)
            self._ctx.registry.bury(text, str(error))
            message.ack()
            return None

    def _record(self, reports: Sequence[Started | HandBack | Result]) -> None:
        try:
            record(self._ctx, reports)
        except (SQLAlchemyError, IllegalTransition) as error:
            if len(reports) == 1:
                log.exception("a report that cannot be recorded goes to the dead letters")
                self._ctx.registry.bury(reports[0].model_dump_json(), str(error))
                return
            for report in reports:  # one of them is bad: the others must not wait for it
                self._record([report])


def _without_nul(content: Any) -> Any:
    if isinstance(content, str):
        return content.replace("\x00", "�") if "\x00" in content else content
    if isinstance(content, list):
        return [_without_nul(item) for item in content]
    if isinstance(content, dict):
        return {_without_nul(key): _without_nul(value) for key, value in content.items()}
    return content
