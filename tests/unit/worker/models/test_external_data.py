"""The names of a model's weight files, read from the wire format, against models that the onnx package wrote."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from shared.errors import ModelInvalid
from tests import onnx_models
from tests.measuring import LIGHT_MODELS
from worker.models.external_data import external_locations


def stored_at(name: str, location: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_every_file_is_found_once_wherever_the_tensor_is(tmp_path: Path) -> None:
    """In initializers, in the attribute of a node, and in a subgraph of a branch."""
    scalar = onnx_models.tensor("y", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["c"], value=stored_at("v", "attribute.bin"))
    branch = helper.make_graph(
        [constant], "branch", [], [onnx_models.tensor("c", TensorProto.FLOAT, [1])], [stored_at("b", "deep/branch.bin")]
    )
    choose = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    inputs = [onnx_models.tensor("x", TensorProto.BOOL, [])]
    weights = [stored_at("w1", "one.bin"), stored_at("w2", "one.bin")]
    path = onnx_models.save(tmp_path / "m.onnx", [choose], inputs, [scalar], weights)
    assert sorted(external_locations(path)) == ["attribute.bin", "deep/branch.bin", "one.bin"]


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "inception_v2"])
def test_a_model_with_its_weights_inside_names_none(name: str) -> None:
    assert external_locations(LIGHT_MODELS / f"light_{name}.onnx") == []


@pytest.mark.parametrize("location", ["../w.bin", "/w.bin", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", ""])
def test_a_file_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    path = onnx_models.save(tmp_path / "m.onnx", [], [], [], [stored_at("w", location)])
    with pytest.raises(ModelInvalid, match=r"m\.onnx names .* only a relative path"):
        external_locations(path)


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.bin"
    path.write_bytes(content)
    try:
        external_locations(path)
    except ModelInvalid:  # a location by accident is still refused in one word
        return


def test_a_truncated_model_is_left_to_the_runtime(tmp_path: Path) -> None:
    whole = onnx_models.external(tmp_path).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[:-7])
    assert external_locations(tmp_path / "cut.onnx") == []
