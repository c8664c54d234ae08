"""Says what the reports of the kind of work `hardware` contain: the device itself as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.reports.hardware.page import HardwarePage
from orchestrator.reports.sheets.base import OutcomeSheet, Page


class HardwareSheet(OutcomeSheet):
    columns: Mapping[str, str] = {"peak_gb_per_s": "GBPerS", "fp32_tflops": "Tflops"}

    def page(self, labels: Mapping[str, str], varied: Sequence[str]) -> Page:
        return HardwarePage(self.service_type, self.headline, labels, varied)
