from __future__ import annotations

import io
import json
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from shared.errors import EngineUnavailable
from shared.kinds.hardware import HardwareSpec
from shared.kinds.hardware_figures import FIGURES
from shared.protocol.messages import Assignment
from shared.series import Record, Series
from shared.workloads import Workload
from tests.measuring import assignment, supervisor
from worker.hardware_tests.base import Reading, Readings
from worker.hardware_tests.last import LastFigures, Since, compare, keep, read
from worker.hardware_tests.registry import TESTS
from worker.hardware_tests.run import Run, run_here
from worker.interpreter import python_command
from worker.kinds.base import Repeat
from worker.kinds.hardware import HardwareMeasure
from worker.measured.request import RunRequest
from worker.plug_ins import BrokenPlugIn

WORKLOAD = Workload(spec=HardwareSpec(tests=("known",), seconds=6), repeats=3)


def request(folder: Path, tests: tuple[str, ...] = ("known",)) -> RunRequest:
    return RunRequest("hardware", "fake", {"tests": list(tests), "seconds": 6.0}, str(folder / "1.record"), repeats=3)


def test_a_process_records_the_calls_and_the_figures(tmp_path: Path) -> None:
    record = HardwareMeasure().run(request(tmp_path), lambda _phase: None)
    assert list(record.series) == ["known"]
    assert record.facts["runtime"]["capability"] == "fake"
    assert record.facts["hardware"]["tests"]["known"]["facts"]["share_s"] == pytest.approx(2, abs=0.3)  # 6 s are shared by 3 processes
    assert HardwareMeasure().stop_value(record) == 11.0


def test_a_test_that_the_device_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="fake has no test 'bandwidth': Known: known"):
        HardwareMeasure().run(request(tmp_path, ("bandwidth",)), lambda _phase: None)


def recorded(value: float | None, missing: str = "", **facts: object) -> Record:
    calls = () if value is None else (value / 2, value)
    readings = (
        Reading("peak_gb_per_s", "GB/s", "higher", value, missing, calls, 10.0),
        Reading("fp8_tflops", "TFLOP/s", "higher", None, "this device has no fp8"),
    )
    run = Run({"bandwidth": Readings(readings, dict(facts))}, {"OPENBLAS_CORETYPE": "Haswell"})
    series = {} if value is None else {"peak": Series("peak", values=array("q", [2, 1]))}
    return Record({}, series, {"hardware": run.as_json(), "runtime": {"capability": "hardware.cuda"}, "software": {}})


def test_a_figure_is_the_median_of_the_processes_and_one_that_is_missing_says_why() -> None:
    repeats = [Repeat(recorded(value, uuid="GPU-1", device="NVIDIA H200"), 1.8e9) for value in (10.0, 30.0, 20.0)]
    derived = HardwareMeasure().derive(WORKLOAD, repeats, [], "")
    assert derived.outcome is not None
    peak, fp8 = derived.outcome.figures
    assert (peak.value, peak.repeats, peak.n, peak.unit, peak.better) == (20.0, (10.0, 30.0, 20.0), 6, "GB/s", "higher")
    assert peak.interval is not None
    assert (fp8.value, fp8.missing, fp8.repeats) == (None, "this device has no fp8", ())
    assert derived.outcome.headline == "peak_gb_per_s"
    assert derived.outcome.detail["environment_unset"] == {"OPENBLAS_CORETYPE": "Haswell"}
    assert derived.of_device is not None
    assert (derived.of_device.capability, derived.of_device.device) == ("hardware.cuda", "GPU-1")
    assert derived.of_device.measured_at == "2027-01-15T08:00:00+00:00"


def test_a_process_that_could_not_measure_a_figure_leaves_the_others_their_say() -> None:
    repeats = [Repeat(recorded(value, "" if value else "the memory was full"), 1.8e9) for value in (None, 30.0, 20.0)]
    derived = HardwareMeasure().derive(WORKLOAD, repeats, [], "")
    assert derived.outcome is not None
    assert (derived.outcome.figures[0].value, derived.outcome.figures[0].repeats) == (25.0, (30.0, 20.0))
    assert derived.warnings == ("peak_gb_per_s has no value in repeat 1 of 3, and is computed from the others: the memory was full",), (
        "fp8 is null in all repeats, which its figure says"
    )


