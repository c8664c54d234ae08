"""Makes the rows of the table `figures`: when a result is recorded, and for results that an earlier version recorded.

The latter takes long in a large database, so it happens while the system works, page by page and the newest campaign first. It may be cut
short at any time, and several processes may do it at once: a row that is there already is left as it is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlmodel import Session

from orchestrator.domain.stored import kind_of
from orchestrator.operations.context import Context
from orchestrator.reports.sheets.registry import known_sheets, sheet_of
from orchestrator.store import figures
from orchestrator.store.bulk import insert_many
from orchestrator.store.figures import Unfigured
from orchestrator.store.tables import FigureRow
from orchestrator.verdicts.figures import LISTED_AT
from shared import telemetry
from shared.errors import FieldError, InvalidInput, nearest_few
from shared.figures import Better
from shared.ids import job_id
from shared.protocol.letters import problems
from shared.protocol.messages import Result
from shared.storable import storable_text

log = logging.getLogger(__name__)

MOST_FIGURES = 1_000  # the limit for one job; a result with more figures would slow every query down
# These are the better directions of each figure that a kind of work or a sampler of this version has. A newer worker may send others, which
# the table knows.
DECLARED: dict[str, Better] = {
    name: kind.better for kinds in (*(sheet.figures for sheet in known_sheets()), telemetry.FIGURES) for name, kind in kinds.items()
}
PAGE = 200  # results of one step of the backfill, which takes about 0.1 s


def figure_rows(campaign_id: str, number: int, workload: Any, result: Result, recorded_at: datetime) -> list[dict[str, Any]]:
    """Return the rows of a complete job. Each figure has one, except those without a finite value.

    Args:
        workload: the job's workload, as it is stored.
    """
    outcome = sheet_of(kind_of(workload)).outcome(result)
    if outcome is None:
        return []
    name_of_job = job_id(campaign_id, number)
    rows: dict[str, dict[str, Any]] = {}
    for figure in outcome.figures[:MOST_FIGURES]:
        if figure.value is None or not math.isfinite(figure.value):
            continue
        name, interval = storable_text(figure.name), figure.interval
        rows[name] = {
            "campaign_id": campaign_id,
            "number": number,
            "name": name,
            "job_id": name_of_job,
            "value": figure.value,
            "low": _finite(interval.low) if interval is not None else None,
            "high": _finite(interval.high) if interval is not None else None,
            "unit": storable_text(figure.unit),
            "better": figure.better,
            "created_at": recorded_at,
        }
    return list(rows.values())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def require_figure(session: Session, name: str, parameter: str) -> Better:
    """Return which direction is better for a figure that results have or can have.

    Args:
        parameter: the query parameter that an error names.

    Raises:
        InvalidInput: no kind of work has such a figure, and no result has one. The message names the nearest.
    """
    known = DECLARED if name in DECLARED else {**figures.names(session), **DECLARED}
    if name not in known:
        message = f"there is no figure {name!r:.120}: {nearest_few(name, known, LISTED_AT)}"
        raise InvalidInput(f"{parameter}: {message}", fields=[FieldError(f"query.{parameter}", message)])
    return known[name]


class Backfill:
    """Makes the figures of results that an earlier version recorded. Each process has one, and its own thread uses it."""

    def __init__(self) -> None:
        self._campaign_id: str | None = None
        self._after = 0  # the number of the last job of this campaign that was looked at

    def step(self, ctx: Context) -> bool:
        """Make the figures of the next page of results. Return False if there are none left.

        Raises:
            Unavailable: the database does not answer. The next call goes on from here.
        """
        with ctx.store.read() as session:
            campaign_id = figures.due(session)
        if campaign_id is None:
            return False
        if campaign_id != self._campaign_id:
            self._campaign_id, self._after = campaign_id, 0
        page = ctx.store.transact(lambda session: _fill(session, campaign_id, self._after))
        if page:
            self._after = page[-1].number
        else:
            ctx.store.transact(lambda session: figures.mark_filled(session, campaign_id))
            log.info("the figures of %s, which an earlier version recorded, can be queried now", campaign_id)
        return True


def _fill(session: Session, campaign_id: str, after: int) -> Sequence[Unfigured]:
    page = figures.without_figures(session, campaign_id, after=after, limit=PAGE)
    rows = [row for one in page for row in _rows_of(campaign_id, one)]
    insert_many(session, FigureRow, rows, skip_known=True)
    return page


def _rows_of(campaign_id: str, one: Unfigured) -> list[dict[str, Any]]:
    try:
        result = Result.model_validate(one.result)
    except ValidationError as error:
        log.warning("job %d of %s has a result that cannot be read, so it has no figures: %s", one.number, campaign_id, problems(error))
        return []
    return figure_rows(campaign_id, one.number, one.workload, result, one.recorded_at)
