"""Tests how a package, a model that is a folder, is read by its manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ModelInvalid
from shared.model_packages import files_in, items_of, model_file, parts_of, shown_path
from tests.coreml_packages import FILES, package


def test_a_package_is_its_manifest_and_the_files_that_it_names(tmp_path: Path) -> None:
    folder = package(tmp_path / "net.mlpackage")
    (folder / "Data" / "left.txt").write_text("the manifest does not name this file")
    file = model_file(folder)
    items = items_of(file, "net.mlpackage")
    assert items == ["Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights"]
    assert parts_of(items, files_in(folder, "net.mlpackage"), "net.mlpackage") == list(FILES)
    assert shown_path(file) == folder


def test_other_models_are_their_own_files(tmp_path: Path) -> None:
    for name, content in (
        ("net.onnx", b"\x08\x07"),
        ("list.json", b"[1]"),
        ("other.json", b'{"a": 1}'),
        ("broken.json", b"{"),
        ("empty", b""),
    ):
        (tmp_path / name).write_bytes(content)
        assert model_file(tmp_path / name) == tmp_path / name
        assert shown_path(tmp_path / name) == tmp_path / name
        assert items_of(tmp_path / name, name) is None


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\\b", "C:/x", ""])
def test_a_manifest_names_nothing_outside_of_its_package(tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelInvalid, match=r"net\.mlpackage names '.*' in its manifest; only a path inside the package is read"):
        items_of(package(tmp_path / "net.mlpackage", paths=(path,)) / "Manifest.json", "net.mlpackage")


def test_a_manifest_that_names_nothing_or_something_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="names no model in its manifest"):
        items_of(package(tmp_path / "net.mlpackage", paths=()) / "Manifest.json", "net.mlpackage")
    with pytest.raises(ModelInvalid, match=r"names 'Data/weights' in its manifest, which is not there: a package is a folder"):
        parts_of(["Data/weights"], ["Data/weights.bin"], "net.mlpackage")
