"""Says what the reports of the kind `hardware` contain: the device itself as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.reports.sheets.base import OutcomeSheet
from shared.kinds.hardware import Hardware


class HardwareSheet(OutcomeSheet):
    columns: Mapping[str, str] = {"triad_gb_per_s": "GBPerS"}

    def __init__(self, kind: str) -> None:
        super().__init__(kind, Hardware.headline, Hardware.figures)
