"""Is the smallest sheet: of the two figures of the kind of work `fake`, one fills a column of the CSV."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.reports.sheets.base import OutcomeSheet


class FakeSheet(OutcomeSheet):
    columns: Mapping[str, str] = {"fake_per_s": "RequestsPerS"}
