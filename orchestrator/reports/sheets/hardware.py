"""Says what the reports of the kind of work `hardware` contain: the device itself as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.reports.sheets.base import OutcomeSheet


class HardwareSheet(OutcomeSheet):
    columns: Mapping[str, str] = {"triad_gb_per_s": "GBPerS"}
