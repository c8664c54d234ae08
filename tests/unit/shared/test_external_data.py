"""Tests the names of weight files read from the wire format, with models that the onnx package wrote."""

from __future__ import annotations

import mmap
from pathlib import Path

import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from shared import external_data
from shared.errors import ModelInvalid
from shared.external_data import MAX_DEPTH, external_locations, is_inside
from tests import onnx_models
from tests.measuring import LIGHT_MODELS


def found_in(path: Path) -> list[str]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return external_locations(data, path.name)


def stored_at(name: str, location: str, offset: str = "0") -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value=offset)
    tensor.external_data.add(key="location", value=location)
    return tensor


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of the wire format."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def nested(levels: int, innermost: bytes) -> bytes:
    """Return a graph that is nested in attributes of nodes, `levels` deep. It is three messages deeper for each level."""
    graph = innermost
    for _ in range(levels):
        graph = field(1, field(5, field(6, graph)))  # these are a node, its attribute, and the attribute's graph
    return field(7, graph)


def test_every_file_is_found_once_wherever_the_tensor_is(tmp_path: Path) -> None:
    """The tensors are in initializers, in the attribute of a node, in a subgraph of a branch, and in a default of a function."""
    scalar = onnx_models.tensor("y", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["c"], value=stored_at("v", "attribute.bin"))
    branch = helper.make_graph(
        [constant], "branch", [], [onnx_models.tensor("c", TensorProto.FLOAT, [1])], [stored_at("b", "deep/branch.bin")]
    )
    choose = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    inputs = [onnx_models.tensor("x", TensorProto.BOOL, [])]
    weights = [stored_at("w1", "one.bin"), stored_at("w2", "one.bin")]
    path = onnx_models.save(tmp_path / "m.onnx", [choose], inputs, [scalar], weights)
    model = onnx.load(path, load_external_data=False)
    function = model.functions.add(name="f", domain="d")
    function.attribute_proto.append(helper.make_attribute("default", stored_at("f", "function.bin")))
    path.write_bytes(model.SerializeToString())
    assert sorted(found_in(path)) == ["attribute.bin", "deep/branch.bin", "function.bin", "one.bin"]


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "inception_v2"])
def test_a_model_with_its_weights_inside_names_none(name: str) -> None:
    assert found_in(LIGHT_MODELS / f"light_{name}.onnx") == []


@pytest.mark.parametrize(
    "location",
    [
        *("../w.bin", "/w.bin", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", "c:w.bin", "", ".", "folder/", "a\0b", "a\nb", "//host/w.bin"),
        "*/_ORT_MEM_ADDR_/*",  # ONNX Runtime uses this name for an address in its memory
    ],
)
def test_a_file_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    path = onnx_models.save(tmp_path / "m.onnx", [], [], [], [stored_at("w", location)])
    with pytest.raises(ModelInvalid, match=r"m\.onnx names .* only a relative path"):
        found_in(path)
    assert not is_inside(location)


@pytest.mark.parametrize("location", ["w.bin", "model.onnx_data", "a/b/c.bin", "big weights.bin", "./w.bin", "gewichte-ü.bin", "..w"])
def test_a_file_inside_it_is_taken(location: str) -> None:
    assert is_inside(location)


@pytest.mark.parametrize("offset", ["-8", "0x10", "18446744073709551584", "zz", "", "1e9"])
def test_an_offset_that_is_no_number_of_bytes_is_refused(tmp_path: Path, offset: str) -> None:
    path = onnx_models.save(tmp_path / "m.onnx", [], [], [], [stored_at("w", "w.bin", offset)])
    with pytest.raises(ModelInvalid, match="as the offset of"):
        found_in(path)


def test_what_is_hidden_as_protobuf_allows_is_found() -> None:
    """The fields are behind unknown groups, repeated or empty, or have tags that are longer than needed. Protobuf allows all of this."""
    tensor = stored_at("w", "hidden.bin").SerializeToString()
    group = bytes([200 << 3 & 0x7F | 0x80 | 3, 200 >> 4, 8, 1, 200 << 3 & 0x7F | 0x80 | 4, 200 >> 4])
    long_tag = bytes([0x80 | 7 << 3 | 2, 0x80, 0x00])  # field 7 of the model, in three bytes instead of one
    for model in (
        group + field(7, field(5, tensor)),
        field(7, b"") + field(7, group + field(5, tensor)),
        long_tag + varint(len(field(5, tensor))) + field(5, tensor),
    ):
        assert onnx.ModelProto.FromString(model).graph.initializer[0].external_data[1].value == "hidden.bin"
        assert external_locations(model, "m") == ["hidden.bin"]


def test_the_search_is_as_deep_as_the_parser_of_the_runtime() -> None:
    """Protobuf reads messages up to a depth of 100, and so does this search. A model that is deeper is refused."""
    tensor = field(5, stored_at("w", "deep.bin").SerializeToString())
    deepest = max(levels for levels in range(40) if _parses(nested(levels, tensor)))
    assert external_locations(nested(deepest, tensor), "m") == ["deep.bin"]
    with pytest.raises(ModelInvalid, match=f"deeper than {MAX_DEPTH}"):
        external_locations(nested(deepest + 3, tensor), "m")


def _parses(model: bytes) -> bool:
    """Return True if ONNX Runtime can parse the model. It may still refuse the graph."""
    try:
        onnxruntime.InferenceSession(model)
    except Exception as error:
        return "Protobuf parsing failed" not in str(error) and "INVALID_PROTOBUF" not in str(error)
    return True


def test_a_model_that_takes_too_long_to_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "MAX_FIELDS", 10_000)
    with pytest.raises(ModelInvalid, match="more than 10000 parts"):
        external_locations(field(7, b"\x0a\x00" * 10_001), "m")  # these are empty nodes
    many = b"".join(field(5, stored_at("w", f"{number}.bin").SerializeToString()) for number in range(200))
    monkeypatch.setattr(external_data, "MAX_FILES", 100)
    with pytest.raises(ModelInvalid, match="more than 100 files"):
        external_locations(field(7, many), "m")


def test_a_forest_of_a_million_numbers_is_no_such_model() -> None:
    """Tree ensembles store each number in a field of its own. The search skips such fields in groups."""
    node = onnx.NodeProto(op_type="TreeEnsembleClassifier")
    node.attribute.add(name="nodes_values", type=onnx.AttributeProto.FLOATS).floats.extend([0.5] * 1_000_000)
    node.attribute.add(name="nodes_treeids", type=onnx.AttributeProto.INTS).ints.extend([10**12, -1] * 500_000)
    model = onnx.ModelProto()
    model.graph.node.append(node)
    model.graph.initializer.append(stored_at("w", "after.bin"))
    walk = external_data._Walk(content := model.SerializeToString(), "m")
    assert list(walk.locations(0, len(content), "model", 0)) == ["after.bin"]
    assert external_data.MAX_FIELDS - walk._left < 100


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_it(content: bytes) -> None:
    try:
        external_locations(content, "m")
    except ModelInvalid:  # the bytes may contain an invalid location by accident, which is refused with one known error
        return


def test_a_truncated_model_is_left_to_the_runtime(tmp_path: Path) -> None:
    whole = onnx_models.external(tmp_path).read_bytes()
    assert external_locations(whole, "m") == ["weights/big.bin"]
    assert external_locations(whole[:-7], "m") == []
