"""Deletes abandoned uploads: partial models of processes that were killed, and files of workers that never came back.

It also finishes removals of campaigns that were cut short."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.operations.artifacts import ACCEPTED, is_lacking
from orchestrator.operations.context import Context
from orchestrator.operations.models import unfinished_models
from orchestrator.operations.removal import finish_removals
from orchestrator.operations.uploads import all_uploads
from orchestrator.store import jobs, results
from shared.ids import JOB_ID
from shared.jobs import TERMINAL

log = logging.getLogger(__name__)

ABANDONED_S = 2 * 86_400.0  # an upload in progress is written to all the time, so after two days it is abandoned
_UPLOAD = re.compile(rf"(?P<job>{JOB_ID.pattern})\.(?P<attempt>[1-9][0-9]{{0,8}})\.(?P<name>{'|'.join(map(re.escape, ACCEPTED))})(\.part)?")


def sweep_leftovers(ctx: Context) -> int:
    """Remove partial models, and uploads for jobs that have ended without them, after two days. Return how many files were removed.

    Raises:
        Unavailable: the database does not answer.
    """
    finish_removals(ctx)
    before = ctx.clock.now().timestamp() - ABANDONED_S
    try:
        found = [*_older(unfinished_models(ctx), before), *_unwanted(ctx, _older(all_uploads(ctx), before))]
    except OSError as error:
        log.warning("files that were never asked for cannot be looked for: %s", error)
        return 0
    removed = sum(map(_remove, found))
    if removed:
        log.info("removed %d files that nobody will ask for: nobody has written to them for %g days", removed, ABANDONED_S / 86_400)
    return removed


def _older(paths: Iterable[Path], before: float) -> Iterator[Path]:
    for path in paths:
        try:
            if path.stat().st_mtime < before:
                yield path
        except FileNotFoundError:  # the upload was finished, or another process removed the file
            continue


def _unwanted(ctx: Context, uploads: Iterable[Path]) -> list[Path]:
    """Return the uploads whose job has ended or is unknown. A file that the job's recorded result still lacks is not among them."""
    named = {path: match for path in uploads if (match := _UPLOAD.fullmatch(path.name)) is not None}
    if not named:
        return []
    with ctx.store.read() as session:
        known = jobs.statuses(session, {match["job"] for match in named.values()})
        unwanted = []
        for path, match in named.items():
            row = results.get(session, match["job"])
            lacks = row is not None and row.attempt == int(match["attempt"]) and is_lacking(ctx, row, match["name"])
            if known.get(match["job"]) in (None, *TERMINAL) and not lacks:
                unwanted.append(path)
        return unwanted


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("nobody will ask for %s, and it cannot be removed: %s", path, error)
        return False
    return True
