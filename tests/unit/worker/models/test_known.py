"""Tests which models a worker says are in its cache."""

from __future__ import annotations

import os
from pathlib import Path

from shared.adverts import MOST_MODELS, model_key
from shared.inputs import ModelRef
from tests.file_server import file_server
from tests.hub_server import hub_server
from tests.unit.worker.models.test_hub import REPO, WHOLE, fetch
from tests.unit.worker.models.test_snapshots import fetch as fetch_upload
from tests.unit.worker.models.test_snapshots import snapshot, uploaded
from worker.agent.info import cached_models
from worker.models import ModelStore
from worker.models.known import FOLDER, KnownModel, keys_of, known_models, remember


def test_a_snapshot_of_a_hub_is_known_by_its_content_and_its_address(tmp_path: Path) -> None:
    with hub_server() as hub:
        commit = hub.repository(REPO, WHOLE).names["main"]
        found = fetch(tmp_path, hub)
    (model,) = known_models(tmp_path)
    assert (model.sha256, model.name, model.size) == (found.sha256, "tiny", found.size)
    assert model.sources == (f"hf://{REPO}", f"hf://{REPO}@{commit}")
    assert model_key(f"hf://{REPO}") in keys_of([model])
    assert cached_models(tmp_path) == [
        {"sha256": found.sha256, "size": found.size, "name": "tiny", "sources": list(model.sources), "files": 3}
    ], "its files are not listed a second time"


def test_an_upload_is_known_by_its_content(tmp_path: Path) -> None:
    ref = uploaded(tmp_path)
    fetch_upload(tmp_path, ref)
    (model,) = known_models(tmp_path / "cache")
    assert keys_of([model]) == [model_key(str(ref.content_sha256))]


def test_a_model_that_stays_in_its_own_place_is_not_in_the_cache(tmp_path: Path) -> None:
    fetch_upload(tmp_path, ModelRef(source=snapshot(tmp_path / "tiny").as_uri(), name="tiny"))
    assert known_models(tmp_path / "cache") == []


def test_an_address_that_may_hold_a_key_is_not_kept(tmp_path: Path) -> None:
    with file_server(model__onnx=b"m") as server:
        store = ModelStore(tmp_path, host=None, token=None, max_bytes=100, allow_private=True)
        for url in (f"{server.url}/model.onnx?signature=SECRET", server.url.replace("//", "//user:SECRET@") + "/model.onnx"):
            store.fetch(ModelRef(source=url, name="m"), lambda _share: None)
    assert known_models(tmp_path)[0].sources == ()
    assert not any(b"SECRET" in path.read_bytes() for path in (tmp_path / FOLDER).iterdir())


def test_a_model_of_which_a_file_was_evicted_is_not_listed_any_more(tmp_path: Path) -> None:
    with hub_server() as hub:
        hub.repository(REPO, WHOLE)
        fetch(tmp_path, hub)
    (tmp_path / "blobs" / known_models(tmp_path)[0].files[-1]).unlink()
    assert (known_models(tmp_path), list((tmp_path / FOLDER).iterdir())) == ([], [])


def test_the_list_is_bounded_and_begins_with_the_last_used(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for number in range(MOST_MODELS + 3):
        digest = f"{number:064x}"
        (tmp_path / "blobs" / digest).write_bytes(b"m")
        remember(tmp_path, KnownModel(digest, f"m{number}", 1, (), (digest,)))
        os.utime(tmp_path / FOLDER / f"{digest}.json", (number, number))
    names = [model.name for model in known_models(tmp_path)]
    assert (len(names), names[0]) == (MOST_MODELS, f"m{MOST_MODELS + 2}")


def test_a_damaged_note_is_removed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / FOLDER).mkdir()
    for name, content in {"a.json": b"\xff", "b.json": b"[]", "c.json": b'{"files": ["../x"]}'}.items():
        (tmp_path / FOLDER / name).write_bytes(content)
    assert (known_models(tmp_path), list((tmp_path / FOLDER).iterdir())) == ([], [])
