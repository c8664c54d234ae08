"""Tests the hash of a model on a device: one hash over the model and its weights, however they came.

Content that differs from what was promised is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from shared.errors import ModelUnavailable
from shared.inputs import ModelRef
from tests import onnx_models
from tests.file_server import FileServer, file_server
from worker.models import FetchedModel, ModelStore

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def one_hash(model: bytes, **beside: bytes) -> str:
    """Compute the hash without the product's code, as `shared/content.py` describes it."""
    named = {name.replace("__", "/"): data for name, data in beside.items()}
    lines = ["fleetmark-model 1", f"{sha256(model)} {len(model)}"]
    lines += [f"{sha256(data)} {len(data)} {name}" for name, data in sorted(named.items())]
    return sha256("".join(f"{line}\n" for line in lines).encode())


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


def store(folder: Path, server: FileServer) -> ModelStore:
    return ModelStore(folder / "cache", host=server.url, token=None, max_bytes=2**30, allow_private=True)


def fetch(folder: Path, server: FileServer, source: str, **ref: object) -> FetchedModel:
    content = {"source": source, "name": "m.onnx", **ref}
    return store(folder, server).fetch(ModelRef.model_validate(content, strict=False), lambda _share: None)


def sources(folder: Path, server: FileServer) -> dict[str, tuple[str, list[dict[str, object]]]]:
    """Return one model with its weights for each way of transport: its source, and what must be said about its companions."""
    path = onnx_models.external(folder / "made", location="w.bin")
    model, weights = path.read_bytes(), (path.parent / "w.bin").read_bytes()
    server.files |= {"/zoo/m.onnx": model, "/zoo/w.bin": weights}
    server.files |= {f"/api/models/{sha256(data)}": data for data in (model, weights)}
    companions: list[dict[str, object]] = [{"name": "w.bin", "sha256": sha256(weights), "size": len(weights)}]
    return {
        "file": (path.as_uri(), []),
        "http": (f"{server.url}/zoo/m.onnx", []),
        "upload": (f"sha256:{sha256(model)}", companions),
    }


def test_one_model_has_one_hash_whichever_way_it_came(tmp_path: Path, server: FileServer) -> None:
    made = sources(tmp_path, server)
    fetched = [fetch(tmp_path, server, source, companions=companions) for source, companions in made.values()]
    model, weights = ((tmp_path / "made" / name).read_bytes() for name in ("external.onnx", "w.bin"))
    assert [one.sha256 for one in fetched] == [one_hash(model, **{"w.bin": weights})] * 3
    assert [one.size for one in fetched] == [len(model) + len(weights)] * 3


