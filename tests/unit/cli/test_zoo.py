from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from cli import zoo
from shared.errors import InvalidInput


@pytest.mark.parametrize("name", sorted(zoo.LIGHT_GRAPHS))
def test_every_light_graph_is_a_model(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    file = zoo.make(name, tmp_path, said.append)
    onnx.checker.check_model(str(file))
    assert file.name == f"{name}.onnx"
    assert len(said) == 1
    assert "makes its weights" in zoo.remark(file), "a reader wonders how a network of 100 MB fits into so few bytes"


def test_a_file_that_holds_its_weights_needs_no_remark(tmp_path: Path) -> None:
    own = tmp_path / "resnet50.onnx"
    own.write_bytes(bytes(zoo.SMALL_BYTES))
    assert zoo.remark(own) == ""
    assert zoo.remark(zoo.make(zoo.TINY_YOLO, tmp_path, lambda _: None)) == ""


def test_a_network_is_made_once(tmp_path: Path) -> None:
    said: list[str] = []
    first = zoo.make("squeezenet", tmp_path, said.append)
    first.write_bytes(b"kept")
    assert zoo.make("squeezenet", tmp_path, said.append).read_bytes() == b"kept"
    assert len(said) == 1


def test_tiny_yolo_has_the_published_shape(tmp_path: Path) -> None:
    file = zoo.make(zoo.TINY_YOLO, tmp_path, lambda _: None)
    model = onnx.shape_inference.infer_shapes(onnx.load(file), check_type=True, strict_mode=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 9
    assert kinds.count("BatchNormalization") == kinds.count("LeakyRelu") == 8
    assert kinds.count("MaxPool") == 6
    assert 60e6 < file.stat().st_size < 66e6
    shapes = {value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim] for value in model.graph.value_info}
    assert shapes["relu8"] == ["batch", 1024, 13, 13]
    inputs, outputs = model.graph.input[0], model.graph.output[0]
    assert [d.dim_value for d in inputs.type.tensor_type.shape.dim][1:] == [3, 416, 416]
    assert [d.dim_value for d in outputs.type.tensor_type.shape.dim][1:] == [125, 13, 13]


def test_a_network_that_could_not_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(zoo.LIGHT_GRAPHS, "squeezenet", "no_such_graph")
    with pytest.raises(FileNotFoundError):
        zoo.make("squeezenet", tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_network_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="squeezenet"):
        zoo.make("alexnett", tmp_path, lambda _: None)
