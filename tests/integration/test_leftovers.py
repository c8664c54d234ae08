"""Tests incomplete files of killed processes: they are removed when no process will complete them, and not before."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.leftovers import ABANDONED_S, sweep_leftovers
from orchestrator.operations.models import unfinished_models
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.operations.uploads import Upload, all_uploads
from shared.clock import FakeClock, SystemClock
from shared.errors import Unavailable
from shared.ids import campaign_of, job_id
from shared.inputs import ModelRef
from shared.protocol.messages import Artifact
from tests.file_server import file_server
from tests.integration.control_plane import control_plane
from tests.integration.reports import result
from tests.integration.worker_process import eventually
from worker.models import ModelStore
from worker.models.cache import ABANDONED_S as DOWNLOAD_ABANDONED_S
from worker.models.cache import NOTES, Cache

TAKES_A_MODEL = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from orchestrator.operations.models import Incoming

incoming = Incoming(SimpleNamespace(settings=SimpleNamespace(models_dir=Path(sys.argv[1]), max_model_bytes=2**30)))
incoming.add(b"half" * 2**20)
print("half", flush=True)
time.sleep(60)
"""


def age(path: Path, seconds: float, clock: FakeClock) -> None:
    at = clock.now().timestamp() - seconds
    os.utime(path, (at, at))


