"""Tests that every kind of work, including the fake one, keeps its promises to the measured process and to the worker."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from shared.errors import EngineUnavailable, JobError
from shared.kinds.registry import kind_named
from shared.series import Record
from tests.measuring import assignment, schedule
from worker.interpreter import ROOT
from worker.kinds.base import Measure, Repeat
from worker.kinds.registry import KINDS, preloads, resolve
from worker.measured.request import RunRequest
from worker.runner.record_file import read_record, write_record
from worker.supervisor.samples import pack

MS = 1_000_000
WARMUPS, TIMED = 2, 3
TRUTH_MS = (1, 3, 2)  # the shortest duration of each call, in turn


@dataclass(frozen=True)
class Case:
    """Holds work of one kind whose durations are known.

    `timed` is the series of its timed calls, and `phase` the phase in which they were made, if it has another name.
    `headline` computes the headline figure of one repeat from its record.
    """

    kind: str
    capability: str
    timed: str
    headline: Callable[[Record], float]
    spec: dict[str, Any]
    inputs: Callable[[Path], dict[str, str]]
    refused: Callable[[RunRequest], RunRequest]
    phase: str = ""
    warmups: int = WARMUPS

    def request(self, folder: Path) -> RunRequest:
        return RunRequest(
            self.kind, self.capability, self.spec, str(folder / "1.record"), self.inputs(folder), WARMUPS, warmup_min_s=0, warmup_max_s=9
        )


def _model(folder: Path) -> dict[str, str]:
    return {"model": str(schedule(folder, load_s=0.002, calls_s=[ms / 1e3 for ms in TRUTH_MS]))}


CASES = [
    Case(
        "inference",
        "fake",
        "inference",
        lambda record: median(record.series["inference"].values) / MS,
        {"inferences": TIMED, "options": {}},
        _model,
        lambda request: replace(request, inputs={"model": request.inputs["model"] + ".missing"}),
    ),
    Case(
        "fake",
        "fake",
        "step",
        lambda record: TIMED / (record.phases["step"].wall_ns / 1e9),
        {"steps": TIMED, "step_s": [ms / 1e3 for ms in TRUTH_MS], "prepare_s": 0.002, "refuses": ""},
        lambda _folder: {},
        lambda request: replace(request, spec={**request.spec, "refuses": "this work cannot be done"}),
    ),
    Case(
        "generation",
        "fake",
        "plain",
        lambda record: TIMED * 2 * 5 / (sum(record.series["plain"].values) / 1e9),
        {
            "prompts": {"input_tokens": 4, "output_tokens": 5, "requests": TIMED},
            "decoding": {"temperature": 0.0, "top_k": None, "top_p": None, "attention": None},
            "options": {"batch_size": 2},
        },
        lambda folder: {"model": str(schedule(folder, load_s=0.002, first_s=[ms / 1e3 for ms in TRUTH_MS]))},
        lambda request: replace(request, inputs={"model": request.inputs["model"] + ".missing"}),
        phase="passes",
        warmups=3,  # whole calls of each shape, whatever is asked for
    ),
]


@pytest.fixture(params=CASES, ids=[case.kind for case in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def kind(case: Case) -> Measure:
    return resolve(case.kind)()


def test_the_timed_calls_are_recorded_once_and_in_their_order_and_the_warm_ups_apart(case: Case, kind: Measure, tmp_path: Path) -> None:
    record = kind.run(case.request(tmp_path), lambda _phase: None)
    warmups, timed = record.series["warmup"].values, record.series[case.timed].values
    assert (len(warmups), len(timed)) == (case.warmups, TIMED)
    for taken, known_ms in zip([*warmups, *timed], [*TRUTH_MS, *TRUTH_MS], strict=False):
        assert taken >= known_ms * MS
    phase = record.phases[case.phase or case.timed]
    assert phase.wall_ns >= sum(timed)
    assert phase.cpu_ns is not None
    assert phase.cpu_ns > 0


def test_phases_are_told_before_they_begin_and_in_the_order_that_the_supervisor_knows(case: Case, kind: Measure, tmp_path: Path) -> None:
    phases: list[str] = []
    kind.run(case.request(tmp_path), phases.append)
    assert phases[0] == "loading"
    assert phases[-2:] == ["warming up", "measuring"]


def test_a_process_that_only_makes_the_work_ready_records_how_long_that_took_and_nothing_else(
    case: Case, kind: Measure, tmp_path: Path
) -> None:
    phases: list[str] = []
    record = kind.run(replace(case.request(tmp_path), load_only=True), phases.append)
    assert phases == ["loading"]
    assert list(record.series) == [kind.loading]
    (taken,) = record.series[kind.loading].values
    assert taken >= 2 * MS


def test_work_that_cannot_be_done_is_refused_with_a_reason(case: Case, kind: Measure, tmp_path: Path) -> None:
    with pytest.raises(JobError) as refusal:
        kind.run(case.refused(case.request(tmp_path)), lambda _phase: None)
    assert refusal.value.detail


def test_a_record_survives_its_file_and_its_facts_are_json(case: Case, kind: Measure, tmp_path: Path) -> None:
    request = case.request(tmp_path)
    record = kind.run(request, lambda _phase: None)
    write_record(Path(request.record_path), record)
    again = read_record(Path(request.record_path), 0)
    assert again is not None
    assert (again.phases, again.series) == (record.phases, record.series)
    assert again.facts == json.loads(json.dumps(record.facts))
    assert again.facts["runtime"]


def test_a_stop_rule_looks_at_the_headline_figure_of_one_repeat(case: Case, kind: Measure, tmp_path: Path) -> None:
    record = kind.run(case.request(tmp_path), lambda _phase: None)
    assert kind.stop_value(record) == pytest.approx(case.headline(record))
    assert kind.stops_on


def repeats(case: Case, kind: Measure, folder: Path) -> list[Repeat]:
    return [Repeat(_finished(kind.run(case.request(folder), lambda _phase: None)), 1.8e9 + number) for number in range(3)]


def _finished(record: Record) -> Record:
    """Return a record with the facts that the measured process adds to those of every kind."""
    return replace(record, facts={"runtime": {}, "software": {}, **record.facts})


def test_what_is_derived_depends_on_the_records_alone(case: Case, kind: Measure, tmp_path: Path) -> None:
    workload = assignment("file:///m.json").workload
    done = repeats(case, kind, tmp_path)
    first, again = kind.derive(workload, done, [], ""), resolve(case.kind)().derive(workload, done, [], "")
    assert first == again
    assert (first.summary is None) != (first.outcome is None)
    each = [case.headline(repeat.record) for repeat in done]
    if first.summary is not None:
        assert [repeat.median_ms for repeat in first.summary.repeats] == pytest.approx(each)
    if first.outcome is not None:
        described = kind_named(case.kind)
        figure = first.outcome.figure(described.headline)
        assert figure is not None
        assert first.outcome.headline == described.headline
        assert figure.repeats == pytest.approx(each)
        assert {one.name: (one.unit, one.better) for one in first.outcome.figures} == {
            name: (about.unit, about.better) for name, about in described.figures.items()
        }
    assert first.said


def test_the_raw_samples_name_each_series_of_each_repeat(case: Case, kind: Measure, tmp_path: Path) -> None:
    records = [repeat.record for repeat in repeats(case, kind, tmp_path)]
    load = kind.run(replace(case.request(tmp_path), load_only=True), lambda _phase: None)
    with np.load(io.BytesIO(pack(records, [load], kind.loading)), allow_pickle=False) as arrays:
        for index, record in enumerate(records):
            assert arrays[f"repeat_{index}_{case.timed}_ns"].tolist() == record.series[case.timed].values.tolist()
            assert len(arrays[f"repeat_{index}_warmup_ns"]) == case.warmups
        assert arrays[f"extra_{kind.loading}_ns"].tolist() == load.series[kind.loading].values.tolist()


@pytest.mark.parametrize("name", list(KINDS))
def test_a_kind_brings_neither_pydantic_nor_numpy_into_a_process_that_imports_it(name: str) -> None:
    """The guard imports every kind before it forks, and what the guard holds is the baseline of each measured process."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import worker.kinds.registry as kinds; kinds.resolve({name!r}); "
    code += "import worker.runner.child; print({'pydantic', 'numpy'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert finished.stdout.strip() == "set()", finished.stderr


@pytest.mark.parametrize("name", list(KINDS))
def test_every_entry_has_the_methods_of_the_port_with_their_arguments(name: str) -> None:
    port = {name: inspect.signature(method) for name, method in vars(Measure).items() if inspect.isfunction(method) and name[0] != "_"}
    assert len(port) >= 4
    kind = resolve(name)
    for method, wanted in port.items():
        assert list(inspect.signature(getattr(kind, method)).parameters) == list(wanted.parameters), method
    assert preloads(name)[-1] == kind.__module__


def test_every_kind_has_a_case_here_and_a_description_that_both_sides_share() -> None:
    """How long a device or a service takes is not known in advance: see test_hardware.py, and tests/integration/test_load_on_servers.py."""
    assert {case.kind for case in CASES} == set(KINDS) - {"hardware", "load"}
    assert [kind_named(name).name for name in KINDS] == list(KINDS)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        EngineUnavailable, match=r"cannot measure work of the kind 'weaving'; it knows: inference, generation, hardware, load, fake"
    ):
        resolve("weaving")
