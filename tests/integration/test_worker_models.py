"""Tests models over real HTTP and from real disks: they are fetched once, verified, resumed, refused with a reason, and never damaged."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.clock import SystemClock
from shared.errors import ModelInvalid, ModelUnavailable
from shared.inputs import Companion, ModelRef
from tests import onnx_models
from tests.file_server import FileServer, file_server
from tests.measuring import LIGHT_MODELS, Stages, assignment, supervisor
from tests.servers import free_port
from worker.models import FetchedModel, ModelStore
from worker.models.cache import Cache

MODEL = (LIGHT_MODELS / "light_squeezenet.onnx").read_bytes()
BIG = os.urandom(3 << 20)
LIMIT = 16 << 20


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server(model__onnx=MODEL, big__onnx=BIG) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetch(
    cache: Path, source: str, *, host: str | None = None, token: str | None = None, limit: int = LIMIT, **ref: object
) -> FetchedModel:
    """Fetch a model as a worker does. The tests' servers have loopback addresses.

    A recipe may name such an address only if the worker allows it. The worker's own orchestrator is always trusted.
    """
    store = ModelStore(cache, host=host, token=token, max_bytes=limit, allow_private=host is None)
    return store.fetch(ModelRef.model_validate({"source": source, "name": "model.onnx", **ref}), lambda _share: None)


def refused(cache: Path, source: str, **options: object) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        fetch(cache, source, **options)  # type: ignore[arg-type]  # these are options of `fetch`, passed on unchanged
    assert source.partition("?")[0] in caught.value.detail or source.startswith("sha256:")
    assert not list((cache / "blobs").iterdir() if (cache / "blobs").exists() else [])
    return caught.value.detail


def test_a_download_is_whole_and_known_by_its_content(cache: Path, server: FileServer) -> None:
    shares: list[float | None] = []
    store = ModelStore(cache, host=None, token=None, max_bytes=LIMIT, allow_private=True)
    fetched = store.fetch(ModelRef(source=f"{server.url}/big.onnx", name="big.onnx"), shares.append)
    assert fetched.path.read_bytes() == BIG
    assert (fetched.sha256, fetched.size, fetched.name) == (sha256(BIG), len(BIG), "big.onnx")
    known = [share for share in shares if share is not None]
    assert known == sorted(known)
    assert known[-1] == 1
    assert list((cache / "partial").iterdir()) == []


def test_a_second_job_asks_again_and_downloads_nothing(cache: Path, server: FileServer) -> None:
    first = fetch(cache, f"{server.url}/big.onnx")
    second = fetch(cache, f"{server.url}/big.onnx")
    assert second == first
    assert server.answers == [200, 304]


def test_a_changed_file_is_downloaded_again(cache: Path, server: FileServer) -> None:
    first = fetch(cache, f"{server.url}/big.onnx")
    server.files["/big.onnx"] = MODEL
    second = fetch(cache, f"{server.url}/big.onnx")
    assert second.path.read_bytes() == MODEL
    assert first.path.read_bytes() == BIG  # the file is addressed by its content, so the job that still uses it keeps it
    assert server.answers == [200, 200]


def test_a_server_without_validators_is_downloaded_from_each_time(cache: Path, server: FileServer) -> None:
    server.validators = False
    fetch(cache, f"{server.url}/big.onnx")
    fetch(cache, f"{server.url}/big.onnx")
    assert server.answers == [200, 200]


def test_a_promised_hash_that_is_here_needs_no_network(cache: Path, server: FileServer) -> None:
    fetch(cache, f"{server.url}/big.onnx")
    server.status = 500
    assert fetch(cache, f"{server.url}/big.onnx", sha256=sha256(BIG)).path.read_bytes() == BIG
    assert server.answers == [200]


def test_another_hash_than_promised_is_refused_and_not_kept(cache: Path, server: FileServer) -> None:
    reason = refused(cache, f"{server.url}/big.onnx", sha256="0" * 64)
    assert sha256(BIG) in reason
    assert "0" * 64 in reason


def test_a_broken_download_goes_on_where_it_broke(cache: Path, server: FileServer) -> None:
    server.cut_after = 2 << 20
    assert fetch(cache, f"{server.url}/big.onnx").path.read_bytes() == BIG
    assert server.answers == [200, 206]
    assert server.bytes_sent == len(BIG)
    assert server.requests[1][1]["Range"] == f"bytes={2 << 20}-"


def test_a_later_process_goes_on_with_an_interrupted_download(cache: Path, server: FileServer) -> None:
    server.cut_after, server.cut_always, server.ranges = 2 << 20, True, False
    with pytest.raises(ModelUnavailable, match="truncated"):
        fetch(cache, f"{server.url}/big.onnx")
    server.cut_after, server.ranges = None, True
    assert fetch(cache, f"{server.url}/big.onnx").path.read_bytes() == BIG
    assert server.answers[-1] == 206


def test_a_file_that_changed_since_starts_over(cache: Path, server: FileServer) -> None:
    server.cut_after, server.cut_always, server.ranges = 2 << 20, True, False
    with pytest.raises(ModelUnavailable, match="truncated"):
        fetch(cache, f"{server.url}/big.onnx")
    other = os.urandom(3 << 20)
    server.cut_after, server.ranges, server.files["/big.onnx"] = None, True, other
    assert fetch(cache, f"{server.url}/big.onnx").path.read_bytes() == other


def test_a_server_that_always_breaks_off_is_called_truncated(cache: Path, server: FileServer) -> None:
    server.cut_after, server.cut_always = 1000, True
    server.ranges = False
    assert "is truncated" in refused(cache, f"{server.url}/big.onnx")


@pytest.mark.parametrize(("status", "said"), [(404, "there is nothing at this address"), (403, "it refuses"), (503, "try again later")])
def test_a_refusal_names_the_url_the_status_and_what_to_do(cache: Path, server: FileServer, status: int, said: str) -> None:
    server.status = status
    reason = refused(cache, f"{server.url}/model.onnx")
    assert f"{server.url}/model.onnx answered {status}" in reason
    assert said in reason


def test_a_host_that_is_not_there_is_named(cache: Path) -> None:
    assert "cannot be reached" in refused(cache, f"http://127.0.0.1:{free_port()}/model.onnx")


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "unannounced"])
def test_a_file_above_the_limit_is_refused_before_it_fills_the_disk(cache: Path, server: FileServer, chunked: bool) -> None:
    server.chunked = chunked
    reason = refused(cache, f"{server.url}/big.onnx", limit=1 << 20)
    assert "FLEETMARK_WORKER_MAX_MODEL_BYTES of this worker leaves 1048576 bytes for it" in reason
    assert list((cache / "partial").iterdir()) == []


@pytest.mark.parametrize("source", ["ftp://example.org/model.onnx", "s3://bucket/model.onnx", "model.onnx"])
def test_a_scheme_that_is_not_spoken_is_refused(cache: Path, source: str) -> None:
    assert "is not supported; give an http(s)://, hf:// or file:// URL" in refused(cache, source)


def test_redirects_are_followed_but_not_to_another_scheme(cache: Path, server: FileServer) -> None:
    server.redirects = {"/moved": "/model.onnx", "/away": "ftp://example.org/model.onnx", "/round": "/round"}
    assert fetch(cache, f"{server.url}/moved").path.read_bytes() == MODEL
    for path in ("/away", "/round"):
        with pytest.raises(ModelUnavailable, match=path):
            fetch(cache, f"{server.url}{path}")


def test_a_local_file_is_used_where_it_lies_and_never_changed(cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "my model.onnx"
    own.write_bytes(MODEL)
    before = own.stat()
    fetched = fetch(cache, own.as_uri())
    assert fetched.path == own
    assert (fetched.sha256, fetched.size) == (sha256(MODEL), len(MODEL))
    Cache(cache, SystemClock()).trim(0)
    after = own.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, before.st_nlink)


def test_a_local_file_that_changed_is_hashed_again(cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "model.onnx"
    store = ModelStore(cache, host=None, token=None, max_bytes=LIMIT)
    for content in (MODEL, BIG):
        own.write_bytes(content)
        assert store.fetch(ModelRef(source=own.as_uri(), name="m"), lambda _share: None).sha256 == sha256(content)


def test_a_missing_or_foreign_path_is_refused(cache: Path, tmp_path: Path) -> None:
    assert "does not exist on this device" in refused(cache, (tmp_path / "missing.onnx").as_uri())
    assert "names the host 'elsewhere'" in refused(cache, "file://elsewhere/model.onnx")


def test_a_local_file_with_another_hash_than_promised_is_refused(cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "model.onnx"
    own.write_bytes(MODEL)
    assert sha256(MODEL) in refused(cache, own.as_uri(), sha256="1" * 64)


def test_another_size_than_promised_is_refused(cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "model.onnx"
    own.write_bytes(MODEL)
    assert f"has {len(MODEL)} bytes, not the promised 7" in refused(cache, own.as_uri(), size=7)


def test_an_uploaded_model_comes_from_the_orchestrator_with_the_token(cache: Path) -> None:
    with file_server() as host:
        host.files[f"/api/models/{sha256(MODEL)}"] = MODEL
        fetched = fetch(cache, f"sha256:{sha256(MODEL)}", host=f"{host.url}/", token="secret")
        assert fetched.path.read_bytes() == MODEL
        assert host.requests[0][1]["Authorization"] == "Bearer secret"
        fetch(cache, f"sha256:{sha256(MODEL)}", host=host.url, token="secret")
        assert len(host.requests) == 1  # the content for a hash never changes, so nothing is requested


def test_the_token_goes_to_the_orchestrator_alone(cache: Path, server: FileServer) -> None:
    store = ModelStore(cache, host="http://elsewhere.example", token="secret", max_bytes=LIMIT, allow_private=True)
    store.fetch(ModelRef(source=f"{server.url}/model.onnx", name="m"), lambda _share: None)
    assert "Authorization" not in server.requests[0][1]


def test_an_upload_that_is_not_what_its_name_says_is_refused(cache: Path) -> None:
    with file_server() as host:
        host.files[f"/api/models/{sha256(BIG)}"] = MODEL
        assert sha256(BIG) in refused(cache, f"sha256:{sha256(BIG)}", host=host.url)
    assert "no orchestrator to fetch it from" in refused(cache, f"sha256:{sha256(BIG)}")
    assert "is no SHA-256" in refused(cache, "sha256:beef", host="http://127.0.0.1:1")


def test_companions_of_an_upload_lie_beside_it_under_their_names(cache: Path, tmp_path: Path) -> None:
    model = onnx_models.external(tmp_path / "made").read_bytes()
    weights = (tmp_path / "made" / "weights" / "big.bin").read_bytes()
    with file_server() as host:
        host.files |= {f"/api/models/{sha256(data)}": data for data in (model, weights)}
        companion = Companion(name="weights/big.bin", sha256=sha256(weights), size=len(weights))
        fetched = fetch(cache, f"sha256:{sha256(model)}", host=host.url, companions=(companion,))
        again = fetch(cache, f"sha256:{sha256(model)}", host=host.url, companions=(companion,))
    assert again == fetched
    assert fetched.path.name == "model.onnx"
    assert (fetched.path.parent / "weights" / "big.bin").read_bytes() == weights
    assert fetched.size == len(model) + len(weights)


def test_external_data_of_a_url_is_fetched_from_beside_it_and_runs(cache: Path, tmp_path: Path, server: FileServer) -> None:
    from worker.engines.base import Options
    from worker.engines.inputs import make_inputs
    from worker.engines.onnx import OnnxEngine

    path = onnx_models.external(tmp_path / "made", location="big weights.bin")
    server.files |= {"/zoo/external.onnx": path.read_bytes(), "/zoo/big%20weights.bin": (path.parent / "big weights.bin").read_bytes()}
    fetched = fetch(cache, f"{server.url}/zoo/external.onnx?download=true")
    engine = OnnxEngine()
    engine.load(fetched.path, Options(), "cpu.onnx")
    assert engine.bind(make_inputs(engine, Options(), fetched.path.parent).arrays)()
    server.answers.clear()
    assert fetch(cache, f"{server.url}/zoo/external.onnx?download=true") == fetched
    assert server.answers == [304, 304]


def test_external_data_that_is_missing_is_named_by_its_url(cache: Path, tmp_path: Path, server: FileServer) -> None:
    server.files["/zoo/external.onnx"] = onnx_models.external(tmp_path / "made").read_bytes()
    with pytest.raises(ModelUnavailable, match=r"/zoo/weights/big\.bin answered 404"):
        fetch(cache, f"{server.url}/zoo/external.onnx")


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "a/../../b.bin", "..\\b.bin", "C:\\b.bin"])
def test_external_data_outside_the_models_folder_is_refused(cache: Path, tmp_path: Path, server: FileServer, location: str) -> None:
    server.files["/external.onnx"] = onnx_models.external(tmp_path / "made", location=location).read_bytes()
    with pytest.raises(ModelInvalid, match="only a relative path inside the model's own folder"):
        fetch(cache, f"{server.url}/external.onnx")
    with pytest.raises(ValidationError, match="no relative path inside the model's own folder"):
        Companion(name=location, sha256="0" * 64, size=1)


def test_weights_that_were_not_uploaded_with_their_model_are_named(cache: Path, tmp_path: Path) -> None:
    model = onnx_models.external(tmp_path / "made").read_bytes()
    with file_server() as host:
        host.files[f"/api/models/{sha256(model)}"] = model
        with pytest.raises(
            ModelUnavailable, match=r"keeps weights in 'weights/big\.bin', which is not beside it: upload it with the model"
        ):
            fetch(cache, f"sha256:{sha256(model)}", host=host.url)


def test_two_threads_and_two_processes_download_once(cache: Path, server: FileServer) -> None:
    code = (
        "import sys; from pathlib import Path; from worker.models import ModelStore; from shared.workloads import ModelRef;"
        "ref = ModelRef(source=sys.argv[2], name='m');"
        "print(ModelStore(Path(sys.argv[1]), host=None, token=None, max_bytes=2**30, allow_private=True).fetch(ref, lambda _: None).sha256)"
    )
    command = [sys.executable, "-c", code, str(cache), f"{server.url}/big.onnx"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) for _ in range(2)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(cache, f"{server.url}/big.onnx").sha256)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += [process.communicate()[0].strip() for process in processes]
    assert found == [sha256(BIG)] * 4
    assert sorted(server.answers) == [200, 304, 304, 304]


def test_a_fetch_can_be_called_off_and_taken_up_again(cache: Path, server: FileServer) -> None:
    class Enough(Exception):
        pass

    def stop_after_a_while(share: float | None) -> None:
        if share is not None and share > 0.3:
            raise Enough

    store = ModelStore(cache, host=None, token=None, max_bytes=LIMIT, allow_private=True)
    with pytest.raises(Enough):
        store.fetch(ModelRef(source=f"{server.url}/big.onnx", name="m"), stop_after_a_while)
    assert fetch(cache, f"{server.url}/big.onnx").path.read_bytes() == BIG
    assert server.answers == [200, 206]


def test_the_cache_lets_go_of_what_was_used_longest_ago(cache: Path, server: FileServer) -> None:
    first = fetch(cache, f"{server.url}/big.onnx")
    second = fetch(cache, f"{server.url}/model.onnx")
    os.utime(first.path, (1, 1))
    Cache(cache, SystemClock()).trim(len(MODEL))
    assert not first.path.exists()
    assert second.path.exists()
    assert fetch(cache, f"{server.url}/big.onnx").path.read_bytes() == BIG  # the note about its URL is useless without the file


def test_what_was_used_within_the_hour_stays(cache: Path, server: FileServer) -> None:
    first = fetch(cache, f"{server.url}/big.onnx")
    Cache(cache, SystemClock()).trim(0)
    assert first.path.exists()


def test_a_model_in_use_stays_for_as_long_as_the_job_lasts(tmp_path: Path) -> None:
    """Another worker of the device fills the cache while a job of many hours is between two of its processes."""
    cache = tmp_path / "cache"
    schedule = json.dumps({"sleeps_s": [0.05]}).encode()

    def fill_the_cache(stage: str, _share: float | None) -> None:
        if stage.endswith("measuring"):
            for path in [*(cache / "blobs").iterdir(), *(cache / "sets").iterdir()]:
                os.utime(path, (1, 1))
            Cache(cache, SystemClock()).trim(0)

    with file_server(schedule__json=schedule) as running, supervisor(tmp_path) as measurer:
        Cache(cache, SystemClock()).trim(0)
        outcome = measurer.run(assignment(f"{running.url}/schedule.json", repeats=3), fill_the_cache)
    assert outcome.status == "complete", outcome.error
    Cache(cache, SystemClock()).trim(0)
    assert list((cache / "blobs").iterdir()) == [], "afterwards it goes"


def test_an_assembled_model_in_use_stays_too(cache: Path) -> None:
    made = Cache(cache, SystemClock())
    blob = made.partial("key")
    blob.write_bytes(MODEL)
    made.adopt(blob, sha256(MODEL))
    model = made.assemble("model.onnx", {"model.onnx": sha256(MODEL)})
    with made.in_use(model):
        os.utime(model.parent, (1, 1))
        os.utime(cache / "blobs" / sha256(MODEL), (1, 1))
        Cache(cache, SystemClock()).trim(0)
        assert model.read_bytes() == MODEL


def test_what_the_same_download_fetched_long_ago_is_not_evicted_by_it(cache: Path, server: FileServer) -> None:
    first = fetch(cache, f"{server.url}/big.onnx")
    os.utime(first.path, (1, 1))
    Cache(cache, SystemClock()).trim(0, keep=[first.path])
    assert first.path.exists()


def test_a_cache_that_cannot_be_written_is_a_reason_and_no_traceback(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match="cannot be stored or read on this device"):
        fetch(tmp_path / "file" / "cache", f"{server.url}/model.onnx")


def test_what_is_no_model_is_called_by_the_name_its_user_knows(tmp_path: Path) -> None:
    with file_server(page__onnx=b"<html>not a model</html>") as running, supervisor(tmp_path) as measurer:
        outcome = measurer.run(assignment(f"{running.url}/page.onnx", capability="cpu.onnx"), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "model_invalid")
    assert outcome.error.startswith("page.onnx is no ONNX model")
    assert sha256(b"<html>not a model</html>") not in outcome.error
