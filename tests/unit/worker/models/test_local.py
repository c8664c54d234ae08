"""Tests which local files a recipe may name, and what the error messages reveal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.errors import ModelInvalid, ModelUnavailable
from shared.inputs import ModelRef
from tests import onnx_models
from worker.models import FetchedModel, ModelStore
from worker.models.cache import Cache


def fetch(folder: Path, source: str, suffixes: tuple[str, ...] = (".onnx",)) -> FetchedModel:
    store = ModelStore(folder / "cache", host=None, token=None, max_bytes=2**30)
    return store.fetch(ModelRef(source=source, name="m.onnx"), lambda _share: None, suffixes)


def reason(folder: Path, source: str) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        fetch(folder, source)
    return caught.value.detail


def test_nothing_is_revealed_about_a_file_without_a_model_suffix(tmp_path: Path) -> None:
    """The answer follows from the name alone. It does not tell whether the file exists, nor its size or its hash."""
    secret = tmp_path / "id_rsa"
    secret.write_text("secret")
    there, absent = reason(tmp_path, secret.as_uri()), reason(tmp_path, (tmp_path / "id_dsa").as_uri())
    assert there.replace("id_rsa", "") == absent.replace("id_dsa", "")
    assert "files that end in .onnx and no others" in there
    for source in (
        "file:///etc/passwd",
        "file:///proc/self/environ",
        "file:///dev/zero",
        f"file://{tmp_path}",
        "file:///x.onnx/../../etc/passwd",
    ):
        assert "no others" in reason(tmp_path, source)


def test_a_model_of_the_device_is_read_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    own = tmp_path / "My Model.ONNX"
    own.write_bytes(onnx_models.linear(tmp_path / "made.onnx").read_bytes())
    assert fetch(tmp_path, own.as_uri()).path == own


def test_an_engine_names_the_ending_of_its_own_models(tmp_path: Path) -> None:
    schedule = tmp_path / "schedule.json"
    schedule.write_text("{}")
    assert "no others" in reason(tmp_path, schedule.as_uri())
    assert fetch(tmp_path, schedule.as_uri(), (".json",)).size == 2


@pytest.mark.parametrize("source", ["file:////share/host/m.onnx", "file:////10.0.0.1/share/m.onnx", "file:m.onnx"])
def test_a_path_of_another_host_is_no_path_of_this_device(tmp_path: Path, source: str) -> None:
    assert "is no absolute path" in reason(tmp_path, source)


def test_a_device_a_pipe_or_a_folder_called_as_a_model_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    (tmp_path / "folder.onnx").mkdir()
    assert "does not exist" in reason(tmp_path, (tmp_path / "pipe.onnx").as_uri())
    assert "does not exist" in reason(tmp_path, (tmp_path / "zero.onnx").as_uri())
    assert "is a directory" in reason(tmp_path, (tmp_path / "folder.onnx").as_uri())


def test_weights_that_are_missing_are_named_with_what_to_do(tmp_path: Path) -> None:
    model = onnx_models.external(tmp_path / "made")
    (tmp_path / "made" / "weights" / "big.bin").unlink()
    said = reason(tmp_path, model.as_uri())
    assert "keeps weights in 'weights/big.bin', which is not beside it: put it into" in said
    assert "`fleetmark run`" in said


def test_the_files_that_a_model_names_are_read_again_when_it_has_changed(tmp_path: Path) -> None:
    model = onnx_models.external(tmp_path / "made", location="one.bin")
    assert [path.name for path, _ in fetch(tmp_path, model.as_uri()).stamps[1:]] == ["one.bin"]
    before = model.stat()
    model.write_bytes(model.read_bytes().replace(b"one.bin", b"two.bin"))
    (tmp_path / "made" / "one.bin").rename(tmp_path / "made" / "two.bin")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))  # the size and the time of change are those from before
    assert [path.name for path, _ in fetch(tmp_path, model.as_uri()).stamps[1:]] == ["two.bin"]


def test_weights_behind_a_link_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    model = onnx_models.external(tmp_path / "made", location="w.bin")
    secret = tmp_path / "secret"
    (tmp_path / "made" / "w.bin").replace(secret)
    (tmp_path / "made" / "w.bin").symlink_to(secret)
    with pytest.raises(ModelInvalid, match="a link out of its folder"):
        fetch(tmp_path, model.as_uri())
    folder = onnx_models.external(tmp_path / "other", location="sub/w.bin")
    (tmp_path / "other" / "sub" / "w.bin").unlink()
    (tmp_path / "other" / "sub").rmdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "w.bin").write_bytes(b"x")
    (tmp_path / "other" / "sub").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(ModelInvalid, match="a link out of its folder"):
        fetch(tmp_path, folder.as_uri())


def test_a_cache_that_links_model_and_weights_into_one_folder_is_read(tmp_path: Path) -> None:
    """The Hugging Face cache does this: its snapshots link to its blobs."""
    model = onnx_models.external(tmp_path / "blobs", location="w.bin")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "m.onnx").symlink_to(model)
    (snapshot / "w.bin").symlink_to(tmp_path / "blobs" / "w.bin")
    fetched = fetch(tmp_path, (snapshot / "m.onnx").as_uri())
    assert fetched.size == model.stat().st_size + (tmp_path / "blobs" / "w.bin").stat().st_size


def test_a_hard_link_beside_a_model_is_the_owners_own_doing_and_the_cache_makes_none_to_what_is_not_its(tmp_path: Path) -> None:
    """Only a user who may write in the folder can make a hard link; a recipe cannot. The cache makes hard links only to its own blobs."""
    model = onnx_models.external(tmp_path / "made", location="w.bin")
    own = tmp_path / "own.bin"
    (tmp_path / "made" / "w.bin").replace(own)
    os.link(own, tmp_path / "made" / "w.bin")
    assert fetch(tmp_path, model.as_uri()).path == model
    assert own.stat().st_nlink == 2
    assert list((tmp_path / "cache").glob("sets/*")) == []


def test_an_assembled_folder_leaves_nothing_behind_when_its_names_collide(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", SystemClock())
    file = cache.partial("x")
    file.write_bytes(b"x")
    cache.adopt(file, "0" * 64)
    with pytest.raises(OSError, match="model"):
        cache.assemble("model", {"model": "0" * 64, "model/inside": "0" * 64})
    assert list((tmp_path / "cache" / "sets").iterdir()) == []
