"""Says what the reports of inferences contain. A result of an inference has a `Summary`, from which its figures are computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.reports.bundle import EndedJob, JobRecord
from orchestrator.reports.columns import Row
from orchestrator.reports.inferences.campaign_page import InferencePage
from orchestrator.reports.inferences.cells import cells_of_rates, cells_of_summary
from orchestrator.reports.inferences.facts import ANSWERS, LENGTH, MUST_BE_EQUAL, WORTH_A_WARNING
from orchestrator.reports.inferences.outcomes import COMPARED, FIGURES, HEADLINE, LOAD, PEAKS, RATES, outcome_of
from orchestrator.reports.inferences.precision import precision_said
from orchestrator.reports.inferences.same_work import Work, work_of
from orchestrator.reports.inferences.summary_entry import summary_entry
from orchestrator.reports.outcomes.cells import cells_of_samplers
from orchestrator.reports.outcomes.joining import joined_figure, largest_figure, unjoined
from orchestrator.reports.sheets.base import Page, PlainUnits
from shared.figures import Figure, Outcome
from shared.protocol.messages import Result
from shared.workloads import inference_of


class InferenceSheet(PlainUnits):
    """Implements `Sheet` for inferences."""

    service_type = "model"
    missing: Mapping[str, str] = {
        "failed_requests": "an inference that fails ends its job; see `jobs_by_status`",
        "health": "no service was measured",
    }
    headline = HEADLINE
    figures = FIGURES
    compared = COMPARED
    must_be_equal = MUST_BE_EQUAL
    worth_a_warning = WORTH_A_WARNING
    answers = ANSWERS
    length = LENGTH

    def __init__(self, kind: str) -> None:
        del kind

    def outcome(self, result: Result) -> Outcome | None:
        return outcome_of(result)

    def steadiness(self, result: Result) -> str:
        return result.summary.steadiness if result.summary is not None else ""

    def cells(self, job: EndedJob, result: Result) -> Row:
        summary = result.summary
        if summary is None:
            return {}
        return {
            **cells_of_summary(summary),
            **cells_of_rates(result, summary.throughput_per_s),
            "StoppedBecause": precision_said(summary, job.stop) or None,
            **cells_of_samplers(summary.figures, result.runtime),
        }

    def summary_entry(self, job: JobRecord) -> dict[str, Any]:
        return summary_entry(job)

    def units(self, entry: Mapping[str, Any]) -> int:
        return int(entry["inference_ms"]["n"]) if entry["inference_ms"] is not None else 0

    def work_of(self, job: JobRecord) -> Work:
        return work_of(job)

    def asked(self, job: JobRecord) -> tuple[str, str]:
        options = inference_of(job.workload).options.model_dump(mode="json", exclude_none=True)
        return job.name, json.dumps(options, sort_keys=True)

    def settings(self, job: JobRecord) -> tuple[str | None, ...]:
        """Return how many operators run at the same time, and how far the graph is optimised."""
        runtime, options = job.result.runtime if job.result is not None else {}, inference_of(job.workload).options
        threads = runtime.get("threads")
        between = threads.get("inter_op") if isinstance(threads, dict) else options.inter_threads
        graph = runtime.get("graph_level") or options.graph
        return tuple(None if value is None else str(value) for value in (between, graph))

    def joined(self, figures: Sequence[Figure]) -> Figure:
        name = figures[0].name
        if name in PEAKS:
            return largest_figure(figures)
        loaded_more = name == LOAD and any(one.n != len(one.repeats) for one in figures)  # further processes loaded the model, too
        if loaded_more or name in RATES:  # the rate of a job is over all its repeats together, and not the median of theirs
            return unjoined(figures)
        return joined_figure(figures)

    def page(self, labels: Mapping[str, str], varied: Sequence[str]) -> Page:
        return InferencePage(labels, varied)
