"""A worker with a defect may send any number. Its campaign gets its report all the same, or it would be tried again for ever."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.reports.drawable import drawable
from orchestrator.reports.outputs import write_campaign
from shared.distributions import Interval
from shared.jobs import JobStatus
from tests.unit.orchestrator.reports.bundles import CAMPAIGN, bundle, record, result_of
from tests.unit.orchestrator.reports.test_hardware import job

VALUES = (1e308, -1e308, 5e-324)


@pytest.mark.parametrize("value", VALUES)
def test_a_figure_beyond_everything_is_not_drawn_and_the_report_is_written(tmp_path: Path, value: float) -> None:
    jobs = [job(peak_gb_per_s=value, fp32_tflops=0.2), job(2, peak_gb_per_s=3.0, fp32_tflops=value)]
    jobs = [replace(one, kind="hardware") for one in jobs]
    write_campaign(tmp_path, bundle(jobs))
    content = json.loads((tmp_path / CAMPAIGN / "report.json").read_text(), parse_constant=pytest.fail)
    assert content["jobs_by_status"][JobStatus.COMPLETE] == 2


@pytest.mark.parametrize("value", VALUES)
def test_a_median_beyond_everything_is_not_drawn_and_the_report_is_written(tmp_path: Path, value: float) -> None:
    result = result_of(1)
    assert result.summary is not None
    ends = Interval(low=value, high=value, level=0.95, method="m", n=5)
    nonsense = result.summary.inference.model_copy(update={"median": value, "median_ci": ends})
    broken = result.model_copy(update={"summary": result.summary.model_copy(update={"inference": nonsense})})
    write_campaign(tmp_path, bundle([record(1, broken), record(2, result_of(2))]))
    assert (tmp_path / CAMPAIGN / "report.md").exists()


def test_nothing_and_zero_can_be_drawn() -> None:
    assert drawable(None, 0.0, -3.0, 1e99)
    assert not drawable(1.0, 1e101)
