"""Tests the engine of CoreML with real models and the real coremltools. Only the framework of macOS is replaced by a double."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.inputs import ModelRef
from shared.model_packages import MANIFEST
from tests import onnx_models
from tests.engines.coreml import double, models
from tests.engines.one_run import run_once
from worker.engines.base import Options
from worker.engines.coreml import COREML, ONNX, format_of
from worker.engines.coreml_model import CoremlModelEngine
from worker.engines.coreml_presence import why_not
from worker.engines.coreml_probe import probe, write_model
from worker.engines.registry import model_suffixes
from worker.hardware import detect
from worker.models import ModelStore

pytestmark = pytest.mark.filterwarnings("default")  # coremltools gives warnings about its own parts


@pytest.fixture
def framework() -> Iterator[type[double.Proxy]]:
    with double.installed() as proxy:
        proxy.plan = double.plan_of(CPU=1, GPU=1)
        yield proxy


def run(path: Path, capability: str = "cpu.coreml", **options: Any) -> dict[str, Any]:
    return run_once(path, capability, Options(**options))


@pytest.mark.parametrize(
    ("capability", "unit", "plan", "provider", "share"),
    [
        ("cpu.coreml", "CPU_ONLY", {"CPU": 5}, "CPU", 1.0),
        ("gpu.coreml", "CPU_AND_GPU", {"CPU": 1, "GPU": 4}, "GPU", 0.8),
        ("ane.coreml", "CPU_AND_NE", {"CPU": 1, "NeuralEngine": 3}, "NeuralEngine", 0.75),
    ],
)
def test_the_compute_unit_asked_for_and_the_devices_planned_are_facts(
    tmp_path: Path, framework: type[double.Proxy], capability: str, unit: str, plan: dict[str, int], provider: str, share: float
) -> None:
    framework.plan = double.plan_of(**plan)
    found = run(models.package(tmp_path / "net.mlpackage") / MANIFEST, capability)
    assert framework.used[-1] == unit
    assert (found["compute_unit"], found["provider"], found["provider_share"]) == (unit, provider, share)
    assert found["operations_by_device"] == plan
    assert (found["runtime"], found["coremltools"], found["model_type"]) == ("coreml", coremltools.__version__, "mlProgram")
    assert [(one["name"], one["type"], one["bound_shape"]) for one in found["inputs"]] == [("x", "float", [1, 3, 8, 8])]
    assert found["output"]


def test_a_device_that_coreml_does_not_use_is_refused(tmp_path: Path, framework: type[double.Proxy]) -> None:
    framework.plan = double.plan_of(CPU=9, NeuralEngine=1)
    path = models.package(tmp_path / "net.mlpackage") / MANIFEST
    with pytest.raises(
        EngineUnavailable, match=r"CoreML does not use the NeuralEngine: ane\.coreml .* 10 operations it plans 9 on CPU, 1 on N"
    ):
        run(path, "ane.coreml")


def test_a_macos_without_plans_measures_and_says_that_the_device_is_not_known(tmp_path: Path, framework: type[double.Proxy]) -> None:
    framework.plan = None
    found = run(models.package(tmp_path / "net.mlpackage") / MANIFEST, "gpu.coreml")
    assert (found["provider"], found["provider_share"]) == ("CPU_AND_GPU", None)
    assert "it is not known which device CoreML uses (macOS 14.4 or newer says it)" in found["warnings"][0]


def test_float16_is_bound_as_the_model_states_it(tmp_path: Path, framework: type[double.Proxy]) -> None:
    found = run(models.package(tmp_path / "half.mlpackage", dtype=np.float16) / MANIFEST)
    assert found["arrays"]["x"].dtype == np.float16


def test_a_network_in_one_file_is_read_under_any_name(tmp_path: Path, framework: type[double.Proxy]) -> None:
    path = shutil.copy(models.network(tmp_path / "net.mlmodel"), tmp_path / ("b" * 64))
    found = run(Path(path))
    assert (found["model_type"], found["inputs"][0]["type"], found["inputs"][0]["bound_shape"]) == ("neuralNetwork", "double", [2, 4])


def test_shapes_that_the_model_lists_are_accepted_and_no_others(tmp_path: Path, framework: type[double.Proxy]) -> None:
    path = models.network(tmp_path / "net.mlmodel", shapes=[(2, 4), (2, 8)])
    assert run(path, shapes={"x": (2, 8)})["inputs"][0]["shape"] == [2, None]
    with pytest.raises(
        ModelInvalid, match=r"'x' has the shape \[2, 5\], but the model accepts \[2, 4\] or \[2, 8\] only: give options\.shapes"
    ):
        run(path, shapes={"x": (2, 5)})


def test_sizes_in_a_range_are_accepted_and_no_others(tmp_path: Path, framework: type[double.Proxy]) -> None:
    path = models.network(tmp_path / "net.mlmodel", bounds=[(2, 16), (4, -1)])
    assert run(path, shapes={"x": (9, 1000)})["inputs"][0]["bound_shape"] == [9, 1000]
    with pytest.raises(
        ModelInvalid, match=r"'x' has the shape \[17, 4\], but the model accepts 2 to 16, 4 to any: give options\.shapes: \{x: \["
    ):
        run(path, shapes={"x": (17, 4)})


def test_an_image_is_given_as_an_image(tmp_path: Path, framework: type[double.Proxy]) -> None:
    found = run(models.picture(tmp_path / "picture.mlmodel"))
    assert [(one["type"], one["bound_shape"]) for one in found["inputs"]] == [("uint8", [6, 8, 3])]


def test_an_input_for_which_no_values_can_be_made_is_refused(tmp_path: Path, framework: type[double.Proxy]) -> None:
    with pytest.raises(ModelInvalid, match=r"has an input 'x' of CoreML's type dictionary, for which no values can be made"):
        run(models.with_dictionary(tmp_path / "net.mlmodel"))


def test_what_coreml_says_reaches_the_user(tmp_path: Path, framework: type[double.Proxy]) -> None:
    path = models.package(tmp_path / "net.mlpackage") / MANIFEST
    framework.fails = "MultiArray shape (1 x 3 x 9 x 9) does not match the shape (1 x 3 x 8 x 8) specified in the model description"
    with pytest.raises(ModelInvalid, match=r"does not take inputs of these shapes: change options\.shapes\. CoreML says: MultiArray"):
        run(path)
    framework.refuses = "Error compiling model: unknown layer"
    with pytest.raises((ModelInvalid, EngineUnavailable), match="Error compiling model: unknown layer"):
        run(path)


@pytest.mark.parametrize("option", [{"threads": 2}, {"graph": "basic"}])
def test_options_of_the_onnx_runtime_are_refused_for_coremls_own_models(
    tmp_path: Path, framework: type[double.Proxy], option: dict[str, Any]
) -> None:
    with pytest.raises(EngineUnavailable, match=r"CoreML lets nobody choose that for its own models: leave it out"):
        run(models.network(tmp_path / "net.mlmodel"), **option)


@pytest.mark.skipif(platform.system() == "Darwin", reason="there CoreML is real")
def test_without_macos_a_model_is_read_and_the_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"CoreML runs on macOS only, and this is Linux"):
        run(models.package(tmp_path / "net.mlpackage") / MANIFEST)


def test_the_format_is_known_by_the_content(tmp_path: Path) -> None:
    assert format_of(models.package(tmp_path / "net.mlpackage") / MANIFEST) == COREML
    assert format_of(models.network(tmp_path / "net.mlmodel")) == COREML
    assert format_of(onnx_models.linear(tmp_path / "net.onnx")) == ONNX
    (tmp_path / "strange.mlmodel").write_bytes(b"\x08\x04 nothing else")
    with pytest.raises(ModelInvalid, match=r"strange\.mlmodel is no model of CoreML \(\.mlpackage, \.mlmodel\) and no ONNX model"):
        format_of(tmp_path / "strange.mlmodel")


def test_an_onnx_model_goes_to_the_provider_of_coreml(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"CoreMLExecutionProvider is not in this worker's ONNX Runtime"):
        run(onnx_models.linear(tmp_path / "net.onnx"), "ane.coreml")


def test_a_package_on_the_workers_disk_is_fetched_whole(tmp_path: Path, framework: type[double.Proxy]) -> None:
    package = models.package(tmp_path / "net.mlpackage")
    store = ModelStore(tmp_path / "cache", host=None, token=None, max_bytes=2**30)
    found = store.fetch(ModelRef(source=package.as_uri(), name="net.mlpackage"), lambda _: None, model_suffixes("cpu.coreml"))
    assert found.path == package / MANIFEST
    assert found.size == sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    assert run(found.path)["model_type"] == "mlProgram"


def test_the_probe_computes_with_each_unit(tmp_path: Path, framework: type[double.Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framework, "predict", lambda _self, data, _state: {"y": data["x"] * 2})
    assert probe(coremltools, tmp_path) == {"cpu.coreml": "", "gpu.coreml": "", "ane.coreml": ""}
    assert framework.used == ["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"]
    monkeypatch.setattr(framework, "predict", lambda _self, data, _state: {"y": data["x"]})
    assert probe(coremltools, tmp_path)["gpu.coreml"] == "CoreML computed 4.0 with CPU_AND_GPU where 8 is right"


def test_the_tiny_model_of_the_trial_is_measured(tmp_path: Path, framework: type[double.Proxy]) -> None:
    write_model(coremltools, str(tmp_path / "tiny.mlmodel"))
    assert run(tmp_path / "tiny.mlmodel")["inputs"][0]["bound_shape"] == [4]


@pytest.mark.skipif(platform.system() == "Darwin", reason="there CoreML is real")
def test_a_mac_on_which_nothing_answers_offers_nothing() -> None:
    here = detect()
    assert why_not("cpu.coreml", here) == "CoreML needs macOS; this is Linux"
    mac = replace(here, system=replace(here.system, os="macOS"), cpu=replace(here.cpu, architecture="x86_64"))
    assert why_not("ane.coreml", mac) == "the Neural Engine needs Apple silicon"
    assert "only supported on macOS" in why_not("gpu.coreml", mac)


def test_the_probe_answers_in_a_process_of_its_own() -> None:
    code = "from worker.engines.coreml_probe import main; main([])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answer = json.loads(child.stdout.strip().splitlines()[-1])
    assert answer["error"] == ""
    assert set(answer["units"]) == {"cpu.coreml", "gpu.coreml", "ane.coreml"}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "holds no model: the file is empty or was cut off"), (b"hello, this is no model", "it is no CoreML model, or a damaged one")],
)
def test_a_file_without_a_model_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "net.mlmodel").write_bytes(content)
    with pytest.raises(ModelInvalid, match=rf"net\.mlmodel.*{said}"):
        CoremlModelEngine().load(tmp_path / "net.mlmodel", Options(), "cpu.coreml")


def test_a_package_that_is_not_whole_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    whole = models.package(tmp_path / "net.mlpackage")
    manifest = whole / "Manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"rootModelIdentifier": "another"}))
    with pytest.raises(ModelInvalid, match="its manifest names no model that is in the package"):
        CoremlModelEngine().load(manifest, Options(), "cpu.coreml")
    manifest.write_text(json.dumps(content))
    (whole / "Data/com.apple.CoreML/weights/weight.bin").unlink()
    (whole / "Data/com.apple.CoreML/weights").rmdir()
    with pytest.raises(ModelInvalid, match="a file that its manifest names is missing; copy the whole folder"):
        CoremlModelEngine().load(manifest, Options(), "cpu.coreml")
