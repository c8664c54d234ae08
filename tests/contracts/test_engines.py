"""Tests that every engine, including the fake one, keeps its promises to the measured process.

Where torch is not installed, its engine runs on a double of torch. `make test-torch` runs these tests with torch itself.
"""

from __future__ import annotations

import gc
import inspect
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.capabilities import LABELS, kinds_of
from shared.engine_options import EngineOptions
from shared.errors import EngineUnavailable, ModelInvalid
from shared.installation import how_to_install
from shared.kinds.inference import Inference
from tests import onnx_models, onnx_people, torch_models
from tests.measuring import schedule
from worker.engines.base import Engine, Options
from worker.engines.inputs import make_inputs
from worker.engines.registry import ENGINES, check_options, missing_extra, resolve

BATCH = "batch"
Case = tuple[str, Callable[[Path], Path]]
CASES: list[Case] = [
    ("fake", lambda folder: schedule(folder, calls_s=[0.001])),
    ("cpu.onnx", lambda folder: onnx_models.linear(folder / "linear.onnx", batch=BATCH)),
    ("cpu.torch", lambda folder: torch_models.linear(folder / "linear.pt2")),
]
# The one input of each of these models indexes a table of seven rows.
INDEXING: list[Case] = [
    ("fake", lambda folder: schedule(folder, inputs=[["ids", "int64", [BATCH, 1]]], table_rows={"ids": 7})),
    ("cpu.onnx", lambda folder: onnx_people.table(folder / "table.onnx", BATCH, rows=7)),
    ("cpu.torch", lambda folder: torch_models.table(folder / "table.pt2", rows=7)),
]


@pytest.fixture(autouse=True, scope="module")
def _torch() -> Iterator[None]:
    with torch_models.torch_or_its_double():
        yield


def batch_of(engine: Engine) -> str:
    """Return what the model calls its batch. An exported program of PyTorch does not keep the name that it was given."""
    (batch,) = {spec.shape[0] for spec in engine.signature() if spec.shape}
    return str(batch)


