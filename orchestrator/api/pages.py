"""Reads page cursors. A cursor is the id of the last item shown, and the next page begins behind it (keyset paging).

So page 1 000 costs as much as page 1.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Query

from shared.errors import FieldError, InvalidInput
from shared.ids import CAMPAIGN_ID, JOB_ID, TOKEN_ID, WORKER_ID

FIGURE = re.compile(JOB_ID.pattern + r"/([\s\S]{1,100})")  # a job, and the name of one of its figures


def _cursor(shape: re.Pattern[str]) -> Any:
    return Query(description="the `next_cursor` of the previous page", json_schema_extra={"pattern": f"^{shape.pattern}$"})


Limit = Annotated[int, Query(ge=1, le=1000, description="the most entries in one answer")]
CampaignCursor = Annotated[str | None, _cursor(CAMPAIGN_ID)]
JobCursor = Annotated[str | None, _cursor(JOB_ID)]
FigureCursor = Annotated[str | None, _cursor(FIGURE)]
TokenCursor = Annotated[str | None, _cursor(TOKEN_ID)]
WorkerCursor = Annotated[str | None, _cursor(WORKER_ID)]


def campaign_of(cursor: str | None) -> str | None:
    """Return the campaign behind which the page begins, or None for the first page.

    Raises:
        InvalidInput: the text is not a cursor of this list.
    """
    return None if cursor is None else _matched(cursor, CAMPAIGN_ID)[0]


def token_of(cursor: str | None) -> str | None:
    """Return the token behind which the page begins; see `campaign_of`."""
    return None if cursor is None else _matched(cursor, TOKEN_ID)[0]


def worker_of(cursor: str | None) -> str | None:
    """Return the worker behind which the page begins; see `campaign_of`."""
    return None if cursor is None else _matched(cursor, WORKER_ID)[0]


def job_of(cursor: str | None) -> tuple[str, int] | None:
    """Return the campaign and the number of the job behind which the page begins; see `campaign_of`."""
    if cursor is None:
        return None
    campaign, number = _matched(cursor, JOB_ID).groups()
    return campaign, int(number)


def figure_of(cursor: str | None) -> tuple[str, int, str] | None:
    """Return the campaign, the number of the job and the name of the figure behind which the page begins; see `campaign_of`."""
    if cursor is None:
        return None
    campaign, number, name = _matched(cursor, FIGURE).groups()
    return campaign, int(number), name


def _matched(cursor: str, shape: re.Pattern[str]) -> re.Match[str]:
    found = shape.fullmatch(cursor)
    if found is None:
        message = f"{cursor!r:.200} is no cursor of this list; take `next_cursor` of the page before, or leave it out for the first"
        raise InvalidInput(f"cursor: {message}", fields=[FieldError("query.cursor", message)])
    return found
