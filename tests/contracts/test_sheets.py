"""Tests that every kind of work has a sheet, and that all sheets behave in the same way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reports.bundle import EndedJob, JobRecord
from orchestrator.reports.columns import COLUMNS
from orchestrator.reports.outputs import write_campaign
from orchestrator.reports.rows import csv_row
from orchestrator.reports.sheets.base import OutcomeSheet, Sheet
from orchestrator.reports.sheets.registry import SHEETS, known_sheets, sheet_of
from shared.distributions import Distribution, Interval
from shared.figures import Figure, Outcome
from shared.jobs import JobStatus
from shared.kinds.registry import KINDS
from shared.protocol.messages import Result
from shared.scorers.registry import FIGURES as QUALITY
from tests.unit.orchestrator.reports.bundles import bundle, ended_job, record, result_of

NEWER = "of-a-newer-version"


def figure(name: str, sheet: Sheet, scale: float = 1.0) -> Figure:
    kind = sheet.figures[name]
    values = tuple(scale * value for value in (9.8, 10.0, 10.2, 9.9, 10.1, 10.0))
    interval = Interval(low=min(values), high=max(values), level=0.95, method="order statistics over repeats", n=6)
    return Figure.of(name, kind, 10.0 * scale, interval=interval, n=6, repeats=values)


def complete(kind: str, number: int = 1, scale: float = 1.0, **changes: Any) -> JobRecord:
    """Return a complete job of a kind of work, as a worker would report it.

    An inference has a summary, and any other kind has an outcome.
    """
    sheet = sheet_of(kind)
    one = record(number, result_of(number, 10.0 * scale, repeats=6, **changes))
    assert one.result is not None
    outcome = sheet.outcome(one.result)
    if outcome is None:
        unit = Distribution(n=12, median=10.0, mean=10.1, stddev=0.1, min=9.8, max=10.2, first=10.0)
        outcome = Outcome(
            headline=sheet.headline,
            figures=tuple(figure(name, sheet, scale) for name in sheet.figures),
            distributions={"unit": unit, "load": unit, "latency": unit},
            detail={"energy_source": "counter"},
        )
        one = replace(one, result=one.result.model_copy(update={"summary": None, "outcome": outcome}))
    return replace(one, kind=kind, row=csv_row(replace(ended(number), kind=kind), one.result))


def ended(number: int) -> EndedJob:
    return ended_job(number)


def result(one: JobRecord) -> Result:
    assert one.result is not None
    return one.result


@pytest.fixture(params=list(SHEETS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_kind_of_work_has_a_sheet_and_a_comparison_knows_those_that_a_recipe_can_ask_for() -> None:
    assert set(SHEETS) == set(KINDS)
    assert known_sheets() == [sheet_of(name) for name, one in KINDS.items() if one.marks]
    for name, one in KINDS.items():
        # What scorers say of a model's answers is added by the orchestrator, after the run.
        assert set(one.figures) == set(sheet_of(name).figures) - set(QUALITY), name
        assert one.headline == sheet_of(name).headline, name


def test_the_headline_and_what_can_be_compared_are_figures_of_the_kind(kind: str) -> None:
    sheet = sheet_of(kind)
    assert sheet.headline in sheet.figures
    assert set(sheet.compared) <= set(sheet.figures)
    assert all(sheet.figures[name].better != "neither" for name in sheet.compared)


def test_an_outcome_has_the_headline_and_each_figure_once_with_the_unit_of_its_kind(kind: str) -> None:
    sheet = sheet_of(kind)
    outcome = sheet.outcome(result(complete(kind)))
    assert outcome is not None
    names = [one.name for one in outcome.figures]
    assert len(names) == len(set(names))
    headline = outcome.figure(outcome.headline)
    assert headline is not None
    assert headline.value is not None
    for one in outcome.figures:
        assert (one.unit, one.better) == (sheet.figures[one.name].unit, sheet.figures[one.name].better)
        assert one.value is not None or one.missing


def test_a_result_of_another_kind_has_no_outcome_and_fills_no_cell(kind: str) -> None:
    empty = result(complete(kind)).model_copy(update={"summary": None, "outcome": None})
    assert sheet_of(kind).outcome(empty) is None
    assert sheet_of(kind).cells(ended(1), empty) == {}


def test_the_cells_are_columns_and_the_kind_is_named(kind: str) -> None:
    one = complete(kind)
    assert set(sheet_of(kind).cells(ended(1), result(one))) <= set(COLUMNS)
    assert one.row is not None
    assert one.row["Kind"] == kind
    assert set(one.row) == set(COLUMNS)


def test_what_samplers_measured_fills_the_same_columns_for_every_kind(kind: str) -> None:
    sampled = [
        Figure(name="power_w", unit="W", better="lower", value=12.3456),
        Figure(name="gpu_percent", unit="%", better="neither", value=87.25),
        Figure(name="gpu_temperature_max_c", unit="°C", better="lower", value=71.0),
        Figure(name="energy_j_per_inference", unit="J", better="lower", value=0.25),
        Figure(name="peak_gpu_memory_mb", unit="MB", better="lower", value=None, missing="the driver does not say"),
    ]
    before = result(complete(kind))
    if before.summary is not None:
        more = {"summary": before.summary.model_copy(update={"figures": sampled}), "runtime": {"energy_source": "counter"}}
    else:
        assert before.outcome is not None
        more = {"outcome": before.outcome.model_copy(update={"figures": (*before.outcome.figures, *sampled)})}
    row = csv_row(replace(ended(1), kind=kind), before.model_copy(update=more))
    found = [row[name] for name in ("PowerWAverage", "GpuPercent", "GpuTemperatureMaxC", "EnergyJPerInference", "PeakGpuMemoryMb")]
    assert found == [12.346, 87.2, 71.0, 0.25, None]
    assert row["EnergySource"] == "counter"


def test_the_same_work_is_equal_and_hashable(kind: str) -> None:
    sheet = sheet_of(kind)
    assert sheet.work_of(complete(kind, 1)) == sheet.work_of(complete(kind, 2, 1.5))
    assert len({sheet.work_of(complete(kind, number)) for number in (1, 2)}) == 1
    assert sheet.work_of(complete(kind)).may_be_ranked()


def test_facts_are_told_apart_by_their_names_and_can_be_read_from_any_job(kind: str) -> None:
    sheet = sheet_of(kind)
    facts = (*sheet.must_be_equal, *sheet.worth_a_warning)
    assert len({fact.name for fact in facts}) == len(facts)
    assert {*sheet.answers, *sheet.length} <= {fact.name for fact in facts}
    failed = replace(record(2, None, status=JobStatus.FAILED, error="it broke"), kind=kind)
    for job in (complete(kind), failed, replace(failed, unreadable="a newer version wrote it")):
        for fact in facts:
            assert fact.read(job, sheet.work_of(job)) is None or isinstance(fact.read(job, sheet.work_of(job)), str), fact.name


def test_several_jobs_have_one_figure_or_a_reason(kind: str) -> None:
    sheet = sheet_of(kind)
    jobs = [complete(kind, 1), complete(kind, 2, 1.1)]
    for name in sheet.figures:
        found = [one for job in jobs if (made := sheet.outcome(result(job))) and (one := made.figure(name)) and one.value is not None]
        if len(found) == len(jobs):
            joined = sheet.joined(found)
            assert (joined.value is None) == bool(joined.missing), name


def test_an_entry_in_the_summary_has_the_same_keys_whether_anything_was_measured_or_not(kind: str) -> None:
    sheet = sheet_of(kind)
    one = complete(kind)
    entry, empty = sheet.summary_entry(one), sheet.summary_entry(replace(one, status=JobStatus.FAILED))
    assert list(entry) == list(empty)
    assert sheet.units(entry) > 0
    assert sheet.units(empty) == 0


def test_a_campaign_of_the_kind_leaves_every_file(kind: str, tmp_path: Path) -> None:
    jobs = [complete(kind, 1), complete(kind, 2, 1.5), replace(record(3, None, status=JobStatus.FAILED, error="it broke"), kind=kind)]
    files = {path.name: path for path in write_campaign(tmp_path, bundle(jobs))}
    assert all(path.stat().st_size for path in files.values())
    assert {"report.md", "report.json", "summary.json", "run.json", "results.csv"} <= set(files)
    assert "it broke" in files["report.md"].read_text()
    assert json.loads(files["report.json"].read_text())["measured_total"] == 2
    summary = json.loads(files["summary.json"].read_text())
    assert summary["jobs_by_status"]["complete"] == 2
    assert summary["total_requests"] == sum(sheet_of(kind).units(sheet_of(kind).summary_entry(job)) for job in jobs[:2])


def test_a_campaign_of_a_newer_version_is_shown_with_its_figures_and_its_kind(tmp_path: Path) -> None:
    """After a downgrade, this version knows neither the kind of its jobs nor their workload."""
    made = [replace(complete("fake", number), kind=NEWER, unreadable="a newer version wrote it") for number in (1, 2)]
    rows = [csv_row(replace(ended(number), kind=NEWER), one.result) for number, one in enumerate(made, start=1)]
    files = {
        path.name: path for path in write_campaign(tmp_path, bundle([replace(one, row=row) for one, row in zip(made, rows, strict=True)]))
    }
    report = json.loads(files["report.json"].read_text())
    assert report["kind"] == NEWER
    assert [answer["ranking"][0]["figures"]["fake_per_s"]["value"] for answer in report["answers"]] == [10.0, 10.0], "each stands alone"
    assert "fake" in files["report.md"].read_text()
    assert [row["Kind"] for row in rows] == [NEWER, NEWER]
    assert rows[0]["RequestsPerS"] is None, "only its own sheet knows what fills a column"
    assert rows[0]["DeviceName"] == "pi-5"


def test_a_kind_of_a_newer_version_has_an_empty_sheet() -> None:
    sheet = sheet_of(NEWER)
    assert isinstance(sheet, OutcomeSheet)
    assert (dict(sheet.figures), sheet.compared, sheet.service_type) == ({}, (), NEWER)
