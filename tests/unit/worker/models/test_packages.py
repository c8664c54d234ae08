"""Tests that a worker fetches a package of CoreML whole: from its disk, and from uploads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.content import Content, content_hash
from shared.errors import ModelInvalid, ModelUnavailable
from shared.inputs import Companion, ModelRef
from tests.coreml_packages import FILES, package
from worker.engines.registry import model_suffixes
from worker.models import FetchedModel, ModelStore
from worker.models.cache import Cache

NAME = "net.mlpackage"


def fetch(folder: Path, ref: ModelRef, suffixes: tuple[str, ...] = model_suffixes("cpu.coreml")) -> FetchedModel:
    return ModelStore(folder / "cache", host=None, token=None, max_bytes=2**30).fetch(ref, lambda _share: None, suffixes)


def companions(files: dict[str, bytes]) -> tuple[Companion, ...]:
    return tuple(Companion(name=name, sha256=hashlib.sha256(content).hexdigest(), size=len(content)) for name, content in files.items())


def uploaded(folder: Path, made: Path, files: dict[str, bytes]) -> ModelRef:
    """Put a package into the cache, as a worker has it when it was downloaded from the orchestrator."""
    cache = Cache(folder / "cache", SystemClock())
    manifest = (made / "Manifest.json").read_bytes()
    for content in (manifest, *files.values()):
        (folder / "part").write_bytes(content)
        cache.adopt(folder / "part", hashlib.sha256(content).hexdigest())
    sha256 = hashlib.sha256(manifest).hexdigest()
    return ModelRef(source=f"sha256:{sha256}", name=NAME, sha256=sha256, size=len(manifest), companions=companions(files))


def expected_hash(made: Path) -> str:
    def of(data: bytes) -> Content:
        return Content(hashlib.sha256(data).hexdigest(), len(data))

    return content_hash(of((made / "Manifest.json").read_bytes()), {name: of(content) for name, content in FILES.items()})


def test_a_package_of_the_device_is_used_in_its_place(tmp_path: Path) -> None:
    made = package(tmp_path / NAME)
    found = fetch(tmp_path, ModelRef(source=made.as_uri(), name=NAME))
    assert (found.path, found.name, found.sha256) == (made / "Manifest.json", NAME, expected_hash(made))
    assert found.size == sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
    assert {path.name for path, _ in found.stamps} == {"Manifest.json", "model.mlmodel", "weight.bin"}


def test_an_uploaded_package_is_a_folder_with_the_ending_of_one(tmp_path: Path) -> None:
    made = package(tmp_path / NAME)
    found = fetch(tmp_path, uploaded(tmp_path, made, FILES))
    assert (found.path.name, found.path.parent.suffix, found.sha256) == ("Manifest.json", ".mlpackage", expected_hash(made))
    assert {name: (found.path.parent / name).read_bytes() for name in FILES} == FILES


def test_a_package_without_one_of_its_parts_is_refused(tmp_path: Path) -> None:
    some = dict(list(FILES.items())[:1])
    with pytest.raises(ModelInvalid, match=r"net\.mlpackage names 'Data/com\.apple\.CoreML/weights' in its manifest, which is not there"):
        fetch(tmp_path, uploaded(tmp_path, package(tmp_path / NAME), some))
    with pytest.raises(ModelInvalid, match="which is not there"):
        fetch(tmp_path, ModelRef(source=package(tmp_path / "half.mlpackage", files=some).as_uri(), name=NAME))


def test_a_link_out_of_the_package_is_refused(tmp_path: Path) -> None:
    made = package(tmp_path / NAME)
    (tmp_path / "secret").write_text("secret")
    weights = made / "Data/com.apple.CoreML/weights/weight.bin"
    weights.unlink()
    weights.symlink_to(tmp_path / "secret")
    with pytest.raises(ModelInvalid, match="a link out of its folder"):
        fetch(tmp_path, ModelRef(source=made.as_uri(), name=NAME))


def test_other_engines_take_no_folder(tmp_path: Path) -> None:
    made = package(tmp_path / NAME)
    with pytest.raises(ModelUnavailable, match=r"files that end in \.onnx and no others"):
        fetch(tmp_path, ModelRef(source=made.as_uri(), name=NAME), (".onnx",))
    (tmp_path / "folder.mlpackage").mkdir()
    with pytest.raises(ModelUnavailable, match="does not exist on this device"):
        fetch(tmp_path, ModelRef(source=(tmp_path / "folder.mlpackage").as_uri(), name=NAME))
