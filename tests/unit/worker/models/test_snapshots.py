"""Tests that a worker fetches a Hugging Face snapshot whole: from its disk, and from uploads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.content import Content, content_hash
from shared.errors import ModelInvalid, ModelUnavailable
from shared.inputs import Companion, ModelRef
from worker.kinds.registry import model_suffixes
from worker.models import FetchedModel, ModelStore
from worker.models.cache import Cache

CONFIG = json.dumps({"model_type": "llama"}).encode()
FILES = {"model.safetensors": b"weights", "tokenizer.json": b"{}"}


def snapshot(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    folder.mkdir()
    for name, content in {"config.json": CONFIG, "README.md": b"read me", **files}.items():
        (folder / name).write_bytes(content)
    return folder


def fetch(folder: Path, ref: ModelRef, kind: str = "generation") -> FetchedModel:
    store = ModelStore(folder / "cache", host=None, token=None, max_bytes=2**30)
    return store.fetch(ref, lambda _share: None, model_suffixes(kind, "cpu.torch"))


def uploaded(folder: Path, files: dict[str, bytes] = FILES) -> ModelRef:
    """Put a snapshot into the cache, as a worker has it when it was downloaded from the orchestrator."""
    cache = Cache(folder / "cache", SystemClock())
    for content in (CONFIG, *files.values()):
        (folder / "part").write_bytes(content)
        cache.adopt(folder / "part", hashlib.sha256(content).hexdigest())
    companions = tuple(Companion(name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for name, data in files.items())
    sha256 = hashlib.sha256(CONFIG).hexdigest()
    return ModelRef(source=f"sha256:{sha256}", name="tiny", sha256=sha256, size=len(CONFIG), companions=companions)


def whole_hash() -> str:
    def of(data: bytes) -> Content:
        return Content(hashlib.sha256(data).hexdigest(), len(data))

    return content_hash(of(CONFIG), {name: of(data) for name, data in FILES.items()})


@pytest.mark.parametrize("named", ["tiny", "tiny/config.json", "tiny/"])
def test_a_snapshot_of_the_device_is_used_in_its_place_and_hashed_as_a_whole(tmp_path: Path, named: str) -> None:
    made = snapshot(tmp_path / "tiny")
    found = fetch(tmp_path, ModelRef(source=f"{tmp_path.as_uri()}/{named}", name="tiny"))
    assert (found.path, found.sha256) == (made / "config.json", whole_hash())
    assert found.size == len(CONFIG) + sum(map(len, FILES.values())), "a README is no part of the model"
    assert {path.name for path, _ in found.stamps} == {"config.json", *FILES}


def test_an_uploaded_snapshot_is_a_folder_with_the_same_hash(tmp_path: Path) -> None:
    found = fetch(tmp_path, uploaded(tmp_path))
    assert (found.path.name, found.sha256) == ("config.json", whole_hash())
    assert {name: (found.path.parent / name).read_bytes() for name in FILES} == FILES


def test_a_snapshot_with_pickled_weights_is_refused_before_anything_opens_it(tmp_path: Path) -> None:
    files = {"pytorch_model.bin": b"pickle", "tokenizer.json": b"{}"}
    with pytest.raises(ModelInvalid, match=r"tiny keeps its weights in 'pytorch_model\.bin'"):
        fetch(tmp_path, ModelRef(source=snapshot(tmp_path / "tiny", files).as_uri(), name="tiny"))
    with pytest.raises(ModelInvalid, match=r"tiny keeps its weights in 'pytorch_model\.bin'"):
        fetch(tmp_path, uploaded(tmp_path, files))


def test_a_pointer_of_git_lfs_in_place_of_the_weights_is_refused(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123\n"
    with pytest.raises(ModelUnavailable, match=r"(?i)lfs"):
        fetch(tmp_path, ModelRef(source=snapshot(tmp_path / "tiny", {"model.safetensors": pointer}).as_uri(), name="tiny"))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    made = snapshot(tmp_path / "tiny")
    (tmp_path / "secret").write_bytes(b"s")
    (made / "vocab.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelInvalid, match="a link out of its folder"):
        fetch(tmp_path, ModelRef(source=made.as_uri(), name="tiny"))


def test_only_a_config_is_looked_for_so_no_other_file_of_the_device_is_revealed(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    answers = []
    for name in ("there", "not-there"):
        with pytest.raises(ModelUnavailable) as refusal:
            fetch(tmp_path, ModelRef(source=(tmp_path / name).as_uri(), name="x"))
        answers.append(refusal.value.detail.replace(name, "NAME"))
    assert answers[0] == answers[1]
    with pytest.raises(ModelUnavailable, match="not called as a model is"):
        fetch(tmp_path, ModelRef(source=snapshot(tmp_path / "tiny").as_uri(), name="tiny"), kind="inference")
