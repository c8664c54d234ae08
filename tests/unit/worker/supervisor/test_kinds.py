"""Tests a whole attempt of a kind that has neither a model nor an engine. It uses only what all kinds have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import median

import pytest

from shared.kinds.fake import FakeSpec
from shared.protocol.messages import Assignment, Device, Result
from shared.repetition import StopRule, Warmup
from shared.workloads import Workload
from tests.measuring import CAMPAIGN, Stages, lines_of, log_for, samples_of, supervisor
from worker.reports import Author, result_of
from worker.supervisor import Supervisor

MS = 1_000_000


@pytest.fixture(scope="module", params=["forked", "spawned"])
def measurer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with supervisor(tmp_path_factory.mktemp("measurer"), spawn=request.param == "spawned") as made:
        yield made


def work(spec: FakeSpec, stop: StopRule | None = None) -> Assignment:
    workload = Workload(spec=spec, repeats=2, warmup=Warmup(min_calls=2, min_s=0), stop=stop)
    return Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="fake", workload=workload)


def test_work_without_a_model_is_measured_to_its_figures(measurer: Supervisor) -> None:
    stages, assignment = Stages(), work(FakeSpec(steps=4, step_s=(0.002, 0.004), prepare_s=0.01))
    job_log = log_for(assignment)
    outcome = measurer.run(assignment, stages, job_log)
    assert (outcome.status, outcome.error) == ("complete", "")
    assert outcome.summary is None
    assert outcome.figures is not None
    samples = samples_of(outcome)
    assert set(samples) == {"format", "extra_prepare_ns"} | {
        f"repeat_{i}_{name}_ns" for i in (0, 1) for name in ("prepare", "warmup", "step")
    }
    assert [len(samples[f"repeat_{i}_{name}_ns"]) for i in (0, 1) for name in ("warmup", "step")] == [2, 4, 2, 4]
    assert all(taken >= known * MS for taken, known in zip(samples["repeat_0_step_ns"], [2, 4, 2, 4], strict=True))
    figure = outcome.figures.figure("fake_ms")
    assert figure is not None
    assert figure.repeats == pytest.approx([median(samples[f"repeat_{i}_step_ns"]) / MS for i in (0, 1)])
    assert outcome.runtime["runtime"] == "fake"
    assert outcome.software["python"]
    assert outcome.model_name == "fake"
    assert "repeat 2 of 2: measuring" in stages.names()
    assert any("steps/s over 2 repeats" in line["message"] for line in lines_of(job_log))


def test_its_result_carries_figures_and_no_summary(measurer: Supervisor) -> None:
    assignment = work(FakeSpec())
    author = Author("worker-0123456789abcdefgh", "one", Device(name="here"), "1")
    result = result_of(author, assignment, measurer.run(assignment, Stages()), "", (1.0, 2.0), {})
    sent = json.loads(result.model_dump_json())
    assert sent["summary"] is None
    of_kind, of_telemetry = sent["outcome"]["figures"][:2], sent["outcome"]["figures"][2:]
    assert [figure["name"] for figure in of_kind] == ["fake_per_s", "fake_ms"]
    # `of_telemetry` are the figures that every kind has in addition to its own
    assert "fake_per_s" not in {figure["name"] for figure in of_telemetry}
    assert Result.model_validate(sent) == result


def test_a_stop_rule_looks_at_the_value_of_the_kind(measurer: Supervisor) -> None:
    outcome = measurer.run(work(FakeSpec(step_s=(0.05,)), StopRule(precision=0.5, max_repeats=8)), Stages())
    assert outcome.figures is not None
    assert str(outcome.figures.detail["stopped_because"]).startswith("precision reached: ±")


def test_work_that_refuses_to_begin_fails_with_its_reason(measurer: Supervisor) -> None:
    outcome = measurer.run(work(FakeSpec(refuses="there is nothing to do")), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "model_invalid")
    assert outcome.error == "there is nothing to do (repeat 1 of 2, while loading)"
