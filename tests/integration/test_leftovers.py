"""Halves of files whose process was killed: they go when nobody will finish them, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.leftovers import ABANDONED_S, sweep_leftovers
from orchestrator.operations.models import unfinished_models
from orchestrator.operations.uploads import Upload, all_uploads
from shared.clock import FakeClock, SystemClock
from shared.errors import Unavailable
from shared.ids import job_id
from shared.workloads import ModelRef
from tests.file_server import file_server
from tests.integration.control_plane import control_plane
from tests.integration.worker_process import eventually
from worker.models import ModelStore
from worker.models.cache import ABANDONED_S as DOWNLOAD_ABANDONED_S
from worker.models.cache import Cache

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


def test_an_upload_whose_result_never_came_goes_and_can_be_sent_again(ctx: Context, clock: FakeClock) -> None:
    job = job_id("campaign-20260301-120000-abcd", 1)
    whole, part = Upload(ctx, job, 1, "samples.npz"), Upload(ctx, job, 2, "samples.npz")
    for upload in (whole, part):
        upload.add(b"a piece", 0, 14)
    whole.part.replace(whole.whole)
    age(whole.whole, ABANDONED_S + 1, clock)
    age(part.part, ABANDONED_S - 60, clock)
    assert sweep_leftovers(ctx) == 1
    assert all_uploads(ctx) == [part.part]
    assert (whole.received(), part.received()) == (0, 7), "its worker is told to begin anew"


def test_a_folder_that_gives_nothing_back_harms_nobody(ctx: Context, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    stuck = ctx.settings.models_dir / ".part-stuck"
    stuck.mkdir(parents=True)  # no file, so it cannot be unlinked
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
    """The download is called off."""


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
        Cache(tmp_path, SystemClock()).sweep()
        assert list((tmp_path / "partial").iterdir()) == []


def test_halves_count_into_what_a_cache_may_hold_and_go_before_what_was_used_since(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SystemClock())
    half, blob = cache.partial("a" * 64), tmp_path / "blobs" / "b"
    blob.parent.mkdir()
    for number, path in enumerate((half, blob), start=1):
        path.write_bytes(b"x" * 1000)
        os.utime(path, (number, number))
    cache.trim(2000)
    assert half.exists()
    cache.trim(1500)
    assert (half.exists(), blob.exists()) == (False, True)
