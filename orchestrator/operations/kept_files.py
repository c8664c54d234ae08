"""Puts the files and logs of recorded results into their places, and removes the uploads that nobody wants."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orchestrator.operations.artifacts import Lack, drop_uploads, keep_artifacts, keep_log
from orchestrator.operations.awaited import note_lacks
from orchestrator.operations.context import Context
from orchestrator.operations.recorded import Recorded
from shared.ids import AttemptKey
from shared.protocol.messages import AttemptLog, Result

log = logging.getLogger(__name__)

WRITERS = 2  # the number of threads that store files; creating a small file is mostly kernel time


def keep_files(ctx: Context, outcome: Recorded) -> set[AttemptKey]:
    """Put the files of recorded results into their places. Return the attempts whose workers must keep and resend their files.

    This happens outside of the transaction, because other transactions wait for its locks.
    """
    failed: set[AttemptKey] = set()
    lacks: dict[AttemptKey, list[Lack]] = {}

    def keep(reports: list[Result]) -> None:
        for report in reports:
            key = (report.job_id, report.attempt)
            try:
                found = keep_artifacts(ctx, report)
            except OSError as error:
                failed.add(key)
                log.warning("the files of %s wait at their worker: %s; free some space, or make the folder writable", report.job_id, error)
            except Exception as error:
                log.exception("the files of attempt %d of %s cannot be kept", report.attempt, report.job_id)
                lacks[key] = [Lack(f"its files cannot be kept ({type(error).__name__})", may_come=True)]
            else:
                if found or key in outcome.again:
                    lacks[key] = found

    by_job: dict[str, list[Result]] = defaultdict(list)  # the attempts of a job share one log file, so one thread writes them all
    for report in outcome.kept:
        by_job[report.job_id].append(report)
    with ThreadPoolExecutor(WRITERS) as writers:
        deque(writers.map(keep, by_job.values()), maxlen=0)
    for dropped in outcome.dropped:
        _quietly(ctx, drop_uploads, dropped, "what was uploaded for attempt %d of %s, which nobody wants, stays: %s")
    for entry in outcome.logs:  # a log that cannot be written is lost: its worker does not send it again
        _quietly(ctx, keep_log, entry, "the log of attempt %d of %s is lost: %s")
    waiting = failed | note_lacks(ctx, lacks)
    for kept in outcome.kept:
        if (kept.job_id, kept.attempt) not in waiting:
            _quietly(ctx, drop_uploads, kept, "what is left of the uploads for attempt %d of %s stays: %s")
    return waiting


def _quietly(ctx: Context, work: Callable[[Context, Any], None], report: Result | AttemptLog, sentence: str) -> None:
    try:
        work(ctx, report)
    except Exception as error:  # a failure here must not change the answer to the worker
        log.warning(sentence, report.attempt, report.job_id, error, exc_info=not isinstance(error, OSError))