def test_a_figure_that_the_first_process_lacks_is_not_lost() -> None:
    first = recorded(10.0)
    for test in first.facts["hardware"]["tests"].values():
        test["readings"] = [reading for reading in test["readings"] if reading["name"] != "peak_gb_per_s"]
    derived = HardwareMeasure().derive(WORKLOAD, [Repeat(first, 1.8e9), Repeat(recorded(20.0), 1.8e9)], [], "")
    assert derived.outcome is not None
    peak = derived.outcome.figure("peak_gb_per_s")
    assert peak is not None
    assert peak.repeats == (20.0,)
    assert derived.warnings == ("peak_gb_per_s has no value in repeat 1 of 2, and is computed from the others: it was not reported",)


def test_two_tests_with_a_figure_of_one_name_are_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TESTS, "fake", {**TESTS["fake"], "copied": TESTS["fake"]["known"]})
    with pytest.raises(BrokenPlugIn, match="the tests 'known' and 'copied' of fake both return known_gb_per_s; rename it in one of them"):
        run_here("fake", ("known", "copied"), 1.0)


def job() -> Assignment:
    return assignment("file:///unused.json").model_copy(update={"workload": WORKLOAD})


def test_a_job_measures_the_device_and_the_worker_keeps_its_figures(tmp_path: Path) -> None:
    with supervisor(tmp_path) as made:
        outcome = made.run(job(), lambda _stage, _progress: None)
        assert (outcome.status, outcome.error) == ("complete", "")
        assert outcome.figures is not None
        known = outcome.figures.figure("known_gb_per_s")
        assert known is not None
        assert (known.value, known.repeats, known.n) == (11.0, (11.0, 11.0, 11.0), 9)
        assert outcome.figures.detail["since_last_time"] == {"measured_at": "", "moved": [], "cores": None}
        assert outcome.samples_npz is not None
        with np.load(io.BytesIO(outcome.samples_npz)) as arrays:
            assert sorted(arrays) == ["format", *(f"repeat_{index}_known_ns" for index in range(3))]
        (kept,) = (tmp_path / "cache" / "hardware").iterdir()
        (last,) = read(tmp_path / "cache")
        assert last.value("known_gb_per_s") == 11.0

        kept.write_text(kept.read_text().replace("11.0", "10.0"))
        again = made.run(job(), lambda _stage, _progress: None)
        assert again.figures is not None
        (said,) = again.runtime["warnings"]
        assert said == f"figures that have moved by more than 5 % since {last.measured_at}: known_gb_per_s 10 → 11 (+10.0 %)"
        since = json.loads(json.dumps(again.figures.detail["since_last_time"]))
        assert since["measured_at"] == last.measured_at
        assert [(one["figure"], one["before"], one["now"]) for one in since["moved"]] == [("known_gb_per_s", 10.0, 11.0)]
        assert read(tmp_path / "cache")[0].value("known_gb_per_s") == 11.0


def figures(**values: float | None) -> LastFigures:
    return LastFigures("hardware.cpu", "", "2026-11-30T06:00:00+00:00", {name: {"value": value} for name, value in values.items()}, {})


def test_a_triad_that_is_computed_in_another_way_than_before_is_no_finding() -> None:
    def by(way: str, gb_per_s: float) -> LastFigures:
        values = figures(triad_gb_per_s=gb_per_s, add_gb_per_s=gb_per_s)
        return replace(values, facts={"bandwidth": {"triad_by": way}})

    assert [one.figure for one in compare(by("blocks", 10), by("one loop", 12)).moved] == ["add_gb_per_s"]
    assert [one.figure for one in compare(by("one loop", 10), by("one loop", 12)).moved] == ["triad_gb_per_s", "add_gb_per_s"]


