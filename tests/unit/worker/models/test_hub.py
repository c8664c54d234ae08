"""Tests that a worker fetches a whole snapshot from a hub, and what it says if it cannot. The hub is a double (`tests/hub_server.py`)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.errors import JobError, ModelInvalid, ModelUnavailable
from shared.inputs import ModelRef
from tests.hub_server import HubServer, Repository, hub_server
from tests.unit.worker.models.test_snapshots import CONFIG, FILES, whole_hash
from worker.interpreter import ROOT
from worker.kinds.registry import model_suffixes
from worker.models import FetchedModel, ModelStore, Own

REPO = "org/tiny-llama"
WHOLE = {"config.json": CONFIG, "README.md": b"read me", "modeling_tiny.py": b"raise SystemExit", "onnx/model.onnx": b"o", **FILES}
SHA256 = hashlib.sha256(FILES["model.safetensors"]).hexdigest()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as running:
        running.repository(REPO, WHOLE)
        yield running


def fetch(
    cache: Path,
    hub: HubServer,
    source: str = f"hf://{REPO}",
    token: str | None = None,
    max_bytes: int = 2**30,
    on_progress: Callable[[float | None], None] = lambda _share: None,
) -> FetchedModel:
    store = ModelStore(cache, host=None, token=None, max_bytes=max_bytes, hub=Own(hub.url, token), allow_private=True)
    return store.fetch(ModelRef(source=source, name="tiny"), on_progress, model_suffixes("generation", "cpu.torch"))


def refused(cache: Path, hub: HubServer, source: str = f"hf://{REPO}", *, kind: type[JobError] = ModelUnavailable, **more: object) -> str:
    with pytest.raises(kind) as caught:
        fetch(cache, hub, source, **more)  # type: ignore[arg-type]  # the same arguments
    return caught.value.detail


def test_a_snapshot_of_a_hub_has_the_same_hash_as_the_same_folder_or_upload(tmp_path: Path, hub: HubServer) -> None:
    found = fetch(tmp_path, hub)
    assert (found.path.name, found.sha256) == ("config.json", whole_hash())
    assert {path.name for path in found.path.parent.iterdir()} == {"config.json", *FILES}, "code and a README are never fetched"
    assert found.origin == f"hf://{REPO}@{hub.repositories[REPO].names['main']}"


def test_every_file_comes_from_the_commit_that_the_hub_names_first(tmp_path: Path, hub: HubServer) -> None:
    commit = hub.repositories[REPO].names["main"]
    fetch(tmp_path, hub)
    first, *files = hub.paths()
    assert first == f"/api/models/{REPO}/revision/main?blobs=true"
    assert all(f"/{commit}/" in path for path in files)
    assert not any("README" in path or "modeling" in path for path in files)


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/3", "COMMIT"])
def test_a_revision_is_a_branch_a_tag_or_a_commit(tmp_path: Path, hub: HubServer, revision: str) -> None:
    repository = hub.repositories[REPO]
    other = {**WHOLE, "model.safetensors": b"other weights"}
    commit = repository.commit(other, revision)
    found = fetch(tmp_path, hub, f"hf://{REPO}@{commit if revision == 'COMMIT' else revision}")
    assert (found.path.parent / "model.safetensors").read_bytes() == b"other weights"
    assert found.origin.endswith(commit)


def test_a_snapshot_in_the_cache_is_not_downloaded_again_and_a_new_commit_costs_its_changed_files_only(
    tmp_path: Path, hub: HubServer
) -> None:
    fetch(tmp_path, hub)
    hub.requests.clear()
    fetch(tmp_path, hub)
    assert hub.paths() == [f"/api/models/{REPO}/revision/main?blobs=true"]
    hub.requests.clear()
    hub.repositories[REPO].commit({**WHOLE, "model.safetensors": b"new weights"})
    assert fetch(tmp_path, hub).sha256 != whole_hash()
    assert [path.rpartition("/")[2] for path in hub.paths()] == ["main?blobs=true", "model.safetensors"]


def test_without_the_hub_the_snapshot_of_the_cache_is_used_and_the_result_says_so(tmp_path: Path, hub: HubServer) -> None:
    commit = hub.repositories[REPO].names["main"]
    assert fetch(tmp_path, hub).warnings == ()
    hub.is_down = True
    found = fetch(tmp_path, hub)
    assert (found.sha256, found.origin) == (whole_hash(), f"hf://{REPO}@{commit}")
    assert f"at the commit {commit}" in found.warnings[0]


def test_a_commit_in_the_cache_needs_no_network(tmp_path: Path, hub: HubServer) -> None:
    source = f"hf://{REPO}@{hub.repositories[REPO].names['main']}"
    fetch(tmp_path, hub, source)
    hub.requests.clear()
    assert (fetch(tmp_path, hub, source).warnings, hub.requests) == ((), [])


def test_without_the_hub_and_without_the_cache_the_job_fails(tmp_path: Path, hub: HubServer) -> None:
    hub.is_down = True
    assert "the hub answered 503" in refused(tmp_path, hub)
    hub.url = "http://127.0.0.1:9"
    assert "the hub cannot be reached at http://127.0.0.1:9/api/models" in refused(tmp_path, hub)


def test_half_a_download_goes_on_where_it_was_cut_off(tmp_path: Path, hub: HubServer) -> None:
    weights = os.urandom(3 * 2**20)
    hub.repository(REPO, {**WHOLE, "model.safetensors": weights})

    hub.store.stall = threading.Event()  # half of the file comes, and then nothing
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from pathlib import Path; from tests.unit.worker.models.test_hub import fetch; "
        f"from types import SimpleNamespace; fetch(Path({str(tmp_path)!r}), SimpleNamespace(url={hub.url!r}))"
    )
    worker = subprocess.Popen([sys.executable, "-P", "-c", code])
    partial = tmp_path / "partial"
    while not any(path.stat().st_size > 2**20 for path in partial.glob("*")):
        assert worker.poll() is None
        time.sleep(0.01)
    worker.kill()
    worker.wait()
    hub.store.stall.set()
    hub.store.stall = None
    hub.store.requests.clear()
    found = fetch(tmp_path, hub)
    assert (found.path.parent / "model.safetensors").read_bytes() == weights
    (asked,) = [headers for path, headers in hub.store.requests if "Range" in headers]
    assert int(asked["Range"].removeprefix("bytes=").removesuffix("-")) > 2**20


def test_the_progress_is_that_of_all_files_together(tmp_path: Path, hub: HubServer) -> None:
    hub.repository(REPO, {**WHOLE, "a.safetensors": bytes(2**20), "b.safetensors": b"b" * 2**20})
    seen: list[float] = []
    fetch(tmp_path, hub, on_progress=lambda share: seen.append(share) if share is not None else None)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1, abs=0.01)


def test_a_large_file_with_another_hash_is_refused_and_not_kept(tmp_path: Path, hub: HubServer) -> None:
    hub.store.files[f"/{SHA256}"] = b"tampere"
    assert f"but {SHA256} was promised: the file has changed" in refused(tmp_path, hub)
    hub.store.files[f"/{SHA256}"] = FILES["model.safetensors"]
    assert fetch(tmp_path, hub).sha256 == whole_hash()


@pytest.mark.parametrize(("content", "why"), [(b"[]", "the file has changed"), (b"longer", "but the hub lists 2")])
def test_a_small_file_with_another_hash_is_refused_and_not_kept(tmp_path: Path, hub: HubServer, content: bytes, why: str) -> None:
    hub.store.files["/small/tokenizer.json"] = content
    assert why in refused(tmp_path, hub)
    del hub.store.files["/small/tokenizer.json"]
    assert fetch(tmp_path, hub).sha256 == whole_hash()


def test_the_hub_says_why_it_refuses_and_the_worker_says_what_to_do(tmp_path: Path, hub: HubServer) -> None:
    gated = hub.repositories["org/gated"] = Repository(gated=True)
    private = hub.repositories["org/private"] = Repository(private=True)
    for repository in (gated, private):
        repository.commit(WHOLE)
    hub.tokens = {"hf_stranger": set(), "hf_friend": {"org/gated", "org/private"}}
    page = f"{hub.url}/org/gated"
    cases = {
        ("hf://org/gated", None): f"the repository is gated; accept its terms at {page}, and set HF_TOKEN of this worker",
        ("hf://org/gated", "hf_stranger"): "the account of HF_TOKEN of this worker has no access; ask for it",
        ("hf://org/private", None): "there is no repository org/private",
        ("hf://org/private", "hf_stranger"): "or the account of HF_TOKEN of this worker may not read it",
        ("hf://org/absent", None): "check its name, set HF_TOKEN of this worker if it is private",
        (f"hf://{REPO}@v9", None): f"the repository {REPO} has no revision 'v9'; give a branch, a tag or a commit",
        (f"hf://{REPO}", "hf_wrong"): "it does not know HF_TOKEN of this worker; set a token that is valid",
    }
    for (source, token), why in cases.items():
        said = refused(tmp_path, hub, source, token=token)
        assert why in said
        assert token is None or token not in said
    for name in ("org/gated", "org/private"):
        assert fetch(tmp_path, hub, f"hf://{name}", token="hf_friend").sha256 == whole_hash()


def test_the_token_goes_to_the_hub_and_not_to_the_store_of_large_files(tmp_path: Path, hub: HubServer) -> None:
    hub.tokens = {"hf_secret": set()}
    fetch(tmp_path, hub, token="hf_secret")
    assert {headers.get("Authorization") for _, _, headers in hub.requests} == {"Bearer hf_secret"}
    assert hub.store.requests
    assert not any("Authorization" in headers for _, headers in hub.store.requests)
    assert not any(b"hf_secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_repository_with_pickled_weights_only_is_refused_before_anything_is_downloaded(tmp_path: Path, hub: HubServer) -> None:
    hub.repository(REPO, {"config.json": CONFIG, "pytorch_model.bin": b"pickle", "tokenizer.json": b"{}"})
    assert "keeps its weights in 'pytorch_model.bin'" in refused(tmp_path, hub, kind=ModelInvalid)
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"model.safetensors": b"w"}, "has no config.json"),
        ({"config.json": b'{"a": 1}', "model.safetensors": b"w"}, "names no `model_type`"),
        ({"config.json": CONFIG}, "has no file of weights"),
        ({"config.json": CONFIG, "a:b.safetensors": b"w"}, "only a relative path inside"),
    ],
)
def test_a_repository_that_is_no_snapshot_is_refused(tmp_path: Path, hub: HubServer, files: dict[str, bytes], why: str) -> None:
    hub.repository(REPO, files)
    assert why in refused(tmp_path, hub, kind=ModelInvalid)


def test_a_snapshot_without_a_tokenizer_is_fetched_because_prompts_of_token_ids_need_none(tmp_path: Path, hub: HubServer) -> None:
    hub.repository(REPO, {"config.json": CONFIG, "model.safetensors": b"w"})
    assert {path.name for path in fetch(tmp_path, hub).path.parent.iterdir()} == {"config.json", "model.safetensors"}


def test_a_snapshot_that_is_too_large_is_refused_before_it_is_downloaded(tmp_path: Path, hub: HubServer) -> None:
    assert "FLEETMARK_WORKER_MAX_MODEL_BYTES of this worker allows 10" in refused(tmp_path, hub, max_bytes=10)
    assert len(hub.requests) == 1


def test_a_full_disk_is_noticed_before_the_download(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    said = refused(tmp_path, hub)
    assert "more bytes in the cache of this device, whose disk has 3 bytes left; free some space" in said
    assert len(hub.requests) == 1


@pytest.mark.parametrize("source", ["hf://tiny", f"hf://{REPO}/", f"hf://{REPO}@", f"hf://{REPO}/config.json", "hf://../.."])
def test_an_address_that_is_no_repository_says_what_one_looks_like(tmp_path: Path, hub: HubServer, source: str) -> None:
    assert "hf://org/repo[@revision], which is the whole repository" in refused(tmp_path, hub, source)


def test_an_answer_that_is_not_that_of_a_hub_is_refused(tmp_path: Path, hub: HubServer) -> None:
    hub.store.files[f"/api/models/{REPO}/revision/main"] = b"<html>"
    hub.url = hub.store.url
    assert "answered, but not as a hub does: is HF_ENDPOINT" in refused(tmp_path, hub)
