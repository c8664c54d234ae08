"""What every engine promises to the measured process; each of them, and the fake, passes the same suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.workloads import EngineOptions
from tests import onnx_models
from tests.measuring import schedule
from worker.engines.base import Engine, Options
from worker.engines.inputs import make_inputs
from worker.engines.registry import ENGINES, missing_extra, resolve

Case = tuple[str, Callable[[Path], Path]]
CASES: list[Case] = [
    ("fake", lambda folder: schedule(folder, calls_s=[0.001])),
    ("cpu.onnx", lambda folder: onnx_models.linear(folder / "linear.onnx", batch="n")),
]


@pytest.fixture(params=CASES, ids=[capability for capability, _ in CASES])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    capability, make = request.param
    engine = resolve(capability)()
    engine.load(make(tmp_path), Options(batch_size=3), capability)
    return engine


@pytest.fixture(params=[capability for capability, _ in CASES])
def fresh(request: pytest.FixtureRequest) -> tuple[Engine, str]:
    return resolve(request.param)(), request.param


def test_inputs_made_from_its_signature_run(loaded: Engine) -> None:
    inputs = make_inputs(loaded.signature(), Options(batch_size=3))
    assert inputs
    assert all(value.shape[0] == 3 for value in inputs.values())
    assert loaded.bind(inputs)() is not None


def test_the_bound_call_can_be_made_again_and_again(loaded: Engine) -> None:
    call = loaded.bind(make_inputs(loaded.signature(), Options(batch_size=3)))
    for _ in range(20):
        assert call() is not None


def test_facts_are_json_and_name_runtime_version_and_inputs(loaded: Engine) -> None:
    loaded.bind(make_inputs(loaded.signature(), Options(batch_size=3)))()
    facts = loaded.facts()
    runtime = json.loads(json.dumps(facts.runtime))
    assert runtime["runtime"]
    assert runtime["version"]
    assert [entry["name"] for entry in runtime["inputs"]] == [spec.name for spec in loaded.signature()]
    assert all(isinstance(version, str) for version in facts.software.values())


def test_it_can_be_unloaded(loaded: Engine) -> None:
    loaded.unload()


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x00" * 100])
def test_a_file_that_is_no_model_is_refused_by_name(fresh: tuple[Engine, str], tmp_path: Path, content: bytes) -> None:
    engine, capability = fresh
    path = tmp_path / "strange.bin"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match=r"strange\.bin"):
        engine.load(path, Options(), capability)


def test_a_directory_and_a_missing_file_are_refused(fresh: tuple[Engine, str], tmp_path: Path) -> None:
    engine, capability = fresh
    for path in (tmp_path, tmp_path / "missing.onnx"):
        with pytest.raises(ModelInvalid):
            engine.load(path, Options(), capability)


def test_an_error_that_is_not_the_runtimes_is_not_explained_away(loaded: Engine) -> None:
    assert loaded.explain(LookupError("a defect")) is None


def test_the_engines_options_are_those_of_a_workload() -> None:
    given = EngineOptions(providers=("CPUExecutionProvider",), threads=2, graph="basic", batch_size=4, shapes={"x": (1, 2)}, seed=7)
    options = Options.from_json(json.loads(given.model_dump_json()))
    assert {name: getattr(options, name) for name in EngineOptions.model_fields} == given.model_dump()


def test_an_unknown_capability_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match=r"no engine runs 'cpu\.abacus' here\. Known: cpu\.onnx"):
        resolve("cpu.abacus")


@pytest.mark.parametrize(("capability", "extra"), [("cpu.onnx", "onnx"), ("gpu.cuda.onnx", "onnx-cuda")])
def test_a_missing_library_is_a_sentence(capability: str, extra: str) -> None:
    assert missing_extra(capability) == f"{capability} needs the extra '{extra}': pip install 'fleetmark[{extra}]'"


def test_every_entry_can_be_resolved_where_its_library_is_installed() -> None:
    for capability in ENGINES:
        assert {"load", "signature", "bind", "facts", "explain", "unload"} <= set(dir(resolve(capability)))
