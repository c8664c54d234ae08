"""Says what the reports of the kind of work `load` contain: a service under load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

from orchestrator.reports.bundle import EndedJob, JobRecord
from orchestrator.reports.columns import Row, ms_cell, rounded
from orchestrator.reports.load.page import LoadPage
from orchestrator.reports.load.partial import partial_said
from orchestrator.reports.load.token_texts import token_warnings
from orchestrator.reports.money import price_of
from orchestrator.reports.runtimes import warnings_of
from orchestrator.reports.sheets.base import OutcomeSheet, Page
from shared.figures import Outcome
from shared.jobs import JobStatus
from shared.kinds.load import LoadSpec
from shared.protocol.messages import Result
from shared.services.registry import SERVICES

CLIENT_BOUND = "client_bound"
MONEY_DIGITS = 9
_LATENCIES = {"avg": "latency_ms_avg", "p50": "latency_ms_p50", "p90": "latency_ms_p90", "p95": "latency_ms_p95", "p99": "latency_ms_p99"}


class LoadSheet(OutcomeSheet):
    missing: Mapping[str, str] = {}
    units_of_work = "latency"
    columns: Mapping[str, str] = {
        "requests_per_s": "RequestsPerS",
        "success_rate": "SuccessRate",
        "error_count": "ErrorCount",
        "concurrency": "Concurrency",
        "rate_asked": "RateAsked",
        "rate_achieved": "RateAchieved",
        "latency_scheduled_ms_p50": "LatencyScheduledMsP50",
        "latency_scheduled_ms_p99": "LatencyScheduledMsP99",
        "dispatch_delay_ms_p99": "DispatchDelayMsP99",
        "client_ceiling_per_s": "ClientCeilingPerS",
        "bytes_per_s": "BytesPerS",
        "recall_at_k": "RecallAtK",
        # of language models
        "input_tokens": "InputTokens",
        "output_tokens": "OutputTokens",
        "tokens_per_second": "TokensPerS",
        "ttft_ms_p50": "TtftMsMedian",
        "ttft_ms_p99": "TtftMsP99",
        "tpot_ms_p50": "TpotMsMedian",
        "itl_ms_p99": "ItlMsP99",
        "decode_tokens_per_s": "DecodeTokensPerS",
    }

    def cells(self, job: EndedJob, result: Result) -> Row:
        row = super().cells(job, result)
        outcome = self.outcome(result)
        bound = outcome.figure(CLIENT_BOUND) if outcome is not None else None
        if bound is not None and bound.value is not None:
            row["ClientBound"] = "yes" if bound.value else "no"
        if said := [one for one in (partial_said(outcome), *token_warnings(outcome)) if one]:
            row["Warnings"] = "; ".join([*warnings_of(result.runtime), *said])
        if (cost := _cost_of_tokens(outcome, result)) is not None:
            row["CostPer1MTokens"] = cost
        return row | _cells_of_starts(result)

    def summary_entry(self, job: JobRecord) -> dict[str, Any]:
        outcome = self.outcome(job.result) if job.result is not None else None
        if outcome is not None and job.status is not JobStatus.COMPLETE and not outcome.partial:
            outcome = None
        spec = job.workload.spec
        service = spec.service.type if isinstance(spec, LoadSpec) else None
        in_short = {"partial": outcome.partial if outcome is not None else None, **_in_short(outcome, service)}
        return {**super().summary_entry(job), "service_type": service, **in_short, "health": _health(job.result)}

    def service_type_of(self, job: JobRecord) -> str:
        spec = job.workload.spec
        return spec.service.type if isinstance(spec, LoadSpec) else self.service_type

    def units(self, entry: Mapping[str, Any]) -> int:
        return entry["total_requests"] or 0

    def failed_units(self, entry: Mapping[str, Any]) -> int | None:
        return entry["failed_requests"] or 0

    def page(self, labels: Mapping[str, str], varied: Sequence[str]) -> Page:
        return LoadPage(self.service_type, self.headline, labels, varied)


def _cells_of_starts(result: Result) -> Row:
    """Return the cells of making ready: how long the service took until it was healthy. Empty if it ran already."""
    service = result.runtime.get("service")
    starts = service.get("starts_ms") if isinstance(service, Mapping) else None
    times = [float(one) for one in starts if isinstance(one, int | float)] if isinstance(starts, list) else []
    if not times:
        return {}
    return {
        "LoadMsMedian": ms_cell(median(times)),
        "LoadMsAverage": ms_cell(fmean(times)),
        "LoadMsStdDev": ms_cell(stdev(times)) if len(times) > 1 else None,
        "LoadMsFirst": ms_cell(times[0]),
        "Loads": len(times),
    }


def _cost_of_tokens(outcome: Outcome | None, result: Result) -> float | None:
    """Return the price of the device for 1 000 000 output tokens. None if the device has no price, or nothing was written."""
    price, speed = price_of(result.device), outcome.figure("tokens_per_second") if outcome is not None else None
    cost = price.of_1000(speed.value) if price is not None and speed is not None else None
    return rounded(cost * 1_000, MONEY_DIGITS) if cost is not None else None


def _health(result: Result | None) -> dict[str, Any] | None:
    """Return what the last health check of a started service said, or None for a service that ran already."""
    service = result.runtime.get("service") if result is not None else None
    return service.get("health") if isinstance(service, Mapping) else None


def _in_short(outcome: Outcome | None, service: str | None) -> dict[str, Any]:
    """Return the figures by the names that scripts know from other frameworks. Rates are in percent, times in seconds."""

    def value(name: str) -> float | None:
        found = outcome.figure(name) if outcome is not None else None
        return found.value if found is not None else None

    latency = outcome.distributions.get("latency") if outcome is not None else None
    answered = latency.n if latency is not None else 0
    total = int(outcome.detail.get("requests") or answered) if outcome is not None else None
    errors = value("error_count")
    failed = int(errors) if errors is not None else None
    seconds = {name: None if (ms := value(figure)) is None else ms / 1e3 for name, figure in _LATENCIES.items()}
    ttft_s = {name: None if (ms := value(f"ttft_ms_{name}")) is None else ms / 1e3 for name in ("avg", "p50", "p99")}
    extremes = {"min": latency.min / 1e3, "max": latency.max / 1e3} if latency is not None else {"min": None, "max": None}
    return {
        "total_requests": total,
        "successful_requests": total - failed if total is not None and failed is not None else None,
        "failed_requests": failed,
        "error_count": failed,
        "success_rate": value("success_rate"),
        "latency_s": {**seconds, **extremes} if outcome is not None else None,
        "requests_per_second": value("requests_per_s"),
        **({"ttft_s": ttft_s} if service in SERVICES and "ttft_ms_p50" in SERVICES[service].figures else {}),
        **{name: value(name) for name in (SERVICES[service].figures if service in SERVICES else ())},
    }
