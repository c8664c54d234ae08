"""Fills the cells of the CSV that an inference measures, from the summary of its samples."""

from __future__ import annotations

from orchestrator.reports.columns import Row, rounded
from orchestrator.reports.money import price_of
from orchestrator.reports.outcomes.cells import cells_of_loads, cells_of_price, cells_of_units
from orchestrator.reports.runtimes import whole_number
from shared.measurements import Summary
from shared.protocol.messages import Result


def cells_of_summary(summary: Summary) -> Row:
    return {
        **cells_of_loads(summary.load),
        "PeakLoadRamUsage": rounded(summary.load_peak_mb, 3),
        **cells_of_units(summary.inference),
        "PeakInferenceRamUsage": rounded(summary.inference_peak_mb, 3),
        "Repeats": len(summary.repeats),
        "ThroughputPerS": rounded(summary.throughput_per_s, 3),
        "CpuPercent": rounded(summary.cpu_percent, 1),
    }


def cells_of_rates(result: Result, calls_per_s: float | None) -> Row:
    """Return the samples per second (calls times batch), and what 1 000 calls and 1 000 samples cost at the device's price."""
    batch = whole_number(result.runtime.get("batch_size"))
    samples_per_s = None if calls_per_s is None else calls_per_s * (batch or 1)
    price = price_of(result.device)
    return {
        "SamplesPerS": rounded(samples_per_s, 3),
        "CostPer1000": price.of_1000(calls_per_s) if price else None,
        "CostPer1000Samples": price.of_1000(samples_per_s) if price else None,
        **cells_of_price(result.device),
    }
