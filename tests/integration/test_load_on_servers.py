"""Tests the whole client side on real servers: from the request to a measured process to the figures of the job."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import psutil
import psycopg
import pytest
import redis

from shared.errors import EngineUnavailable, ModelInvalid
from shared.figures import Figure
from shared.kinds.load import LoadSpec
from shared.request_records import NAME, RECORD, read_header
from shared.workloads import Workload
from tests.servers import PostgresServer, RedisServer, free_port, running, server_folder
from worker.interpreter import ROOT
from worker.kinds.base import Repeat
from worker.kinds.load import LoadMeasure
from worker.measured.request import RunRequest


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(lambda folder: RedisServer(folder, append_only=False)) as server:
        yield server


def spec(
    count: int | None = 2_000, duration_s: float | None = None, settings: dict[str, Any] | None = None, **more: object
) -> dict[str, Any]:
    content = {
        "service": {"type": "redis"},
        "client": {"type": "redis", "settings": {"num_keys": 500, "value_size_bytes": 100, **(settings or {})}},
        "phases": [{"name": "mixed", "operations": {"get": 3.0, "set": 1.0}, "count": count, "duration_s": duration_s}],
        **more,
    }
    return LoadSpec.model_validate(content, strict=False).model_dump(mode="json")


def request(server: RedisServer, folder: Path, what: dict[str, Any]) -> RunRequest:
    return RunRequest("load", "service.redis", what, str(folder / "1.record"), warmup_min_s=0.1, address=f"redis://{server.place}")


def measure(asked: RunRequest, repeats: int = 1) -> tuple[dict[str, Figure], dict[str, Any], bytes]:
    """Return the figures of a job, its detail and its requests.bin."""
    records = [LoadMeasure().run(replace(asked, repeat=number), lambda _phase: None) for number in range(repeats)]
    workload = Workload.model_validate({"kind": "load", **asked.spec, "repeats": repeats}, strict=False)
    derived = LoadMeasure().derive(workload, [Repeat(record, 1.8e9) for record in records], [], "")
    assert derived.outcome is not None
    return {figure.name: figure for figure in derived.outcome.figures}, derived.outcome.detail, Path(derived.files[NAME]).read_bytes()  # type: ignore[arg-type]


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
    assert derived.outcome.detail["connections"] == {"opened": 2 * (8 + 1), "lost": 0}  # one connection of each repeat made the keys
    assert phases[:3] == ["loading", "measuring what the clients can do", "preparing inputs"]
    assert phases.count("measuring what the clients can do") == 1

    path = derived.files[NAME]
    assert isinstance(path, Path)
    content = path.read_bytes()
    header = read_header(io.BytesIO(content))
    assert [(part.repeat, part.client) for part in header.parts] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len(content) - content.index(b"\n") - 1 == RECORD.size * sum(part.count for part in header.parts)
    assert user.keys("*") == [b"fleetmark-is-not-our-prefix"]


def test_an_open_loop_asks_for_its_rate_and_measures_from_the_schedule(server: RedisServer, tmp_path: Path) -> None:
    load = {"pattern": "poisson", "rate": 400.0}
    figures, detail, _ = measure(request(server, tmp_path, spec(None, 1.5, concurrent_clients=8, num_clients=2, load=load)))
    assert figures["rate_asked"].value == pytest.approx(400, rel=0.15)
    assert figures["rate_achieved"].value == pytest.approx(figures["rate_asked"].value, rel=0.03)
    assert figures["latency_scheduled_ms_p50"].value >= figures["latency_ms_p50"].value  # type: ignore[operator]
    assert figures["dispatch_delay_ms_p99"].n == detail["requests"] - detail["apart"]["never_sent"] == pytest.approx(600, rel=0.15)


@pytest.mark.long
def test_a_multi_stream_waits_for_the_whole_query_and_a_pipeline_answers_each_command(server: RedisServer, tmp_path: Path) -> None:
    figures, detail, _ = measure(request(server, tmp_path, spec(400, load={"pattern": "multi_stream", "per_query": 4})))
    assert (figures["concurrency"].value, detail["requests"], figures["success_rate"].value) == (4, 400, 100)
    (tmp_path / "b").mkdir()
    figures, detail, _ = measure(request(server, tmp_path / "b", spec(1_603, settings={"pipeline": 16}, concurrent_clients=2)))
    assert (detail["requests"], figures["success_rate"].value) == (1_603, 100)


def test_a_warm_up_sends_at_most_as_many_requests_as_are_counted(server: RedisServer, tmp_path: Path) -> None:
    _, detail, _ = measure(request(server, tmp_path, spec(20)))
    assert detail["requests"] == 20
    assert detail["apart"]["warm_up"] == 20


def test_a_pipeline_on_a_schedule_and_an_address_where_nobody_listens_are_refused(server: RedisServer, tmp_path: Path) -> None:
    asked = request(server, tmp_path, spec(settings={"pipeline": 4}, load={"pattern": "constant", "rate": 9.0}))
    with pytest.raises(ModelInvalid, match=r"client\.settings\.pipeline is 4 and load\.pattern is constant"):
        LoadMeasure().run(asked, lambda _phase: None)
    with pytest.raises(EngineUnavailable, match="the service cannot be reached"):
        LoadMeasure().run(replace(request(server, tmp_path, spec()), address=f"redis://127.0.0.1:{free_port()}"), lambda _phase: None)


def test_phases_of_postgresql_follow_each_other_and_a_table_of_the_users_is_never_touched(tmp_path: Path) -> None:
    content = {
        "service": {"type": "postgres"},
        "client": {"type": "postgres", "settings": {"db_name": "postgres", "num_rows": 200, "table_name": "mine"}},
        "phases": [
            {"name": "insert", "operations": {"insert": 1.0}, "count": 300},
            {"name": "select", "operations": {"select": 1.0}, "count": 700},
        ],
        "concurrent_clients": 3,
    }
    asked = LoadSpec.model_validate(content, strict=False).model_dump(mode="json")
    with server_folder() as folder:
        server = PostgresServer(folder)
        server.start()
        try:
            address = f"postgresql://postgres@127.0.0.1:{server.port}"
            wanted = RunRequest("load", "service.postgres", asked, str(tmp_path / "1.record"), warmup_min_s=0.1, address=address)
            figures, detail, content_of_file = measure(wanted)
            assert {name: one["requests"] for name, one in detail["by_operation"].items()} == {"insert": 300, "select": 700}
            assert figures["success_rate"].value == 100
            assert [part.phase for part in read_header(io.BytesIO(content_of_file)).parts] == ["insert", "select"]
            assert figures["insert_tps"].value > 0  # type: ignore[operator]
            total = figures["insert_duration"].value + figures["select_duration"].value  # type: ignore[operator]
            assert figures["total_duration"].value == pytest.approx(total)
            with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
                assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)  # it was dropped after the repeat
                connection.execute("CREATE TABLE mine (kept int)")
                with pytest.raises(EngineUnavailable, match="has a table mine that Fleetmark has not made"):
                    LoadMeasure().run(wanted, lambda _phase: None)
                assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)
        finally:
            server.stop()


def test_a_load_tells_how_it_goes_while_it_runs(server: RedisServer, tmp_path: Path) -> None:
    told: list[str] = []
    LoadMeasure().run(request(server, tmp_path, spec(None, 3.0, num_clients=2)), told.append)
    news = [phase for phase in told if phase.startswith("measuring (")]
    assert len(news) >= 2
    assert any(
        re.fullmatch(r"measuring \(\d+ % done, \d[\d.e+]* requests/s, median [\d.]+ ms, p99 [\d.]+ ms, none failed, 2 in flight\)", one)
        for one in news
    ), news


def test_a_server_that_dies_in_the_middle_leaves_a_partial_result_that_says_so(tmp_path: Path) -> None:
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False)
        server.start()
        asked = request(server, tmp_path, spec(10_000_000, concurrent_clients=2, request_timeout_s=0.5))

        def kill_soon(phase: str) -> None:
            if phase == "measuring":
                Timer(0.7, server.stop, (signal.SIGKILL,)).start()

        record = LoadMeasure().run(asked, kill_soon)
    workload = Workload.model_validate({"kind": "load", **asked.spec, "repeats": 1}, strict=False)
    outcome = LoadMeasure().derive(workload, [Repeat(record, 1.8e9)], [], "").outcome
    assert outcome is not None
    assert outcome.detail["partial"]
    assert outcome.detail["client_processes"]["gave_up"][0].startswith("no connection could be opened for 0.5 s")
    assert outcome.detail["left_behind"][0].startswith("what was made in the service could not be removed")
    assert outcome.detail["failures"]["kinds"]["closed"] >= 2  # one for each connection, and for each that a dying server still accepts
    assert outcome.figures[0].value > 0  # type: ignore[operator]


def test_client_processes_end_when_the_process_that_started_them_is_killed(server: RedisServer, tmp_path: Path) -> None:
    asked = request(server, tmp_path, spec(None, 60.0, num_clients=2))
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); from worker.kinds.load import LoadMeasure; "
    code += "from worker.measured.request import RunRequest; "
    code += "LoadMeasure().run(RunRequest(**json.loads(sys.argv[2])), lambda phase: print(phase, flush=True))"
    command = [sys.executable, "-c", code, str(ROOT), json.dumps(asked.to_json())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line == "measuring\n" for line in process.stdout)
        clients = psutil.Process(process.pid).children()
        process.kill()
    assert len(clients) == 2
    _, alive = psutil.wait_procs(clients, timeout=10)
    assert not alive