def test_a_figure_that_moved_by_more_than_five_percent_is_a_finding() -> None:
    before = figures(add_gb_per_s=100.0, copy_gb_per_s=100.0, fp32_burst_tflops=1.0, fp64_tflops=None, peak_gb_per_s=100.0)
    now = figures(add_gb_per_s=94.0, copy_gb_per_s=104.9, fp32_burst_tflops=2.0, fp64_tflops=5.0, memory_latency_ns=9.0)
    since = compare(before, now)
    assert since.in_words() == "figures that have moved by more than 5 % since 2026-11-30T06:00:00+00:00: add_gb_per_s 100 → 94 (-6.0 %)"
    assert compare(None, now).moved == ()
    assert compare(None, now).in_words() == ""
    many = compare(figures(**{f"{n}_tflops": 1.0 for n in range(10)}), figures(**{f"{n}_tflops": 2.0 for n in range(10)}))
    assert many.in_words().endswith("7_tflops 1 → 2 (+100.0 %) and 2 more")


def test_a_measurement_that_fails_between_two_others_does_not_hide_that_a_figure_has_moved(tmp_path: Path) -> None:
    """Each figure is compared with its own last value, with the day of that value, also if another test was measured between."""
    at = (f"2026-11-{day:02}T06:00:00+00:00" for day in range(1, 9))

    def measured(**values: float | None) -> Since:
        return keep(tmp_path, replace(figures(**values), measured_at=next(at)))

    measured(add_gb_per_s=100.0)
    assert measured(add_gb_per_s=None, fp64_tflops=2.0).moved == ()
    measured(fp64_tflops=2.0)
    assert read(tmp_path)[0].value("add_gb_per_s") is None, "what is shown is the last measurement"
    said = measured(add_gb_per_s=50.0, fp64_tflops=1.0).in_words()
    assert said == (
        "figures that have moved by more than 5 % since 2026-11-03T06:00:00+00:00: add_gb_per_s 100 → 50 (-50.0 % since "
        "2026-11-01T06:00:00+00:00), fp64_tflops 2 → 1 (-50.0 %)"
    )


def test_a_figure_that_moved_because_fewer_cores_could_be_used_says_so() -> None:
    def on(cores: int, gb_per_s: float) -> LastFigures:
        counts: dict[str, dict[str, float]] = {str(count): {} for count in (1, cores)}
        return replace(figures(add_gb_per_s=gb_per_s), facts={"bandwidth": {"by_threads": counts}, "flops": {"usable_cores": cores}})

    assert compare(on(4, 100), on(1, 40)).in_words().endswith("(-60.0 %); the tests could use 4 cores then, and 1 core now")
    assert "core" not in compare(on(4, 100), on(4, 40)).in_words()


def test_every_figure_of_every_test_has_a_meaning() -> None:
    from worker.hardware_tests import cuda_bandwidth
    from worker.hardware_tests.cpu_bandwidth import _readings
    from worker.hardware_tests.cpu_flops import PRECISIONS

    names = {reading.name for reading in _readings({}, [1], "not measured", 1)}
    names |= {f"{name}{kind}_tflops" for name in PRECISIONS for kind in ("", "_burst")}
    names |= {f"{name}_gb_per_s" for name in cuda_bandwidth.LINKS}
    names |= {"memory_latency_ns", "thread_wakeup_us", "ufunc_call_us", "kernel_launch_us", "kernel_round_trip_us"}
    assert names == set(FIGURES)


def test_a_deadline_ends_the_tests_with_their_own_process(tmp_path: Path) -> None:
    """The tests run in a process below the measured one. It must not go on computing when the job has failed."""
    workload = Workload(spec=HardwareSpec(tests=("flops",), seconds=600), repeats=1, timeout_s=4)
    work = assignment("file:///unused.json", capability="hardware.cpu").model_copy(update={"workload": workload})
    with supervisor(tmp_path) as made:
        outcome = made.run(work, lambda _stage, _progress: None)
        assert (outcome.status, outcome.error_kind) == ("failed", "deadline_exceeded")
        command = python_command("worker.hardware_tests.__main__", "hardware.cpu", "flops", "600.0")
        assert command not in [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
