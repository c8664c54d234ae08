"""Writes and reads moments for the API: ISO 8601 in UTC, with `Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from orchestrator.reports.columns import utc_text

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _written_out(given: Any) -> Any:
    """Refuse a bare number, which pydantic would take for seconds or milliseconds since 1970."""
    if isinstance(given, str) and not _DAY.match(given):
        raise ValueError("a moment is written 2026-03-01T12:00:00Z")
    return given


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC it lies outside of the years 1 to 9999") from error


Moment = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]  # aware, in UTC; UTC is also the default zone


def text(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment is not None else None


@lru_cache(maxsize=8_192)  # each list of workers repeats the same registration times
def text_of_epoch(seconds: float) -> str:
    return utc_text(datetime.fromtimestamp(seconds, UTC))
