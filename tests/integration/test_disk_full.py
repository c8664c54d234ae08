"""Tests a disk that is really full: one job or call fails with a clear message, and work continues when there is space again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.store.schema import migrate
from shared.ids import job_id
from shared.inputs import ModelRef
from shared.protocol import keys
from shared.protocol.messages import Assignment
from tests.file_server import file_server
from tests.integration.api.conftest import serving
from tests.integration.api.test_outages import plane
from tests.integration.reports import WORKER, artifact, result
from tests.integration.test_way_of_a_job import counters
from tests.integration.worker_process import Fleet, eventually, fleet_at, tiny_job
from tests.servers import RedisServer, server_folder
from tests.small_disk import SmallDisk, small_disk

Submit = Callable[..., Submitted]
Register = Callable[..., str]
CAMPAIGN = {"model_url": "https://models.example/m.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]}


@dataclasses.dataclass
class Device:
    """Runs a worker whose cache and spool are on two small disks."""

    fleet: Fleet
    worker_id: str
    cache: SmallDisk
    spool: SmallDisk


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """Yield one device for the module. It takes seconds to start, and must keep running each time a disk becomes full."""
    folder = tmp_path_factory.mktemp("device")
    with ExitStack() as stack:
        server = RedisServer(stack.enter_context(server_folder()), append_only=False)
        server.start()
        stack.callback(server.stop)
        cache = stack.enter_context(small_disk(folder / "small-cache", 2))
        spool = stack.enter_context(small_disk(folder / "small-spool", 1))
        fleet = stack.enter_context(fleet_at(server.url, folder))
        worker = fleet.start(
            log=Path("/dev/full"),  # the worker must also keep running if its log cannot be written
            # output is buffered then, which container images turn off; what remains in the buffer must not end the worker either
            PYTHONUNBUFFERED="",
            FLEETMARK_WORKER_CACHE_DIR=str(cache.path),
            FLEETMARK_WORKER_SPOOL_DIR=str(spool.path),
            FLEETMARK_WORKER_ALLOW_PRIVATE_URLS="true",
        )
        yield Device(fleet, fleet.registered(worker), cache, spool)
        assert worker.end() == 0


def measures(device: Device, folder: Path, number: int) -> None:
    job = tiny_job(folder, number)
    device.fleet.send(job)
    done = device.fleet.report("result", job.job_id)
    device.fleet.answer(done, "recorded")
    assert done.status == "complete", done.error


def from_url(job: Assignment, url: str) -> Assignment:
    return job.model_copy(update={"workload": job.workload.model_copy(update={"inputs": {"model": ModelRef(source=url, name="big.onnx")}})})


def test_a_model_that_does_not_fit_fails_its_job_and_leaves_the_room_to_the_next(device: Device, tmp_path: Path) -> None:
    with file_server(big__onnx=os.urandom(4 << 20)) as server:
        job = from_url(tiny_job(tmp_path, 1), f"{server.url}/big.onnx")
        device.fleet.send(job)
        failed = device.fleet.report("result", job.job_id)
    assert (failed.status, failed.error_kind) == ("failed", "model_unavailable")
    assert "No space left on device" in failed.error
    assert "bound the cache with FLEETMARK_WORKER_MAX_CACHE_BYTES" in failed.error
    assert list((device.cache.path / "partial").iterdir()) == []
    measures(device, tmp_path, 2)


@pytest.mark.long
def test_samples_that_find_no_room_fail_their_job_with_what_to_do(device: Device, tmp_path: Path) -> None:
    device.cache.fill()
    job = tiny_job(tmp_path, 3)
    device.fleet.send(job)
    failed = device.fleet.report("result", job.job_id)
    assert (failed.status, failed.error_kind) == ("failed", "worker_error")
    assert "could not be written to the worker's cache folder; free some space on this device" in failed.error
    device.cache.free()
    measures(device, tmp_path, 4)


def test_a_result_that_finds_no_room_is_held_in_memory_until_it_is_answered(device: Device, tmp_path: Path) -> None:
    device.spool.fill()
    job = tiny_job(tmp_path, 5)
    device.fleet.send(job)
    done = device.fleet.report("result", job.job_id)
    assert done.status == "complete", done.error
    assert list(device.spool.path.glob(f"{job.job_id}.1.*")) == []
    held = [job.job_id, 1]
    eventually(lambda: held in json.loads(device.fleet.state(device.worker_id)["held"]), "the watch sees that it is held")
    device.fleet.answer(done, "recorded")
    eventually(lambda: device.fleet.redis.hlen(keys.answers(device.worker_id)) == 0, "the answer is taken")
    eventually(lambda: held not in json.loads(device.fleet.state(device.worker_id)["held"]), "it is let go")
    device.spool.free()
    measures(device, tmp_path, 6)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", 2) as made:
        yield made


def test_a_result_waits_at_its_worker_while_the_outputs_folder_is_full(
    ctx: Context, submit: Submit, register: Register, disk: SmallDisk
) -> None:
    """The disk accepts the first part of the samples and refuses the rest. Half a file must not be answered as if it were complete."""
    register()
    at = dataclasses.replace(ctx, settings=ctx.settings.model_copy(update={"outputs_dir": disk.path}))
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    samples = os.urandom(512 * 1024)
    report = result(name).model_copy(update={"artifacts": {"samples.npz": artifact(samples)}})
    disk.fill(leave_bytes=128 * 1024)
    record(at, [report])
    assert counters(at, campaign) == {"complete": 1}
    assert at.registry.redis.hgetall(keys.answers(WORKER)) == {}
    assert finish_ended(at) == 0
    disk.free()
    record(at, [report])
    assert at.registry.redis.hgetall(keys.answers(WORKER)) == {f"{name}/1": "recorded"}
    assert (disk.path / campaign.id / "samples" / f"{name}.npz").read_bytes() == samples
    assert finish_ended(at) == 1
    (table,) = disk.path.glob(f"{campaign.id}_*_results.csv")
    assert len(table.read_text().splitlines()) == 2


def is_full(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text[:300]
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["error"] == "Unavailable"
    assert "free some space" in answer.json()["detail"]
    assert "/proc/" not in answer.text  # a caller must not learn where our folders are


def test_files_that_the_orchestrator_has_no_room_for_are_503_and_leave_nothing(ctx: Context, submit: Submit, disk: SmallDisk) -> None:
    settings = ctx.settings.model_copy(update={"outputs_dir": disk.path / "outputs", "models_dir": disk.path / "models"})
    at = dataclasses.replace(ctx, settings=settings)
    name = job_id(submit(jobs=1).campaign.id, 1)
    piece = bytes(256 * 1024)
    headers = {"Digest": "sha-256=" + "A" * 43 + "=", "Content-Range": f"bytes 0-{len(piece) - 1}/{2 * len(piece)}"}
    with serving(at) as api:
        disk.fill(leave_bytes=64 * 1024)
        is_full(api.post("/api/models?name=m.onnx", content=piece))
        disk.fill()
        is_full(api.post("/api/models?name=m.onnx", content=b"so little that it is written when the file is closed"))
        is_full(api.put(f"/api/jobs/{name}/attempts/1/artifacts/samples.npz", content=piece, headers=headers))
        assert [path for path in (disk.path / "models").rglob("*") if path.is_file()] == []
        disk.free()
        assert api.post("/api/models?name=m.onnx", content=piece).status_code == 201
        assert api.put(f"/api/jobs/{name}/attempts/1/artifacts/samples.npz", content=piece, headers=headers).status_code == 200


def test_an_sqlite_file_that_finds_no_room_is_503_and_still_read(redis_url: str, tmp_path: Path) -> None:
    """The test sets SQLite's own limit of pages. SQLite follows links and would not write to the small disk, but the error is the same."""
    pages = "1000000000"
    with plane(redis_url, f"sqlite:///{tmp_path / 'fleetmark.db'}", tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)

        @event.listens_for(ctx.store.engine, "connect")
        def _limit(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}").close()

        kept = api.post("/api/campaigns", json=CAMPAIGN).json()["campaign_id"]
        pages = "1"  # SQLite raises this limit to the present number of pages
        ctx.store.engine.dispose()
        large = {**CAMPAIGN, "jobs": [{"compute_unit": "cpu.onnx"}] * 1000}
        is_full(api.post("/api/campaigns", json=large))
        assert [one["campaign_id"] for one in api.get("/api/campaigns").json()["campaigns"]] == [kept]
        pages = "1000000000"
        ctx.store.engine.dispose()
        assert api.post("/api/campaigns", json=CAMPAIGN).status_code == 201
        assert api.get("/api/campaigns").json()["count"] == 2