@pytest.fixture(params=CASES, ids=[capability for capability, _ in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def loaded(case: Case, tmp_path: Path) -> Engine:
    capability, make = case
    engine = resolve(capability)()
    engine.load(make(tmp_path), Options(batch_size=3), capability)
    return engine


@pytest.fixture(params=INDEXING, ids=[capability for capability, _ in INDEXING])
def indexing(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    capability, make = request.param
    engine = resolve(capability)()
    engine.load(make(tmp_path), Options(), capability)
    return engine


@pytest.fixture(params=[*(capability for capability, _ in CASES), "cpu.coreml"])
def fresh(request: pytest.FixtureRequest) -> tuple[Engine, str]:
    return resolve(request.param)(), request.param


def test_inputs_made_from_its_signature_run(loaded: Engine, tmp_path: Path) -> None:
    inputs = make_inputs(loaded, Options(batch_size=3), tmp_path)
    assert inputs.arrays
    assert all(value.shape[0] == 3 for value in inputs.arrays.values())
    assert loaded.bind(inputs.arrays)() is not None


def test_what_was_bound_is_what_is_reported(loaded: Engine, tmp_path: Path) -> None:
    inputs = make_inputs(loaded, Options(batch_size=3), tmp_path)
    loaded.bind(inputs.arrays)()
    runtime = json.loads(json.dumps(inputs.report(loaded.facts().runtime)))
    assert runtime["batch_size"] == 3
    assert runtime["assumed_dims"] == {}
    assert runtime["dims"] == {batch_of(loaded): 3}
    assert [entry["bound_shape"][0] for entry in runtime["inputs"]] == [3]
    assert [entry["shape"][0] for entry in runtime["inputs"]] == [batch_of(loaded)]
    assert [entry["values"] for entry in runtime["inputs"]] == ["drawn from 0 to 1"]
    assert [len(entry["values_sha256"]) for entry in runtime["inputs"]] == [64]
    assert runtime["warnings"] == []


def test_indices_stay_within_the_table_that_the_model_has(indexing: Engine, tmp_path: Path) -> None:
    inputs = make_inputs(indexing, Options(dims={batch_of(indexing): 200}), tmp_path)
    assert set(inputs.arrays["ids"].ravel().tolist()) == set(range(7))
    assert inputs.filled["ids"] == "drawn from 0 to 6, as it indexes a table of 7 rows"
    with pytest.raises(ModelInvalid, match=r"options\.values\.ids has values .* but it indexes a table of 7 rows: give \[0, 6\]"):
        make_inputs(indexing, Options(dims={batch_of(indexing): 200}, values={"ids": [0, 30_521]}), tmp_path)


def test_a_size_that_the_model_has_no_dimension_for_is_refused(loaded: Engine, tmp_path: Path) -> None:
    with pytest.raises(
        ModelInvalid, match=f"options.dims names 'depth', which is no free dimension of the model: .*Known: {batch_of(loaded)}"
    ):
        make_inputs(loaded, Options(dims={"depth": 3}), tmp_path)


def test_the_bound_call_can_be_made_again_and_again(loaded: Engine, tmp_path: Path) -> None:
    call = loaded.bind(make_inputs(loaded, Options(batch_size=3), tmp_path).arrays)
    for _ in range(20):
        assert call() is not None


def test_facts_are_json_and_name_runtime_version_and_inputs(loaded: Engine, tmp_path: Path) -> None:
    loaded.bind(make_inputs(loaded, Options(batch_size=3), tmp_path).arrays)()
    facts = loaded.facts()
    runtime = json.loads(json.dumps(facts.runtime))
    assert runtime["runtime"]
    assert runtime["version"]
    if runtime["runtime"] != "fake":  # two results must both have this value before they may be compared
        assert {"provider", "graph_level", "threads"} <= runtime.keys()
    assert [entry["name"] for entry in runtime["inputs"]] == [spec.name for spec in loaded.signature()]
    assert all(isinstance(version, str) for version in facts.software.values())


def test_unloading_lets_go_of_the_model_and_the_engine_can_load_again(case: Case, loaded: Engine, tmp_path: Path) -> None:
    capability, make = case
    held = [
        weakref.ref(value) for value in vars(loaded).values() if type(value).__name__ in ("InferenceSession", "mmap", "ExportedProgram")
    ]
    assert held, "this engine keeps its model in nothing that this test knows: name the type here"
    loaded.unload()
    gc.collect()
    assert [reference() for reference in held] == [None] * len(held)
    loaded.load(make(tmp_path), Options(batch_size=3), capability)
    assert loaded.bind(make_inputs(loaded, Options(batch_size=3), tmp_path).arrays)() is not None


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
    written = {
        "providers": ["CPUExecutionProvider"],
        "threads": 2,
        "graph": "basic",
        "dtype": "float16",
        "compile": "max-autotune",
        "tensor_parallel_size": 2,
        "max_model_len": 512,
        "gpu_memory_utilization": 0.5,
        "batch_size": 4,
        "shapes": {"x": [1, 2]},
        "dims": {"batch": 8, "past": 0},
        "values": {"flag": False, "ids": [0, 30521], "city": ["Paris", "Rome"], "m": {"array": [[1, 2]]}, "f": "mask.npz", "r": [0.5, 1]},
        "seed": 7,
    }
    given = EngineOptions.model_validate_json(json.dumps(written))
    options = Options.from_json(json.loads(given.model_dump_json()))
    assert {
        name: getattr(options, name) for name in EngineOptions.model_fields if name not in ("providers", "shapes", "inter_threads")
    } == {name: value for name, value in written.items() if name not in ("providers", "shapes")}
    assert options.providers == ("CPUExecutionProvider",)
    assert options.shapes == {"x": (1, 2)}
    assert Options.from_json(given.model_dump()).dims == {"batch": 8, "past": 0}


def test_what_recipes_may_ask_for_is_what_an_engine_runs() -> None:
    """The orchestrator does not import the registry of engines, so `shared` has a list of the names too."""
    assert {name for name in LABELS if Inference.name in kinds_of(name)} == set(ENGINES) - {"fake"}


@pytest.mark.parametrize("capability", list(ENGINES))
def test_an_option_that_an_engine_does_not_know_is_refused_and_not_ignored(capability: str) -> None:
    known = ENGINES[capability].options
    examples: dict[str, Any] = {
        "providers": ("X",),
        "threads": 2,
        "inter_threads": 2,
        "graph": "basic",
        "dtype": "float16",
        "compile": "default",
        "tensor_parallel_size": 2,
        "max_model_len": 512,
        "gpu_memory_utilization": 0.5,
    }
    check_options(capability, Options(batch_size=2, shapes={}, dims={}, values={}, seed=3, **{name: examples[name] for name in known}))
    for name in examples.keys() - known:
        with pytest.raises(
            EngineUnavailable,
            match=rf"options\.{name} is .*, but {capability} has no such option: leave it out, (or measure on \w|because it)",
        ):
            check_options(capability, Options(**{name: examples[name]}))


def test_an_unknown_capability_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match=r"no engine runs 'cpu\.abacus' here\. Known: cpu\.onnx"):
        resolve("cpu.abacus")


@pytest.mark.parametrize(
    ("capability", "extra"), [("cpu.onnx", "onnx"), ("gpu.cuda.onnx", "onnx-cuda"), ("gpu.mps.torch", "torch"), ("ane.coreml", "coreml")]
)
def test_a_missing_library_is_a_sentence(capability: str, extra: str) -> None:
    assert missing_extra(capability) == f"{capability} needs the extra '{extra}': {how_to_install(extra)}"


@pytest.mark.parametrize("capability", list(ENGINES))
def test_every_entry_has_the_methods_of_the_port_with_their_arguments(capability: str) -> None:
    port = {name: inspect.signature(method) for name, method in vars(Engine).items() if inspect.isfunction(method) and name[0] != "_"}
    assert len(port) >= 6
    engine = resolve(capability)
    for name, wanted in port.items():
        assert list(inspect.signature(getattr(engine, name)).parameters) == list(wanted.parameters), name
