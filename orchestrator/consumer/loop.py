"""Takes reports from the results queue in batches, reads them, and records and answers them."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from orchestrator.consumer.inbox import Inbox
from orchestrator.operations.authors import Said, doubts
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from shared.errors import Unavailable
from shared.protocol.letters import problems
from shared.protocol.messages import REPORT, Report
from shared.storable import without_nul

log = logging.getLogger(__name__)

BATCH = 500
IDLE_S = 1.0  # the longest wait for a message, and so the longest delay of a stop
BACKOFF_S = 1.0


class ResultsConsumer:
    """Takes messages and records them. A message that was not recorded is taken again by this or another consumer."""

    def __init__(self, ctx: Context, broker_url: str) -> None:
        self._ctx = ctx
        self._inbox = Inbox(broker_url)

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set. Continue after outages of Redis or of the database."""
        down = False
        try:
            while not stop.is_set():
                try:
                    self._once(stop)
                    down = False
                except Unavailable as error:
                    if not down:
                        log.warning("the consumer waits: %s", error.detail)
                    down = True
                    stop.wait(BACKOFF_S)
        finally:
            self._inbox.close()

    def _once(self, stop: threading.Event) -> None:
        messages = self._inbox.take(BATCH)
        if not messages:
            self._inbox.wait(IDLE_S)
            return
        said = [Said(report, *message) for message in messages if (report := self._read(message.text)) is not None]
        reports: list[Report] = []
        steps: list[Callable[[], None]] = [lambda: reports.extend(self._believed(said)), lambda: self._record(reports)]
        if all(self._patiently(stop, len(said), step) for step in steps):
            self._inbox.done()

    def _patiently(self, stop: threading.Event, count: int, step: Callable[[], None]) -> bool:
        """Repeat a step until the database and Redis answer. Return False if `stop` is set first."""
        while not stop.is_set():
            try:
                step()
            except Unavailable as error:
                log.warning("%d reports wait: %s", count, error.detail)
                stop.wait(BACKOFF_S)
            else:
                return True
        return False

    def _believed(self, said: Sequence[Said]) -> list[Report]:
        """Return the reports that the named workers wrote. Other reports go to the dead letters."""
        believed = []
        for one, doubt in zip(said, doubts(self._ctx, said), strict=True):
            if doubt:
                log.warning("a report goes to the dead letters: it %s", doubt)
                self._ctx.registry.letters.bury(one.report.model_dump_json(), doubt)
            else:
                believed.append(one.report)
        return believed

    def _read(self, text: str) -> Report | None:
        try:
            if "\\u0000" in text:  # PostgreSQL cannot store NUL in text, and no report needs it
                return REPORT.validate_json(json.dumps(without_nul(json.loads(text))))
            return REPORT.validate_json(text)
        except (ValidationError, ValueError, RecursionError) as error:
            reason = problems(error) if isinstance(error, ValidationError) else str(error)
            log.warning("a report that cannot be read goes to the dead letters: %s", reason)
            self._ctx.registry.letters.bury(text, reason)
            return None

    def _record(self, reports: Sequence[Report]) -> None:
        try:
            if reports:
                record(self._ctx, reports)
        except Unavailable:
            raise
        except Exception as error:  # a report that always fails must not come back in every batch, or nothing would be recorded any more
            if len(reports) == 1:
                log.exception("a report that cannot be recorded goes to the dead letters")
                self._ctx.registry.letters.bury(reports[0].model_dump_json(), f"{type(error).__name__}: {error}")
                return
            for report in reports:  # one report is bad; the others must not wait for it
                self._record([report])
