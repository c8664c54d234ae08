"""Tests the engine of PyTorch with torch itself, on the CPU: models that users export, options, facts, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import EngineUnavailable, ModelInvalid
from tests.engines.one_run import run_once
from tests.engines.torch import networks
from worker.engines.base import Options
from worker.engines.registry import resolve

pytestmark = pytest.mark.filterwarnings("default")  # torch gives warnings about its own parts


def run(path: Path, **options: Any) -> dict[str, Any]:
    return run_once(path, "cpu.torch", Options(**options))


@pytest.mark.parametrize(
    ("make", "options", "shapes"),
    [
        (networks.mlp, {}, [[1, 8]]),
        (networks.convnet, {"batch_size": 5}, [[5, 3, 16, 16]]),
        (networks.words, {"batch_size": 3, "shapes": {"ids": (3, 6)}}, [[3, 6], [3, 6]]),
        (networks.two, {}, [[3, 4], [4, 5]]),
        (networks.traced, {"shapes": {"image": (2, 3, 20, 20)}}, [[2, 3, 20, 20]]),
        (networks.scripted, {"shapes": {"ids": (2, 4), "weights": (2, 4)}}, [[2, 4], [2, 4]]),
    ],
)
def test_what_users_export_runs_with_the_inputs_that_it_states(
    tmp_path: Path, make: Callable[[Path], Path], options: dict[str, Any], shapes: list[list[int]]
) -> None:
    found = run(make(tmp_path), **options)
    assert [one["bound_shape"] for one in found["inputs"]] == shapes
    assert isinstance(found["output"], torch.Tensor)
    assert torch.isfinite(found["output"]).all()


def test_the_answer_is_that_of_the_network(tmp_path: Path) -> None:
    found = run(networks.two(tmp_path))
    np.testing.assert_allclose(found["output"].numpy(), found["arrays"]["left"] @ found["arrays"]["right"] * 2.0, rtol=1e-5)


def test_a_model_in_the_cache_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    named_by_its_hash = shutil.copy(networks.mlp(tmp_path), tmp_path / ("a" * 64))
    assert run(Path(named_by_its_hash))["format"] == "exported program"


def test_facts_are_what_torch_reports(tmp_path: Path) -> None:
    found = run(networks.convnet(tmp_path), batch_size=2, threads=1)
    assert (found["runtime"], found["version"], found["software"]["torch"]) == ("torch", torch.__version__, torch.__version__)
    assert found["threads"] == {"intra_op": 1, "inter_op": torch.get_num_interop_threads()}
    assert (found["device"], found["dtype"], found["compile"]) == ("cpu", "float32", {"mode": "none"})
    assert (found["provider"], found["graph_level"]) == ("cpu", "eager")
    assert found["blas"] in torch.__config__.show()
    assert found["peak_gpu_mb"] is None
    assert "PyTorch built with" in found["build"]
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize(("dtype", "made"), [("bfloat16", np.uint16), ("float16", np.float16), ("float32", np.float32)])
def test_a_type_applies_to_weights_and_to_inputs_of_floating_point_numbers(tmp_path: Path, dtype: str, made: type) -> None:
    found = run(networks.words(tmp_path), dtype=dtype)
    assert found["output"].dtype == getattr(torch, dtype)
    assert (found["dtype"], found["dtypes"]) == (dtype, {dtype: 1})
    assert {name: array.dtype for name, array in found["arrays"].items()} == {"ids": np.dtype(np.int64), "mask": np.dtype(made)}


def test_a_value_in_bfloat16_reaches_the_network_as_it_is(tmp_path: Path) -> None:
    found = run(networks.two(tmp_path), dtype="bfloat16", values={"left": 1.5, "right": 2.0})
    assert set(found["output"].float().flatten().tolist()) == {1.5 * 2.0 * 4 * 2.0}


def test_a_type_that_the_graph_contradicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelInvalid, match=r"typed\.pt2 mixes types of elements: its graph has types written into it, so options\.dtype float16"
    ):
        run(networks.typed(tmp_path), dtype="float16")


def test_an_index_stays_within_its_table(tmp_path: Path) -> None:
    found = run(networks.words(tmp_path), shapes={"ids": (50, 60)})
    assert set(found["arrays"]["ids"].ravel().tolist()) == set(range(7))
    script = run(networks.scripted(tmp_path), shapes={"ids": (50, 60), "weights": (50, 60)})
    assert set(script["arrays"]["ids"].ravel().tolist()) == set(range(7))


def test_dimensions_that_nobody_sized_are_named(tmp_path: Path) -> None:
    found = run(networks.convnet(tmp_path))
    (symbol,) = found["assumed_dims"]
    assert (found["batch_size"], found["batch_symbol"]) == (1, symbol)


def test_sizes_outside_the_exported_range_are_refused_with_the_range(tmp_path: Path) -> None:
    path = networks.words(tmp_path)
    length = resolve("cpu.torch")()
    length.load(path, Options(), "cpu.torch")
    symbol = str((length.signature()[0].shape or ())[1])
    with pytest.raises(ModelInvalid, match=rf"'ids' has 65 for its dimension '{symbol}', but words\.pt2 was exported for 2 to 64: give"):
        run(path, dims={symbol: 65})
    assert run(path, dims={symbol: 64})["dims"][symbol] == 64


def test_a_size_that_is_calculated_is_given_by_its_symbol(tmp_path: Path) -> None:
    path = networks.divisible(tmp_path)
    engine = resolve("cpu.torch")()
    engine.load(path, Options(), "cpu.torch")
    part = str((engine.signature()[0].shape or ())[0])
    assert part.startswith("4*")
    assert run(path, dims={part.removeprefix("4*"): 3})["output"].shape == (3, 3)
    with pytest.raises(ModelInvalid, match=r"options\.shapes\.x makes '4\*s\d+' 6, but it is 4"):
        run(path, shapes={"x": (6, 3)})


def test_a_fixed_dimension_takes_no_other_size(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"options\.batch_size is 4, but the model's input 'x' is .*: its batch is fixed at 1"):
        run(networks.mlp(tmp_path), batch_size=4)


def test_torchscript_needs_shapes_and_no_compiler(tmp_path: Path) -> None:
    path = networks.scripted(tmp_path)
    with pytest.raises(ModelInvalid, match=r"these inputs do not say their shapes: give options\.shapes: \{ids: …?.*weights"):
        run(path)
    with pytest.raises(ModelInvalid, match=r"options\.compile is 'default', but scripted\.pt is TorchScript"):
        run(path, compile="default", shapes={"ids": (2, 4), "weights": (2, 4)})
    with pytest.raises(ModelInvalid, match=r"does not take inputs of these shapes"):
        run(path, shapes={"ids": (2, 4), "weights": (2, 5)})


def test_training_mode_is_told(tmp_path: Path) -> None:
    assert "exported in training mode" in run(networks.convnet(tmp_path, training=True))["warnings"][0]
    assert run(networks.convnet(tmp_path))["warnings"] == []


def test_torch_compile_compiles_before_the_warm_up(tmp_path: Path) -> None:
    found = run(networks.mlp(tmp_path), compile="default")
    assert found["compile"]["mode"] == "default"
    assert found["compile"]["graphs"] >= 1
    assert found["compile"]["seconds"] > 0
    assert found["output"].shape == (1, 4)


def test_no_compiler_is_a_sentence(tmp_path: Path) -> None:
    torch._inductor.config.cpp.cxx = ("/nowhere/c++",)
    torch._dynamo.reset()
    torch.compiler.config.force_disable_caches = True
    try:
        with pytest.raises(EngineUnavailable, match=r"options\.compile max-.* needs a C\+\+ compiler on the device"):
            run(networks.two(tmp_path), compile="max-autotune-no-cudagraphs")
    finally:
        torch._inductor.config.cpp.cxx = (None, "g++")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (touched,)

    for name, content in (("old.bin", pickle.dumps(Hostile())), ("old.pth", pickle.dumps(Hostile(), protocol=2))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelInvalid, match=rf"{name} is a pickle, as torch\.save makes it: .* torch\.export\.save"):
            run(tmp_path / name)
    torch.save(Hostile(), tmp_path / "new.pt")
    for path in (tmp_path / "new.pt", networks.pickled(tmp_path)):
        with pytest.raises(ModelInvalid, match=rf"{path.name} is a pickle"):
            run(path)
    assert not touched.exists()


@pytest.mark.parametrize("record", ["data/sample_inputs/model.pt", "data/weights/weight_0"])
def test_a_pickle_within_an_exported_program_runs_nothing(tmp_path: Path, record: str) -> None:
    touched = tmp_path / "touched"

    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (touched,)

    def change(name: str, content: bytes) -> bytes:
        if name.endswith(record):
            saved = io.BytesIO()
            torch.save(Hostile(), saved)
            return saved.getvalue()
        if name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true').replace(b'"use_pickle":false', b'"use_pickle":true')
        return content

    path = changed(networks.mlp(tmp_path), tmp_path / "hostile.pt2", change)
    with pytest.raises(ModelInvalid, match="hostile"):
        run(path)
    assert not touched.exists()


@pytest.mark.parametrize("where", ["expr_str", "guards_code", "target", "opaque"])
def test_a_text_that_torch_would_run_as_code_is_refused(tmp_path: Path, where: str) -> None:
    touched = tmp_path / "touched"
    code = f"__import__('pathlib').Path({str(touched)!r}).touch()"

    def change(name: str, content: bytes) -> bytes:
        if where == "opaque" and name.endswith("model_constants_config.json"):
            return json.dumps({"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": True, "is_param": False}}}).encode()
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        if where == "guards_code":
            program["guards_code"] = [code]
        elif where == "target":
            program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"
        else:
            sizes = program["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
            sizes[0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 2}}}
        return json.dumps(program).encode()

    path = changed(networks.convnet(tmp_path), tmp_path / "hostile.pt2", change)
    with pytest.raises(ModelInvalid, match=r"hostile\.pt2"):
        run(path)
    assert not touched.exists()


def changed(path: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return target


@pytest.mark.parametrize("keep", [0.5, 0.97])
def test_a_truncated_file_is_refused_by_its_name(tmp_path: Path, keep: float) -> None:
    for path in (networks.mlp(tmp_path), networks.traced(tmp_path)):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(ModelInvalid, match=path.name):
            run(path)


def test_a_weight_that_is_missing_is_told(tmp_path: Path) -> None:
    path, broken = networks.mlp(tmp_path), tmp_path / "broken.pt2"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(broken, "w") as after:
        for name in before.namelist():
            if not name.endswith("weight_0"):
                after.writestr(name, before.read(name))
    with pytest.raises(ModelInvalid, match=r"broken\.pt2 is damaged or truncated: torch .* cannot read its archive"):
        run(broken)


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.fail("this machine has a GPU: run the model on it here, too")
    engine = resolve("gpu.cuda.torch")()
    with pytest.raises(EngineUnavailable, match=r"finds no CUDA device here: install a build of torch with CUDA"):
        engine.load(networks.mlp(tmp_path), Options(), "gpu.cuda.torch")


def test_a_network_whose_sizes_depend_on_its_data_is_no_code(tmp_path: Path) -> None:
    class Found(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return torch.nonzero(x), torch.masked_select(x, x > 0), torch.cond(x.shape[0] > 4, lambda x: x + 1, lambda x: x - 1, (x,))

    path = tmp_path / "net.pt2"
    size = torch.export.Dim("rows", min=2, max=9)
    torch.export.save(torch.export.export(Found(), (torch.ones(3, 2),), dynamic_shapes=({0: size},)), path)
    engine = resolve("cpu.torch")()
    engine.load(path, Options(), "cpu.torch")
    answers: Any = engine.bind({"x": np.ones((6, 2), np.float32)})()
    positions, chosen, answer = answers
    assert (len(positions), len(chosen), answer.tolist()[0]) == (12, 12, [2.0, 2.0])


def test_a_script_without_the_method_that_is_called_is_refused(tmp_path: Path) -> None:
    class Other(torch.nn.Module):  # type: ignore[misc]
        @torch.jit.export  # type: ignore[untyped-decorator]
        def infer(self, x: torch.Tensor) -> torch.Tensor:
            return x

    torch.jit.save(torch.jit.script(Other()), tmp_path / "net.pt")
    engine = resolve("cpu.torch")()
    engine.load(tmp_path / "net.pt", Options(), "cpu.torch")
    with pytest.raises(ModelInvalid, match=r"net\.pt has no method `forward`"):
        engine.signature()
