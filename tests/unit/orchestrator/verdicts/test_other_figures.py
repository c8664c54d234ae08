"""Tests comparisons by figures that need more than a value for each repeat: the energy, and what a device measures of itself."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.reports.bundle import JobRecord
from orchestrator.verdicts.comparison import Comparison, Verdict, compare
from orchestrator.verdicts.figures import FIGURES, Metric, compared_figure
from orchestrator.verdicts.matrix import entry_of, matrix
from orchestrator.verdicts.sides import side_of
from orchestrator.verdicts.terms import Terms
from shared import telemetry
from shared.figures import Figure, Outcome
from shared.kinds.hardware import HardwareSpec
from shared.kinds.hardware_figures import FIGURES as OF_DEVICES
from shared.workloads import Workload
from tests.unit.orchestrator.reports.bundles import record, result_of
from tests.unit.orchestrator.verdicts.jobs import QUIET, SIX, job, runtime


def judged(base: JobRecord, new: JobRecord, metric: Metric, **terms: Any) -> Comparison:
    return compare([side_of(base, metric)], [side_of(new, metric)], Terms(figure=metric, **terms))


ENERGY = compared_figure(telemetry.ENERGY)


def with_energy(factor: float, of: str = "rapl_package_0_j", missing: str = "") -> JobRecord:
    kind = telemetry.FIGURES[telemetry.ENERGY]
    repeats = () if missing else tuple(value * factor for value in SIX)
    figure = Figure.of(telemetry.ENERGY, kind, None if missing else repeats[0], repeats=repeats, missing=missing)
    energy = telemetry.Energy(source="" if missing else "counter", of=of, missing=missing)
    said = runtime(**{telemetry.RUNTIME_KEY: telemetry.Beside(energy=energy).model_dump(mode="json")})
    one = job(said=said)
    assert one.result is not None
    assert one.result.summary is not None
    summary = one.result.summary.model_copy(update={"figures": [figure]})
    return record(1, one.result.model_copy(update={"summary": summary}), workload=one.workload)


def test_campaigns_are_compared_by_the_energy_of_an_inference() -> None:
    found = judged(with_energy(1.0), with_energy(1.2), ENERGY)
    assert (found.verdict, found.judged[0].reason) == (Verdict.FAIL, "20 % higher, above the threshold of 5 %; p = 0.0022")
    assert judged(with_energy(1.0), with_energy(1.0), ENERGY).verdict is Verdict.PASS


def test_energies_of_two_sources_are_not_comparable() -> None:
    found = judged(with_energy(1.0), with_energy(1.2, of="hwmon_in_w"), ENERGY)
    assert found.verdict is Verdict.INCONCLUSIVE
    said = "not comparable: energy_source (counter (rapl_package_0_j) in BASE, counter (hwmon_in_w) in NEW)"
    assert found.judged[0].reason == said
    assert judged(with_energy(1.0), with_energy(1.2, of="hwmon_in_w"), ENERGY, allowed=frozenset({"energy_source"})).verdict is Verdict.FAIL
    assert judged(with_energy(1.0), with_energy(1.0, of="hwmon_in_w"), FIGURES["inference_ms"]).verdict is Verdict.PASS


def test_a_missing_energy_is_inconclusive_with_its_reason() -> None:
    found = judged(with_energy(1.0), with_energy(1.0, missing="too short: the timed inferences took 2 s"), ENERGY)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.judged[0].reason == f"NEW has no {telemetry.ENERGY}: too short: the timed inferences took 2 s"


PEAK = FIGURES["peak_gb_per_s"]


def device(seconds: float, factor: float = 1.0, number: int = 1) -> JobRecord:
    repeats = tuple(value * factor for value in SIX)
    figure = Figure.of("peak_gb_per_s", OF_DEVICES["peak_gb_per_s"], repeats[0], repeats=repeats)
    result = result_of(
        number,
        capability="hardware.cpu",
        model_name="bandwidth",
        model_size=None,
        model_sha256=None,
        summary=None,
        outcome=Outcome(headline="peak_gb_per_s", figures=(figure,)),
        noise=QUIET,
    )
    work = Workload(spec=HardwareSpec(tests=("bandwidth",), seconds=seconds), repeats=6)
    return record(number, result, compute_unit="hardware.cpu", workload=work, kind="hardware")


def test_a_device_that_was_measured_for_another_time_is_named_and_judged_only_if_that_is_allowed() -> None:
    found = judged(device(60), device(5, 0.8), PEAK)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.judged[0].reason == "not comparable: seconds (60 in BASE, 5 in NEW)"
    assert judged(device(60), device(5, 0.8), PEAK, allowed=frozenset({"seconds"})).verdict is Verdict.FAIL
    assert judged(device(60), device(60), PEAK).verdict is Verdict.PASS


def triad_of(facts: dict[str, str], factor: float = 1.0) -> JobRecord:
    one = device(60)
    assert one.result is not None
    figure = Figure.of("triad_gb_per_s", OF_DEVICES["triad_gb_per_s"], SIX[0], repeats=tuple(value * factor for value in SIX))
    outcome = Outcome(headline="triad_gb_per_s", figures=(figure,), detail={"tests": {"bandwidth": facts}})
    return record(1, one.result.model_copy(update={"outcome": outcome}), workload=one.workload, kind="hardware")


def test_triads_that_were_computed_in_different_ways_are_not_comparable() -> None:
    blocks, loop = {"triad_by": "numpy in blocks", "kernels": "triad a=b+0.5c"}, {"triad_by": "numpy.subtract", "kernels": "triad a=b+s·c"}
    triad = FIGURES["triad_gb_per_s"]
    found = judged(triad_of(blocks), triad_of(loop, 0.5), triad)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.judged[0].reason == "not comparable: triad_by (numpy in blocks in BASE, numpy.subtract in NEW)"
    assert judged(triad_of(blocks), triad_of(loop, 0.5), triad, allowed=frozenset({"triad_by"})).verdict is Verdict.FAIL
    assert judged(triad_of(loop), triad_of(loop), triad).verdict is Verdict.PASS
    on_a_gpu = triad_of({"kernels": "triad a=b+0.5c"})  # says nothing else, because it has one way
    assert judged(on_a_gpu, on_a_gpu, triad).verdict is Verdict.PASS


def test_two_times_of_one_device_have_no_common_cell() -> None:
    entries = [entry_of(one, PEAK, "lab") for one in (device(5), device(60, number=2))]
    (cell,) = matrix(entries, ["device"], PEAK)
    assert cell.value is None
    assert "2 jobs with different settings meet here" in cell.missing


def test_an_outcome_with_two_figures_of_one_name_is_refused() -> None:
    figure = Figure.of("peak_gb_per_s", OF_DEVICES["peak_gb_per_s"], 1.0)
    with pytest.raises(ValueError, match="the figure peak_gb_per_s is listed more than once"):
        Outcome(headline="peak_gb_per_s", figures=(figure, figure))
    one = Outcome(headline="peak_gb_per_s", figures=(figure,))
    with pytest.raises(ValueError, match="listed more than once"):
        one.with_figures(figure)
