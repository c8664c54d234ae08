"""Tests the row and the page of a language model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reports.rows import csv_row
from orchestrator.reports.sheets.registry import sheet_of
from orchestrator.verdicts.figures import figure_kind
from orchestrator.verdicts.sides import side_of
from shared.distributions import Distribution, Interval
from shared.figures import Figure, FigureKind, Outcome
from shared.inputs import ModelRef
from shared.kinds.generation import DecodingSection, GenerationSpec, PromptsSection
from shared.kinds.generation_figures import FIGURES
from shared.protocol.messages import Result
from shared.scorers.registry import FIGURES as QUALITY
from shared.workloads import Workload
from tests.unit.orchestrator.reports.bundles import bundle, ended_job, record, result_of

VALUES = {"tokens_per_s": 250.0, "ttft_ms": 41.5, "tpot_ms": 3.25, "decode_tokens_per_s": 300.0, "prefill_tokens_per_s": 9_000.0}
WORKLOAD = Workload(spec=GenerationSpec(), inputs={"model": ModelRef(source="https://models.example/tiny", name="tiny")}, repeats=3)
RANDOM = "the weights of this model are random"


def result(number: int = 1, price: float | None = None, **values: float) -> Result:
    figures = [
        Figure.of(name, FIGURES[name], value, repeats=(value * 0.9, value, value * 1.1), n=30) for name, value in (VALUES | values).items()
    ]
    figures.append(Figure.of("itl_p99_ms", FIGURES["itl_p99_ms"], missing="needs 662 samples, has 90"))
    call = Distribution(n=30, median=128.0, mean=129.0, stddev=1.0, min=120.0, max=140.0, first=130.0)
    shape = {"batch_size": 1, "input_tokens": 128, "output_tokens": 32, "requests": 10}
    outcome = Outcome(headline="tokens_per_s", figures=tuple(figures), distributions={"unit": call}, detail={"shape": shape})
    made = result_of(
        number, capability="cpu.torch", model_name="tiny", summary=None, outcome=outcome, runtime={"batch_size": 1, "warnings": [RANDOM]}
    )
    return made.model_copy(update={"device": made.device.model_copy(update={"price_per_hour": price, "labels": {}})})


def row_of(done: Result) -> dict[str, Any]:
    return csv_row(replace(ended_job(1), kind="generation", model_name="tiny"), done)


def test_the_row_holds_what_was_asked_and_the_speed_of_tokens() -> None:
    row = row_of(result())
    names = ("InputTokens", "OutputTokens", "TokensPerS", "TtftMsMedian", "TpotMsMedian", "DecodeTokensPerS", "PrefillTokensPerS")
    assert [row[name] for name in names] == [128, 32, 250.0, 41.5, 3.25, 300.0, 9_000.0]
    assert (row["TtftMsP99"], row["ItlMsP99"], row["CostPer1MTokens"]) == (None, None, None)
    assert (row["InferenceMsMedian"], row["Inferences"], row["Repeats"], row["Warnings"]) == (128.0, 30, 3, RANDOM)


def test_a_price_gives_the_cost_of_a_million_new_tokens() -> None:
    row = row_of(result(price=1.8))
    assert row["CostPer1MTokens"] == pytest.approx(1.8 / 3_600 / 250 * 1e6)


def test_the_page_ranks_by_tokens_per_second_and_says_that_weights_are_random() -> None:
    jobs = []
    for number, speed in ((1, 250.0), (2, 500.0)):
        done = result(number, tokens_per_s=speed)
        jobs.append(replace(record(number, done, workload=WORKLOAD, row=row_of(done)), kind="generation"))
    made = bundle(jobs)
    page = sheet_of("generation").page({}, [])
    for job in jobs:
        page.add(job)
    pictures = list(page.pictures(Path(), "models"))
    content = page.content(made, [(picture.file, picture.shows) for picture in pictures])
    (answer,) = content["answers"]
    assert [one["figures"]["tokens_per_s"]["value"] for one in answer["ranking"]] == [500.0, 250.0]
    text = page.markdown(content)
    assert "needs 662 samples, has 90" in text
    assert RANDOM in text


def test_two_jobs_did_the_same_work_if_lengths_and_decoding_are_equal_however_many_calls_there_were() -> None:
    def work(**spec: Any) -> Any:
        return sheet_of("generation").work_of(record(1, result(), workload=WORKLOAD.model_copy(update={"spec": GenerationSpec(**spec)})))

    first = work(prompts=PromptsSection(output_tokens=8))
    assert work(prompts=PromptsSection(output_tokens=8, requests=99), loads=3) == first
    assert work(prompts=PromptsSection(output_tokens=9)) != first
    assert work(prompts=PromptsSection(output_tokens=8), decoding=DecodingSection(temperature=0.5)) != first


def judged(*figures: Figure) -> Result:
    """Return a result whose answers were judged, by scorers with these figures."""
    made = result()
    assert made.outcome is not None
    outcome = made.outcome.with_figures(*figures)
    detail = {**outcome.detail, "task": "t", "documents": 8, "scores": {"figures": [one.name for one in figures], "scorers": {}}}
    return made.model_copy(update={"outcome": outcome.model_copy(update={"detail": detail})})


def test_each_of_our_scorers_has_a_column_for_its_figures() -> None:
    figures = [Figure.of(name, kind, 10.0 + number, n=8) for number, (name, kind) in enumerate(QUALITY.items())]
    before, row = row_of(result()), row_of(judged(*figures))
    numbers = {row[name] for name in row if before[name] is None and isinstance(row[name], float)}
    assert numbers == {one.value for one in figures}, "no figure is without a column"
    columns = {"FoundPercent": "found_percent", "ExactMatchPercent": "exact_match_percent", "RightPercent": "right_percent"}
    columns |= {"ValidJsonPercent": "valid_json_percent", "Rouge1": "rouge1", "RougeL": "rougeL"}
    values = {one.name: one.value for one in figures}
    assert {name: row[name] for name in columns} == {name: values[figure] for name, figure in columns.items()}


def test_a_scorer_that_this_version_does_not_know_has_its_figures_in_the_row_the_page_and_a_comparison() -> None:
    interval = Interval(low=-1.5, high=4.5, level=0.95, method="bootstrap", n=8)
    mine = Figure.of("my_score", FigureKind("points", "higher", "mine"), -0.25, interval=interval, n=8)
    other = Figure.of("other_score", FigureKind("points", "lower", "mine"), missing="nobody knows")
    done = judged(mine, other, Figure.of("found_percent", QUALITY["found_percent"], 100 / 3, n=8))
    row = row_of(done)
    assert (row["ScoreName"], row["Score"], row["ScoreCiLow"], row["ScoreCiHigh"]) == ("my_score", -0.25, -1.5, 4.5)
    assert row["Scores"] == "my_score=-0.25; found_percent=33.3333"
    assert sheet_of("generation").scores(done) == [mine, other, done.outcome.figure("found_percent") if done.outcome else None]
    job = replace(record(1, done, workload=WORKLOAD, row=row), kind="generation")
    page = sheet_of("generation").page({}, [])
    page.add(job)
    assert "| my\\_score | -0.25 points |" in page.markdown(page.content(bundle([job]), []))
    assert [one.name for one in side_of(job, figure_kind("tokens_per_s")).scores] == ["my_score", "other_score", "found_percent"]


def test_what_nobody_judged_has_no_scores() -> None:
    row = row_of(result())
    assert [row[name] for name in ("ScoreName", "Score", "ScoreCiLow", "ScoreCiHigh", "Scores")] == [None] * 5
    assert sheet_of("generation").scores(result()) == []
