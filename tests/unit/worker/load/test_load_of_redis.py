"""Tests the whole client side against a real Redis: from the request to a measured process to the figures of the job."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from shared.kinds.load import LoadSpec
from shared.request_records import NAME, RECORD, read_header
from shared.workloads import Workload
from tests.servers import RedisServer, server_folder
from worker.kinds.base import Repeat
from worker.kinds.load import LoadMeasure
from worker.measured.request import RunRequest


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False)
        server.start()
        yield server
        server.stop()


def spec(count: int | None = 2_000, duration_s: float | None = None, **more: object) -> dict[str, object]:
    content = {
        "service": {"type": "redis"},
        "client": {"type": "redis", "settings": {"num_keys": 500, "value_size_bytes": 100}},
        "phases": [{"name": "mixed", "operations": {"get": 3.0, "set": 1.0}, "count": count, "duration_s": duration_s}],
        **more,
    }
    return LoadSpec.model_validate(content, strict=False).model_dump(mode="json")


def request(server: RedisServer, folder: Path, what: dict[str, object]) -> RunRequest:
    return RunRequest("load", "service.redis", what, str(folder / "1.record"), warmup_min_s=0.1, address=f"redis://{server.place}")


def test_two_repeats_of_two_processes_give_every_figure_and_leave_the_users_keys_alone(server: RedisServer, tmp_path: Path) -> None:
    user = redis.Redis(port=server.port)
    user.set("fleetmark-is-not-our-prefix", "the user's")
    asked = request(server, tmp_path, spec(num_clients=2, concurrent_clients=4))
    phases: list[str] = []
    records = [LoadMeasure().run(replace(asked, repeat=number), phases.append) for number in range(2)]
    workload = Workload.model_validate({"kind": "load", **asked.spec, "repeats": 2}, strict=False)
    derived = LoadMeasure().derive(workload, [Repeat(record, 1.8e9) for record in records], [], "")

    assert derived.outcome is not None
    figures = {figure.name: figure for figure in derived.outcome.figures}
    assert derived.outcome.detail["requests"] == 2 * 2_000
    assert figures["success_rate"].value == 100
    assert figures["error_count"].value == 0
    assert figures["concurrency"].value == 8
    assert len(figures["requests_per_s"].repeats) == 2
    assert figures["requests_per_s"].value == figures["ops_per_second"].value
    assert (figures["latency_ms_p50"].value or 0) <= (figures["latency_ms_p99"].value or 0)
    assert figures["rate_asked"].missing == "a closed loop has no schedule"
    assert (figures["client_ceiling_per_s"].value or 0) > 1_000
    operations = derived.outcome.detail["by_operation"]
    assert operations["get"]["requests"] + operations["set"]["requests"] == 4_000
    assert 0.7 < operations["get"]["requests"] / 4_000 < 0.8
    assert derived.outcome.detail["connections"] == {"opened": 2 * (8 + 1), "lost": 0}  # one of each repeat made the keys
    assert phases[:3] == ["loading", "measuring what the clients can do", "preparing inputs"]
    assert phases.count("measuring what the clients can do") == 1

    content = derived.files[NAME]
    header = read_header(io.BytesIO(content))
    assert [(part.repeat, part.client) for part in header.parts] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len(content) - content.index(b"\n") - 1 == RECORD.size * sum(part.count for part in header.parts)
    assert user.keys("*") == [b"fleetmark-is-not-our-prefix"]
