"""Tests the PyTorch engine on a GPU with a double of torch, because the test machines have no GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from tests import torch_double
from worker.engines.base import Options
from worker.engines.inputs import make_inputs
from worker.engines.registry import resolve
from worker.engines.torch_devices import open_device
from worker.engines.torch_probe import probe

X: list[tuple[str, str, list[int | str]]] = [("x", "float32", ["s77", 2])]


@pytest.fixture
def torch() -> Iterator[torch_double.Double]:
    with torch_double.installed() as double:
        yield double


def bound(path: Path, capability: str, **options: Any) -> tuple[Any, Any]:
    engine, chosen = resolve(capability)(), Options(**options)
    engine.load(path, chosen, capability)
    return engine, engine.bind(make_inputs(engine, chosen, path.parent).arrays)


def test_a_call_on_a_gpu_ends_when_its_event_is_reached(tmp_path: Path, torch: torch_double.Double) -> None:
    torch.cuda.there = True
    _, call = bound(torch_double.save(tmp_path / "net.pt2", "linear", X), "gpu.cuda.torch", batch_size=4)
    torch.log.clear()
    call()
    call()
    assert torch.log == ["queued", "recorded", "waited"] * 2


def test_the_load_ends_when_the_weights_are_on_the_gpu_and_the_inference_has_a_peak_of_its_own(
    tmp_path: Path, torch: torch_double.Double
) -> None:
    torch.cuda.there, torch.cuda.peak = True, 96 * 2**20
    engine = resolve("gpu.cuda.torch")()
    path = torch_double.save(tmp_path / "net.pt2", "linear", X)
    engine.load(path, Options(), "gpu.cuda.torch")
    assert torch.log == ["new peak", "synchronised"]
    engine.bind(make_inputs(engine, Options(), tmp_path).arrays)
    assert torch.log[-2:] == ["synchronised", "new peak"]
    torch.cuda.peak = 128 * 2**20
    runtime = json.loads(json.dumps(engine.facts().runtime))
    assert (runtime["load_peak_gpu_mb"], runtime["peak_gpu_mb"], runtime["reserved_gpu_mb"]) == (96, 128, 256)


def test_what_torch_says_of_the_gpu_is_reported(tmp_path: Path, torch: torch_double.Double) -> None:
    torch.cuda.there = True
    engine, _ = bound(torch_double.save(tmp_path / "net.pt2", "linear", X), "gpu.cuda.torch")
    runtime = engine.facts().runtime
    expected = {"device": "cuda", "device_name": "NVIDIA Double", "compute_capability": "9.0", "cuda": "12.8", "cudnn": 91_002}
    assert expected.items() <= runtime.items()
    assert "nothing is copied within an inference" in runtime["binding"]
    assert runtime["synchronised"] == "by an event after each inference"


def test_the_gpu_of_a_mac_is_waited_for(tmp_path: Path, torch: torch_double.Double) -> None:
    torch.backends.mps.is_available = lambda: True
    engine, call = bound(torch_double.save(tmp_path / "net.pt2", "linear", X), "gpu.mps.torch")
    torch.log.clear()
    call()
    assert torch.log == ["queued", "waited"]
    runtime = engine.facts().runtime
    assert (runtime["device"], runtime["gpu_mb"], runtime["peak_gpu_mb"]) == ("mps", 32, None)


def test_a_device_that_is_not_there_is_a_sentence() -> None:
    double = torch_double.Double()
    with pytest.raises(EngineUnavailable, match=r"finds no CUDA device here: check the driver \(`nvidia-smi`\)"):
        open_device(double, "gpu.cuda.torch")
    double.version.cuda = None
    with pytest.raises(EngineUnavailable, match=r"finds no CUDA device here: install a build of torch with CUDA"):
        open_device(double, "gpu.cuda.torch")
    with pytest.raises(EngineUnavailable, match=r"finds no MPS device here: it was built without MPS"):
        open_device(double, "gpu.mps.torch")


def test_an_error_of_the_gpu_is_explained(tmp_path: Path, torch: torch_double.Double) -> None:
    torch.cuda.there = True
    message = "CUDA out of memory. Tried to allocate 2.00 GiB"
    engine, call = bound(torch_double.save(tmp_path / "net.pt2", "linear", X, raises=message), "gpu.cuda.torch")
    with pytest.raises(RuntimeError) as caught:
        call()
    reason = engine.explain(caught.value)
    assert isinstance(reason, ModelInvalid)
    assert reason.detail.startswith("net.pt2 does not fit into the memory of cuda on this device: take a smaller batch or model.")


def test_a_compiler_that_compiles_nothing_is_not_measured(tmp_path: Path, torch: torch_double.Double) -> None:
    engine, _ = bound(torch_double.save(tmp_path / "net.pt2", "linear", X), "cpu.torch", compile="reduce-overhead")
    compiled = engine.facts().runtime["compile"]
    assert (compiled["mode"], compiled["graphs"], compiled["graph_breaks"]) == ("reduce-overhead", 1, 0)
    with pytest.raises(EngineUnavailable, match=r"torch\.compile left none\.pt2 as it was"):
        bound(torch_double.save(tmp_path / "none.pt2", "linear", X, graphs=0), "cpu.torch", compile="default")
    path = torch_double.save(tmp_path / "bad.pt2", "linear", X, compile_raises="InvalidCxxCompiler: No working C++ compiler found")
    with pytest.raises(EngineUnavailable, match=r"options\.compile default needs a C\+\+ compiler on the device"):
        bound(path, "cpu.torch", compile="default")


def test_threads_and_types_reach_torch(tmp_path: Path, torch: torch_double.Double) -> None:
    path = torch_double.save(tmp_path / "net.pt2", "linear", X)
    engine, _ = bound(path, "cpu.torch", threads=3, inter_threads=5, dtype="bfloat16")
    runtime = engine.facts().runtime
    assert runtime["threads"] == {"intra_op": 3, "inter_op": 5}
    assert (runtime["dtype"], runtime["dtypes"]) == ("bfloat16", {"bfloat16": 1})
    assert not torch.grad
    assert make_inputs(engine, Options(), tmp_path).arrays["x"].dtype == np.uint16, "the bits of bfloat16"


def test_the_probe_names_the_devices_that_compute(monkeypatch: pytest.MonkeyPatch, torch: torch_double.Double) -> None:
    made: dict[str, float] = {"cpu": 8.0, "cuda": 7.0}

    class Product:
        def __init__(self, device: str) -> None:
            self.device = device

        def __matmul__(self, _other: Any) -> Any:
            return {(0, 0): SimpleNamespace(item=lambda: made[self.device])}

    monkeypatch.setattr(torch, "full", lambda _shape, _value, device: Product(device), raising=False)
    torch.cuda.there = True
    found = probe()
    assert found["error"] == ""
    assert found["devices"]["cpu"] == ""
    assert found["devices"]["cuda"] == "torch computed 7.0 on cuda where 8 is right"
    assert "finds no MPS device" in found["devices"]["mps"]
