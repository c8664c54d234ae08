from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cli.external_data import external_files
from shared.errors import InvalidInput


def _external(name: str, location: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, dtype=np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="16")
    return tensor


def _write(path: Path, *tensors: onnx.TensorProto) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value], initializer=list(tensors))
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_weights_saved_beside_the_model_are_found(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones(5_000, dtype=np.float32), "w")
    source = _write(tmp_path / "source.onnx", weight)
    onnx.save(onnx.load(source), tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin")
    assert external_files(tmp_path / "model.onnx") == [tmp_path / "weights.bin"]


def test_each_file_is_named_once_and_folders_are_kept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin").write_bytes(b"a")
    (tmp_path / "b.bin").write_bytes(b"b")
    model = _write(tmp_path / "m.onnx", _external("1", "data/a.bin"), _external("2", "b.bin"), _external("3", "data/a.bin"))
    assert external_files(model) == [tmp_path / "data" / "a.bin", tmp_path / "b.bin"]


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../b.bin", "..\\secret.bin"])
def test_a_file_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(InvalidInput, match="only a relative path inside the model's own folder is read; move its external data beside it"):
        external_files(_write(tmp_path / "m.onnx", _external("w", location)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'gone\.bin' is missing"):
        external_files(_write(tmp_path / "m.onnx", _external("w", "gone.bin")))


@pytest.mark.parametrize("content", [b"", b"not a protobuf at all, only words", b"\x3a\xff\xff\xff\x7f", b"\xff" * 64])
def test_what_is_not_a_model_has_no_companions(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(content)
    assert external_files(file) == []


def test_a_link_out_of_the_folder_is_not_sent(tmp_path: Path) -> None:
    """A model from an untrusted source may contain such a link. Without this check, the file to which it leads would be uploaded."""
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput, match="a link out of the model's folder"):
        external_files(_write(folder / "m.onnx", _external("w", "w.bin")))


def test_a_cache_that_links_model_and_weights_into_one_folder_is_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    for folder in (blobs, snapshot):
        folder.mkdir()
    _write(blobs / "aaa", _external("w", "w.bin"))
    (blobs / "bbb").write_bytes(b"1234" * 4)
    (snapshot / "m.onnx").symlink_to(blobs / "aaa")
    (snapshot / "w.bin").symlink_to(blobs / "bbb")
    assert external_files(snapshot / "m.onnx") == [snapshot / "w.bin"]
