"""Halves of files that nobody will finish: of a process that was killed while they came in, of a worker that never came back."""

from __future__ import annotations

import logging
from pathlib import Path

from orchestrator.operations.context import Context
from orchestrator.operations.models import unfinished_models
from orchestrator.operations.uploads import all_uploads

log = logging.getLogger(__name__)

# Twice as long as a result that lies at its living worker is waited for. Whoever sends a file after all is told how much is there,
# nothing then, and begins anew: it keeps the file until its result is recorded.
ABANDONED_S = 2 * 86_400.0


def sweep_leftovers(ctx: Context) -> int:
    """Remove what nobody has written to for two days; how many files that were."""
    before = ctx.clock.now().timestamp() - ABANDONED_S
    try:
        found = [*unfinished_models(ctx), *all_uploads(ctx)]
    except OSError as error:
        log.warning("files that were never finished cannot be looked for: %s", error)
        return 0
    removed = sum(_remove(path, before) for path in found)
    if removed:
        log.info("removed %d files that came in by halves: nobody has written to them for %g days", removed, ABANDONED_S / 86_400)
    return removed


def _remove(path: Path, before: float) -> bool:
    try:
        if path.stat().st_mtime >= before:
            return False
        path.unlink()
    except FileNotFoundError:  # finished, or swept by another process
        return False
    except OSError as error:
        log.warning("%s was never finished and cannot be removed: %s", path, error)
        return False
    return True
