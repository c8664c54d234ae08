"""Moments as the API writes them: ISO 8601, UTC, `Z`."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.reports.rows import utc_text


def text(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment is not None else None


def text_of_epoch(seconds: float) -> str:
    return utc_text(datetime.fromtimestamp(seconds, UTC))
