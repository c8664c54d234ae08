"""Is the smallest sheet: the kind of work `fake` has two figures, and one of them fills a column of the CSV."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.reports.sheets.base import OutcomeSheet
from shared.figures import FigureKind


class FakeSheet(OutcomeSheet):
    columns: Mapping[str, str] = {"fake_per_s": "RequestsPerS"}

    def __init__(self, kind: str) -> None:
        super().__init__(
            kind,
            headline="fake_per_s",
            figures={
                "fake_per_s": FigureKind("1/s", "higher", "pieces of fake work per second"),
                "fake_ms": FigureKind("ms", "lower", "the time of one piece of fake work"),
            },
        )
