"""Tests how reports, the CSV and summary.json show what a language model did with tokens."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.reports.load.token_texts import token_figures, token_table, token_warnings
from orchestrator.reports.sheets.load import LoadSheet
from shared.figures import Figure, Outcome
from shared.kinds.load import LoadSpec
from shared.workloads import Workload
from tests.unit.orchestrator.reports.bundles import ended_job, record, result_of

KNOWN = {
    **{"requests_per_s": 5.0, "success_rate": 100.0, "error_count": 0.0, "tokens_per_second": 640.0, "decode_tokens_per_s": 90.5},
    **{"ttft_ms_avg": 21.0, "ttft_ms_p50": 20.0, "tpot_ms_p50": 8.5, "output_tokens": 128.0, "input_tokens": 511.5},
}


def outcome(known: dict[str, float] = KNOWN, missing: tuple[str, ...] = ("ttft_ms_p99", "itl_ms_p99"), **detail: Any) -> Outcome:
    figures = [Figure(name=name, unit="", better="higher", value=value) for name, value in known.items()]
    figures += [Figure(name=name, unit="", better="lower", missing="needs 662 samples") for name in missing]
    return Outcome(headline="requests_per_s", figures=tuple(figures), detail=detail)


def workload(service: str) -> Workload:
    content = {
        "service": {"type": service},
        "client": {"type": service},
        "phases": [{"name": "requests", "operations": {"ask": 1.0}, "count": 5}],
    }
    spec = LoadSpec.model_validate(content, strict=False).model_dump(mode="json")
    return Workload.model_validate({"kind": "load", **spec, "repeats": 2}, strict=False)


def test_the_csv_has_the_figures_in_the_columns_of_tokens_and_the_price_of_a_million() -> None:
    row = LoadSheet("load").cells(ended_job(), result_of(summary=None, outcome=outcome()))
    cells = {"TokensPerS": 640.0, "TtftMsMedian": 20.0, "TpotMsMedian": 8.5, "DecodeTokensPerS": 90.5}
    assert {name: row[name] for name in cells} == cells
    assert (row["TtftMsP99"], row["ItlMsP99"]) == (None, None)
    assert (row["OutputTokens"], row["InputTokens"]) == (128, 512)
    assert row["CostPer1MTokens"] == pytest.approx(0.36 / 3_600 / 640 * 1e6)  # the device costs 0.36 an hour


def test_the_csv_of_another_service_has_no_tokens() -> None:
    row = LoadSheet("load").cells(ended_job(), result_of(summary=None, outcome=outcome({"requests_per_s": 5.0}, ())))
    assert not {"TokensPerS", "TtftMsMedian", "CostPer1MTokens", "OutputTokens"} & row.keys()


def test_what_the_worker_says_of_the_tokens_is_a_warning_and_nonsense_is_none() -> None:
    said = outcome(tokens={"warnings": ["events are counted"]})
    assert LoadSheet("load").cells(ended_job(), result_of(summary=None, outcome=said))["Warnings"] == "events are counted"
    for nonsense in ({}, {"tokens": None}, {"tokens": {"warnings": "x"}}, {"tokens": {"warnings": None}}):
        assert token_warnings(outcome(**nonsense)) == []
    assert token_warnings(None) == []


def test_the_summary_has_the_times_to_the_first_token_in_seconds_for_language_models_alone() -> None:
    job = record(result=result_of(summary=None, outcome=outcome()), workload=workload("openai"))
    entry = LoadSheet("load").summary_entry(job)
    assert entry["ttft_s"] == {"avg": 0.021, "p50": 0.02, "p99": None}
    assert entry["tokens_per_second"] == 640.0
    other = record(result=result_of(summary=None, outcome=outcome()), workload=workload("redis"))
    assert "ttft_s" not in LoadSheet("load").summary_entry(other)


def test_the_table_has_a_row_for_each_level_and_a_dash_for_what_is_not_known() -> None:
    curve = {
        "level": "requests in flight",
        "points": [{"job_id": "a", "level": 1.0}, {"job_id": "b", "level": 4.0}],
        "tokens": {"a": token_figures(outcome())},
    }
    lines = token_table(curve).splitlines()
    assert lines[0].startswith("| requests in flight | tokens/s | TTFT p50 ms |")
    assert lines[2] == "| 1 | 640 | 20 | – | 8.5 | – | 90.5 | 128 |"
    assert lines[3] == "| 4 | – | – | – | – | – | – | – |"
    assert token_figures(outcome({"requests_per_s": 5.0}, ())) == {}