def killed_with_half_a_model(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", TAKES_A_MODEL, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()


def test_half_a_model_of_a_killed_process_goes_after_two_days(ctx: Context, clock: FakeClock) -> None:
    killed_with_half_a_model(ctx.settings.models_dir)
    [half] = unfinished_models(ctx)
    assert half.stat().st_size > 0
    age(half, ABANDONED_S - 60, clock)
    assert sweep_leftovers(ctx) == 0, "it may still be coming in"
    clock.advance(61)
    assert sweep_leftovers(ctx) == 1
    assert unfinished_models(ctx) == []


def uploaded(ctx: Context, clock: FakeClock, job: str, attempt: int = 1, *, whole: bool = False) -> Upload:
    """Make a piece of a job's samples that arrived long ago."""
    upload = Upload(ctx, job, attempt, "samples.npz")
    upload.add(b"a piece", 0, 7 if whole else 14)
    if whole:
        upload.finish(hashlib.sha256(b"a piece").hexdigest())
    age(upload.whole if whole else upload.part, ABANDONED_S + 1, clock)
    return upload


def test_an_upload_goes_when_its_job_has_ended_without_it_or_is_gone(
    ctx: Context, clock: FakeClock, submit: Callable[..., Submitted], register: Callable[..., str]
) -> None:
    register()
    campaign = submit(jobs=2).campaign
    ended, waits = job_id(campaign.id, 1), job_id(campaign.id, 2)
    of_ended, of_waiting, of_nobody = (uploaded(ctx, clock, name, 2) for name in (ended, waits, f"campaign-{'0' * 18}-job-1"))
    stranger = of_ended.part.with_name("notes.txt")
    stranger.touch()
    age(stranger, ABANDONED_S + 1, clock)
    record(ctx, [result(ended)])
    young = Upload(ctx, ended, 3, "samples.npz")
    young.add(b"a piece", 0, 14)
    age(young.part, ABANDONED_S - 60, clock)
    assert sweep_leftovers(ctx) == 2
    assert sorted(all_uploads(ctx)) == sorted([of_waiting.part, young.part, stranger])
    assert (of_ended.received(), of_nobody.received()) == (0, 0), "whoever sends it after all begins anew"


def test_a_whole_upload_that_a_recorded_result_still_lacks_stays(
    ctx: Context, clock: FakeClock, submit: Callable[..., Submitted], register: Callable[..., str]
) -> None:
    """The outputs folder was full when the result was recorded, and the device has left. So this is the only copy."""
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    samples = Artifact(sha256=hashlib.sha256(b"a piece").hexdigest(), size=7)
    folder = ctx.settings.outputs_dir / campaign_of(name) / "samples"
    folder.parent.mkdir(parents=True)
    folder.touch()  # this file prevents that the folder is made
    upload = uploaded(ctx, clock, name, whole=True)
    sent = result(name).model_copy(update={"artifacts": {"samples.npz": samples}})
    record(ctx, [sent])
    age(upload.whole, ABANDONED_S + 1, clock)
    assert sweep_leftovers(ctx) == 0
    folder.unlink()
    record(ctx, [sent])
    assert all_uploads(ctx) == []
    assert (folder / f"{name}.npz").read_bytes() == b"a piece"


def test_a_folder_that_gives_nothing_back_harms_nobody(ctx: Context, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    stuck = ctx.settings.models_dir / ".part-stuck"
    stuck.mkdir(parents=True)  # this is a folder, so it cannot be unlinked
    (stuck / "inner").touch()
    age(stuck, ABANDONED_S + 1, clock)
    assert sweep_leftovers(ctx) == 0
    assert "cannot be removed" in caplog.text


def test_a_running_orchestrator_sweeps_when_it_starts(tmp_path: Path, redis_url: str) -> None:
    models = tmp_path / "models"
    killed_with_half_a_model(models)
    [half] = models.iterdir()
    old = time.time() - ABANDONED_S - 60
    os.utime(half, (old, old))
    with control_plane(redis_url, tmp_path):
        eventually(lambda: not half.exists(), "the half is removed")


class Enough(Unavailable):
    """Cancels the download."""


def test_an_interrupted_download_goes_after_a_week_unless_somebody_goes_on_with_it(tmp_path: Path) -> None:
    def stop_halfway(share: float | None) -> None:
        if share is not None and share > 0.3:
            raise Enough("enough")

    with file_server(big__onnx=os.urandom(3 << 20), small__onnx=b"small", other__onnx=b"other") as server:
        store = ModelStore(tmp_path, host=None, token=None, max_bytes=16 << 20, allow_private=True)

        def fetch(name: str) -> None:
            store.fetch(ModelRef(source=f"{server.url}/{name}", name="m"), lambda _share: None)

        with pytest.raises(Enough):
            store.fetch(ModelRef(source=f"{server.url}/big.onnx", name="m"), stop_halfway)
        halves = sorted((tmp_path / "partial").iterdir())
        assert [path.suffix for path in halves] == ["", ".json"]
        fetch("small.onnx")
        assert sorted((tmp_path / "partial").iterdir()) == halves, "it may be taken up again"
        for path in halves:
            old = time.time() - DOWNLOAD_ABANDONED_S - 60
            os.utime(path, (old, old))
        with Cache(tmp_path, SystemClock()).locked(halves[0].name, lambda: None):
            fetch("other.onnx")
            assert sorted((tmp_path / "partial").iterdir()) == halves, "somebody goes on with it"
        half_a_set = tmp_path / "sets" / "tmp1234"
        half_a_set.mkdir(parents=True)
        (half_a_set / "model.onnx").touch()
        Cache(tmp_path, SystemClock()).sweep()
        assert list((tmp_path / "partial").iterdir()) == []
        assert half_a_set.exists(), "it is of today"
        os.utime(half_a_set, (old, old))
        Cache(tmp_path, SystemClock()).sweep()
        assert not half_a_set.exists()


def test_half_a_download_that_cannot_be_removed_fails_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path, SystemClock())
    half = cache.partial("a" * 64)
    half.mkdir()  # this is a folder, so it cannot be unlinked
    os.utime(half, (1, 1))
    lock = tmp_path / "locks" / ("b" * 64)
    lock.mkdir(parents=True)  # this is a folder, so it cannot be opened as a lock file
    other = cache.partial("b" * 64)
    other.touch()
    os.utime(other, (1, 1))
    with file_server(small__onnx=b"small") as server:
        store = ModelStore(tmp_path, host=None, token=None, max_bytes=1 << 20, cache_bytes=1, allow_private=True)
        assert store.fetch(ModelRef(source=f"{server.url}/small.onnx", name="m"), lambda _share: None).size == 5
    assert (half.exists(), other.exists()) == (True, True)
    assert caplog.text.count("cannot be removed") >= 2


def test_partial_downloads_count_in_the_cache_limit_and_are_removed_before_newer_files(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SystemClock())
    half, blob = cache.partial("a" * 64), tmp_path / "blobs" / "b"
    notes = half.with_suffix(NOTES)
    blob.parent.mkdir()
    for number, path in enumerate((notes, half, blob), start=1):
        path.write_bytes(b"x" * 1000)
        os.utime(path, (number, number))
    cache.trim(2000)
    assert (notes.exists(), half.exists()) == (True, True), "never the notes alone"
    cache.trim(1500)
    assert (notes.exists(), half.exists(), blob.exists()) == (False, False, True)
