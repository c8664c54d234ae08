"""Says what the reports of the kind of work `hardware` contain: the device itself as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.facts import Fact
from orchestrator.reports.hardware.page import HardwarePage
from orchestrator.reports.outcomes.work import AskedWork, asked_work
from orchestrator.reports.sheets.base import OutcomeSheet, Page
from shared.kinds.hardware import HardwareSpec


def _seconds(job: JobRecord, _work: Any = None) -> str | None:
    spec = job.workload.spec
    return f"{spec.seconds:g}" if isinstance(spec, HardwareSpec) and not job.unreadable else None


# How long a device measures is no part of what it measures, so jobs of different lengths are paired. But a device that gets hot computes
# more slowly in a minute than in a second, and the best of many calls is better than the best of a few. So they are judged only if the
# user allows it.
SECONDS = Fact("seconds", "of the device itself: how long one job measured, in seconds of all tests and repeats", _seconds)


class HardwareSheet(OutcomeSheet):
    must_be_equal = (*OutcomeSheet.must_be_equal, SECONDS)
    length: Sequence[str] = (SECONDS.name, *OutcomeSheet.length)
    columns: Mapping[str, str] = {"peak_gb_per_s": "GBPerS", "fp32_tflops": "Tflops"}

    def work_of(self, job: JobRecord) -> AskedWork:
        return asked_work(job, but=("seconds",))

    def settings(self, job: JobRecord) -> tuple[str | None, ...]:
        return (_seconds(job),)

    def page(self, labels: Mapping[str, str], varied: Sequence[str]) -> Page:
        return HardwarePage(self.service_type, self.headline, labels, varied)
