"""Tests one measured process: its phases, what its record says about the inputs, and how it reports refused inputs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.series import Record
from tests import onnx_people
from tests.measuring import request, schedule
from worker.engines.registry import ENGINES
from worker.interpreter import ROOT
from worker.runner.child import measure
from worker.runner.record_file import read_record


def run(model: Path, folder: Path, capability: str = "fake", **options: Any) -> tuple[Record, list[str]]:
    phases: list[str] = []
    path = folder / "1.record"
    measure(request(model, path, capability, inferences=3, warmups=1, **options), phases.append)
    record = read_record(path, 0)
    assert record is not None
    return record, phases


def test_the_phases_come_in_their_order(tmp_path: Path) -> None:
    record, phases = run(schedule(tmp_path), tmp_path)
    assert phases == ["loading", "preparing inputs", "warming up", "measuring"]
    assert len(record.series["inference"].values) == 3


def test_options_that_do_not_fit_are_refused_before_the_warm_up(tmp_path: Path) -> None:
    record, phases = run(schedule(tmp_path), tmp_path, dims={"depth": 3})
    assert phases[-1] == "preparing inputs"
    assert record.error_kind == "model_invalid"
    assert record.error == "options.dims names 'depth', which is no free dimension of the model: Known: batch"


@pytest.mark.parametrize("options", [{}, {"dims": {"depth": 3}}])  # the second ones are refused after the load
def test_an_engine_with_files_of_its_own_is_unloaded_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    unloaded: list[object] = []
    monkeypatch.setattr("worker.engines.fake.FakeEngine.unload", lambda engine: unloaded.append(engine))
    run(schedule(tmp_path), tmp_path, **options)
    assert unloaded == []
    monkeypatch.setitem(ENGINES, "fake", replace(ENGINES["fake"], unloads=True))
    run(schedule(tmp_path), tmp_path, **options)
    assert len(unloaded) == 1


def test_the_record_says_what_was_bound(tmp_path: Path) -> None:
    record, _ = run(onnx_people.time_major(tmp_path / "l.onnx"), tmp_path, "cpu.onnx", batch_size=4, dims={"time": 9})
    runtime = record.facts["runtime"]
    assert (runtime["batch_size"], runtime["dims"], runtime["assumed_dims"], runtime["warnings"]) == (4, {"time": 9, "batch": 4}, {}, [])
    lengths = runtime["inputs"][1]
    assert (lengths["name"], lengths["type"], lengths["shape"], lengths["bound_shape"]) == (
        "sequence_lens",
        "tensor(int32)",
        ["batch"],
        [4],
    )
    assert lengths["values"] == "9 by rule, since it is the length of a sequence of 9 steps"


def test_fresh_processes_use_the_same_values(tmp_path: Path) -> None:
    model = onnx_people.transformer(tmp_path / "t.onnx")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from tests.unit.worker.runner.test_child import run; "
        f"record, _ = run(Path({str(model)!r}), Path({str(tmp_path)!r}), 'cpu.onnx', dims={{'sequence_length': 9}}); "
        "print([entry['values_sha256'] for entry in record.facts['runtime']['inputs']])"
    )
    told = {
        subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout for _ in range(2)
    }
    assert len(told) == 1
    assert told.pop().count("'") == 2 * 3
