"""Tests a whole job of a language model with the fake generator: from its assignment to a row of the CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reports.outcomes.cells import cells_of_samplers
from orchestrator.reports.rows import csv_row
from shared.engine_options import EngineOptions
from shared.figures import Figure
from shared.inputs import ModelRef
from shared.kinds.generation import GenerationSpec, PromptsSection
from shared.protocol.messages import Assignment, Device, Result
from shared.repetition import Warmup
from shared.telemetry import ENERGY, FIGURES
from shared.workloads import Workload
from tests.measuring import CAMPAIGN, Stages, samples_of, supervisor
from tests.unit.orchestrator.reports.bundles import ended_job
from tests.unit.worker.generators.test_outcome import record_of
from worker.hardware_tests.last import LastFigures
from worker.kinds.base import Repeat
from worker.kinds.generation import GenerationMeasure
from worker.reports import Author, result_of
from worker.runner.plan import plan_for
from worker.supervisor import Supervisor
from worker.supervisor.beside import per_token
from worker.supervisor.telemetry import _of_repeat

PROMPTS = PromptsSection(input_tokens=6, output_tokens=4, requests=5)


@pytest.fixture(scope="module")
def measurer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with supervisor(tmp_path_factory.mktemp("measurer")) as made:
        yield made


def work(folder: Path, prompts: PromptsSection = PROMPTS, **schedule: Any) -> Assignment:
    folder.mkdir(exist_ok=True)
    known = {"first_s": [0.003], "next_s": [0.001], "longest": 64, **schedule}
    (folder / "config.json").write_text(json.dumps(known))
    spec = GenerationSpec(prompts=prompts, loads=1, options=EngineOptions(batch_size=2))
    model = ModelRef(source=folder.as_uri(), name=folder.name)
    workload = Workload(spec=spec, inputs={"model": model}, repeats=2, warmup=Warmup(min_calls=1, min_s=0))
    return Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="fake", workload=workload)


def test_a_job_of_a_language_model_fills_its_row(measurer: Supervisor, tmp_path: Path) -> None:
    stages, assignment = Stages(), work(tmp_path / "known-llm")
    outcome = measurer.run(assignment, stages)
    assert (outcome.status, outcome.error) == ("complete", "")
    author = Author("worker-0123456789abcdefgh", "one", Device(name="here"), "1")
    result = Result.model_validate(json.loads(result_of(author, assignment, outcome, "", (1.0, 2.0), {}).model_dump_json()))
    row = csv_row(replace(ended_job(1), kind="generation", model_name="known-llm"), result)
    names = ("Status", "Kind", "FileName", "InputTokens", "OutputTokens", "BatchSize", "Repeats", "Loads", "Inferences")
    assert [row[name] for name in names] == ["Complete", "generation", "known-llm", 6, 4, 2, 2, 3, 10]
    assert 3 <= float(str(row["TtftMsMedian"])) < 30
    # On a busy machine, a first token that comes late makes the time to the last one shorter. With a clock that is known, every figure is
    # exact.
    assert 0 < float(str(row["TpotMsMedian"])) < 30
    assert 30 < float(str(row["TokensPerS"])) <= 2 * 4 / 0.006
    assert float(str(row["DecodeTokensPerS"])) > 30
    assert 30 < float(str(row["PrefillTokensPerS"])) <= 2 * 6 / 0.003
    assert (row["TtftMsP99"], row["ItlMsP99"]) == (None, None), "10 calls are too few"
    samples = samples_of(outcome)
    assert [len(samples[f"repeat_0_{name}_ns"]) for name in ("streamed", "tokens", "plain", "prefill", "warmup")] == [5, 20, 5, 5, 3]
    assert "repeat 2 of 2: measuring" in stages.names()


@pytest.mark.parametrize(
    ("prompts", "schedule", "said"),
    [
        (PROMPTS, {"loses": 1}, "wrote 3, 3 tokens where exactly 4 were asked"),
        (PromptsSection(input_tokens=60, output_tokens=5), {}, r"are 65 tokens together, and this model takes 64"),
        (PROMPTS, {"raises": "it broke"}, "the fake model says: it broke"),
    ],
    ids=["a wrong count", "too long", "an error"],
)
def test_what_cannot_be_measured_fails_with_its_reason_and_the_worker_goes_on(
    measurer: Supervisor, tmp_path: Path, prompts: PromptsSection, schedule: dict[str, Any], said: str
) -> None:
    outcome = measurer.run(work(tmp_path / "bad", prompts, **schedule), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "model_invalid")
    assert said in outcome.error
    assert measurer.run(work(tmp_path / "good"), Stages()).status == "complete"


def test_a_folder_without_a_config_is_no_model(measurer: Supervisor, tmp_path: Path) -> None:
    assignment = work(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").unlink()
    outcome = measurer.run(assignment, Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "model_unavailable")
    assert "does not exist on this device" in outcome.error


def test_no_process_imports_the_libraries_of_a_language_model_before_that_is_timed() -> None:
    assert not {"torch", "transformers"} & set(plan_for("generation", "cpu.torch").preload)
    assert not plan_for("generation", "cpu.torch").forks


def test_a_job_is_compared_with_what_the_worker_has_measured_of_its_device(tmp_path: Path) -> None:
    record = record_of(tmp_path, weights_bytes=2_000_000_000)
    record.facts["capability"] = "cpu.torch"
    derived = GenerationMeasure().derive(work(tmp_path / "any").workload, [Repeat(record, 0.0)] * 2, [], "")
    assert derived.against_device is not None
    alone, fast, slow = (
        derived.against_device([LastFigures("hardware.cpu", "", "then", {"peak_gb_per_s": {"value": peak}}, {})])
        for peak in (None, 1_000.0, 20.0)
    )
    headlines = [one.outcome.figure("tokens_per_s") for one in (alone, fast, slow) if one.outcome is not None]
    assert [one is not None and one.value is None for one in headlines] == [False, False, True]
    assert (alone.warnings, fast.warnings) == ((), ())
    assert slow.warnings[0].startswith("void: ")


def test_energy_is_that_of_the_plain_calls_for_each_of_their_tokens(tmp_path: Path) -> None:
    record = record_of(tmp_path, requests=7)
    first, second = _of_repeat(100.0, 9.0, Repeat(record, 0.0), "load")
    assert (first.inferences, second.inferences) == (5, 2)
    assert first.begin_s == pytest.approx(100 + 5 * 0.107)
    energy = Figure.of(ENERGY, FIGURES[ENERGY], 6.0, n=7, repeats=(5.0, 7.0))
    token = per_token([energy], tokens=3 * 5)
    assert (token.value, token.repeats, token.n) == (0.4, (5 / 15, 7 / 15), 105)
    assert cells_of_samplers([token]) == {"EnergyJPerToken": 0.4}
    nothing = per_token([Figure.of(ENERGY, FIGURES[ENERGY], missing="no counter")], tokens=15)
    assert (nothing.value, nothing.missing) == (None, "no counter")