def test_equal_graphs_with_other_weights_are_other_models(tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.external(tmp_path / "made", location="w.bin")
    model, zeros = path.read_bytes(), bytes((path.parent / "w.bin").stat().st_size)
    ones = b"\x01" * len(zeros)
    server.files |= {f"/api/models/{sha256(data)}": data for data in (model, zeros, ones)}
    fetched = [
        fetch(tmp_path, server, f"sha256:{sha256(model)}", companions=[{"name": "w.bin", "sha256": sha256(data), "size": len(data)}])
        for data in (zeros, ones)
    ]
    assert [one.sha256 for one in fetched] == [one_hash(model, **{"w.bin": data}) for data in (zeros, ones)]
    assert [(one.path.parent / "w.bin").read_bytes() for one in fetched] == [zeros, ones]
    path.with_name("w.bin").write_bytes(ones)
    assert fetch(tmp_path, server, path.as_uri()).sha256 == fetched[1].sha256
    path.with_name("w.bin").write_bytes(zeros)
    assert fetch(tmp_path, server, path.as_uri()).sha256 == fetched[0].sha256


def test_a_model_of_one_file_has_the_hash_of_the_file(tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.linear(tmp_path / "m.onnx")
    assert fetch(tmp_path, server, path.as_uri()).sha256 == sha256(path.read_bytes())


def test_weights_that_the_model_names_with_a_dot_in_front_are_found_beside_it(tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.external(tmp_path / "made", location="./w.bin")
    model, weights = path.read_bytes(), (path.parent / "w.bin").read_bytes()
    server.files |= {f"/api/models/{sha256(data)}": data for data in (model, weights)}
    companions = [{"name": "w.bin", "sha256": sha256(weights), "size": len(weights)}]
    fetched = fetch(tmp_path, server, f"sha256:{sha256(model)}", companions=companions)
    assert fetched.sha256 == one_hash(model, **{"w.bin": weights}) == fetch(tmp_path, server, path.as_uri()).sha256


@pytest.mark.parametrize("way", ["file", "http", "upload"])
@pytest.mark.parametrize("wrong", ["sha256", "size", "companion", "companion size", "none of its"])
def test_what_is_promised_is_checked_whichever_way_a_model_comes(tmp_path: Path, server: FileServer, way: str, wrong: str) -> None:
    source, _ = sources(tmp_path, server)[way]
    model, weights = ((tmp_path / "made" / name).read_bytes() for name in ("external.onnx", "w.bin"))
    companion: dict[str, object] = {"name": "w.bin", "sha256": sha256(weights), "size": len(weights)}
    promise: dict[str, object] = {"sha256": sha256(model), "size": len(model), "companions": [companion]}
    assert fetch(tmp_path, server, source, **promise).sha256 == one_hash(model, **{"w.bin": weights})
    match wrong:
        case "sha256" | "size":
            promise[wrong] = "0" * 64 if wrong == "sha256" else 3
        case "companion":
            promise["companions"] = [companion | {"sha256": sha256(model)}]
        case "companion size":
            promise["companions"] = [companion | {"size": 3}]
        case _:
            promise["companions"] = [companion, companion | {"name": "other.bin"}]
    if wrong == "none of its" and way != "file":  # the file does belong to the model, and its bytes are already here
        assert fetch(tmp_path, server, source, **promise).sha256 == one_hash(model, **{"w.bin": weights})
        return
    with pytest.raises(ModelUnavailable, match=r"not the promised|was promised|does not name the promised"):
        fetch(tmp_path, server, source, **promise)


def test_of_what_a_model_of_the_device_does_not_name_nothing_is_told(tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.linear(tmp_path / "m.onnx")
    (tmp_path / "secret").write_text("secret")
    said = []
    for name in ("secret", "absent"):
        with pytest.raises(ModelUnavailable) as caught:
            fetch(tmp_path, server, path.as_uri(), companions=[{"name": name, "sha256": "0" * 64, "size": 1}])
        said.append(caught.value.detail.replace(name, "…"))
    assert said[0] == said[1]


@pytest.mark.parametrize("way", ["file", "http", "upload"])
@pytest.mark.parametrize("which", ["model", "weights"])
def test_a_git_lfs_pointer_is_called_one_on_the_device_too(tmp_path: Path, server: FileServer, way: str, which: str) -> None:
    source, companions = sources(tmp_path, server)[way]
    if which == "model":
        (tmp_path / "made" / "external.onnx").write_bytes(POINTER)
        server.files |= {"/zoo/m.onnx": POINTER, f"/api/models/{sha256(POINTER)}": POINTER}
        source = f"sha256:{sha256(POINTER)}" if way == "upload" else source
        companions = []
    else:
        (tmp_path / "made" / "w.bin").write_bytes(POINTER)
        server.files |= {"/zoo/w.bin": POINTER, f"/api/models/{sha256(POINTER)}": POINTER}
        companions = [{"name": "w.bin", "sha256": sha256(POINTER), "size": len(POINTER)}] if way == "upload" else []
    with pytest.raises(ModelUnavailable, match="is a Git LFS pointer, not the file it stands for: run `git lfs pull`") as caught:
        fetch(tmp_path, server, source, companions=companions)
    assert ("/resolve/" in caught.value.detail) is (way == "http")


def rewritten(file: Path) -> None:
    file.write_bytes(bytes(reversed(file.read_bytes())))


def replaced(file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(file.read_bytes())
    new.replace(file)


@pytest.mark.parametrize("name", ["external.onnx", "w.bin"])
@pytest.mark.parametrize("change", [rewritten, replaced, Path.unlink])
def test_a_file_of_the_device_that_changes_while_it_is_measured_fails_the_job(
    tmp_path: Path, server: FileServer, name: str, change: Callable[[Path], None]
) -> None:
    path = onnx_models.external(tmp_path / "made", location="w.bin")
    models = store(tmp_path, server)
    fetched = models.fetch(ModelRef(source=path.as_uri(), name="m.onnx"), lambda _share: None)
    with models.in_use(fetched):
        path.read_bytes()  # reading changes nothing
    with pytest.raises(ModelUnavailable, match=f"{name} changed on this device while m.onnx was measured"), models.in_use(fetched):
        change(path.with_name(name))


def test_a_file_of_the_device_that_changes_while_it_is_hashed_fails_the_job(tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.linear(tmp_path / "m.onnx")
    other = onnx_models.identity(tmp_path / "other.onnx", onnx.TensorProto.FLOAT)
    models, before = store(tmp_path, server), sha256(path.read_bytes())

    def change_once_read(_share: float | None) -> None:
        if other.exists():
            other.replace(path)

    fetched = models.fetch(ModelRef(source=path.as_uri(), name="m.onnx"), change_once_read)
    assert fetched.sha256 == before != sha256(path.read_bytes())  # otherwise the changed file would be measured
    with pytest.raises(ModelUnavailable, match=r"m\.onnx changed on this device while m\.onnx was measured"), models.in_use(fetched):
        pass


def test_a_file_that_was_written_anew_under_its_old_time_is_hashed_again(tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.linear(tmp_path / "m.onnx")
    models = store(tmp_path, server)
    ref = ModelRef(source=path.as_uri(), name="m.onnx")
    before, stat = models.fetch(ref, lambda _share: None).sha256, path.stat()
    other = path.read_bytes()[:-1] + b"\x00"
    path.write_bytes(other)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert models.fetch(ref, lambda _share: None).sha256 == sha256(other) != before
