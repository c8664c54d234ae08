"""Tests loads that trusted tools send: pgbench, redis-benchmark and memtier_benchmark on real servers, in the words of our own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import psycopg
import pytest
from redis import Redis

from shared.errors import EngineUnavailable, ModelInvalid
from shared.figures import Outcome
from shared.kinds.load import LoadSpec
from shared.request_records import NAME, read_parts
from shared.workloads import Workload
from tests import memtier_double
from tests.servers import PostgresServer, RedisServer, running
from worker.kinds.base import Derived, Repeat
from worker.kinds.load import LoadMeasure
from worker.measured.request import RunRequest
from worker.tools.base import EndsEarly, Steps, ToolPhase
from worker.tools.redis_benchmark import FIRST_RUN_S, RedisBenchmark
from worker.tools.registry import resolve as tool_named

PHASES = {
    "insert": {"name": "insert", "operations": {"insert": 1.0}},
    "select": {"name": "select", "operations": {"select": 1.0}},
    "get": {"name": "mixed", "operations": {"get": 1.0}},
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running(PostgresServer) as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running(lambda folder: RedisServer(folder, append_only=False)) as server:
        yield server


def spec(service: str, driver: str, phases: list[dict[str, Any]], settings: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    content = {
        "service": {"type": service},
        "client": {"type": service, "driver": driver, "settings": settings or {}},
        "phases": [{"count": None, "duration_s": None, **phase} for phase in phases],
        **more,
    }
    return LoadSpec.model_validate(content, strict=False).model_dump(mode="json")


def of_postgres(server: PostgresServer, folder: Path, what: dict[str, Any], warmup_s: float = 0.0) -> RunRequest:
    address = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
    return RunRequest("load", "service.postgres", what, str(folder / "1.record"), warmup_min_s=warmup_s, address=address)


def measured(asked: RunRequest, repeats: int = 1) -> Derived:
    records = [LoadMeasure().run(replace(asked, repeat=number), lambda _phase: None) for number in range(repeats)]
    workload = Workload.model_validate({"kind": "load", **asked.spec, "repeats": repeats}, strict=False)
    return LoadMeasure().derive(workload, [Repeat(record, 1.8e9) for record in records], [], "")


def outcome(derived: Derived) -> Outcome:
    assert derived.outcome is not None
    return derived.outcome


def requests_of(derived: Derived) -> Path:
    found = derived.files[NAME]
    assert isinstance(found, Path)
    return found


SETTINGS = {"num_rows": 500, "table_name": "tool_test", "db_name": "postgres", "user": "postgres"}


def test_pgbench_sends_the_same_statements_and_tells_of_each_request(postgres: PostgresServer, tmp_path: Path) -> None:
    phases = [PHASES["insert"] | {"count": 60}, PHASES["select"] | {"count": 200}]
    asked = of_postgres(postgres, tmp_path, spec("postgres", "pgbench", phases, SETTINGS, concurrent_clients=2, num_clients=2))
    derived = measured(asked, repeats=2)
    found = outcome(derived)
    value = {figure.name: figure.value for figure in found.figures}
    assert found.detail["requests"] == 2 * 260
    assert (value["success_rate"], value["concurrency"]) == (100, 4)
    assert value["insert_tps"] is not None
    assert value["select_qps"] is not None

    parts = [(part, records) for _, part, records in read_parts(requests_of(derived))]
    assert [part.phase for part, _ in parts] == ["insert", "select"] * 2
    for part, records in parts:
        ends = records["scheduled"] + records["last"]
        assert records["scheduled"].min() == 0
        # pgbench's own rate counts the same transactions over a longer time, in which its threads also start and end.
        own = found.detail["tool"]["printed"][part.repeat][part.phase == "select"]["tps without initial connection time"]
        assert len(records) / (ends.max() / 1e9) > 0.95 * own
        mean_ms = float(np.mean(records["last"])) / 1e6
        printed = found.detail["tool"]["printed"][part.repeat][part.phase == "select"]["latency average in ms"]
        assert mean_ms == pytest.approx(printed, abs=0.1)


def test_the_report_of_a_tool_says_which_program_ran_with_which_command_and_what_it_cannot_tell(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    asked = of_postgres(postgres, tmp_path, spec("postgres", "pgbench", [PHASES["select"] | {"count": 50}], SETTINGS))
    found = outcome(measured(asked))
    tool = found.detail["tool"]
    assert tool["name"] == "pgbench"
    assert tool["version"].startswith("pgbench (PostgreSQL) ")
    assert " -M prepared " in tool["commands"][0]
    assert "-c 1 -j 1 -t 50 " in tool["commands"][0]
    assert any("whole microseconds" in said for said in tool["definitions"])
    missing = {figure.name: figure.missing for figure in found.figures if figure.value is None}
    assert missing["bytes_per_s"] == "pgbench does not tell how many bytes were sent and received"
    assert missing["client_ceiling_per_s"] == "the clients are those of pgbench, and no ceiling is measured for it"
    with psycopg.connect(f"host=127.0.0.1 port={postgres.port} user=postgres dbname=postgres") as connection:
        assert connection.execute("SELECT to_regclass('tool_test')").fetchone() == (None,), "the table is removed"


@pytest.mark.long
def test_a_rate_of_pgbench_is_taken_apart_into_the_wait_and_the_answer(postgres: PostgresServer, tmp_path: Path) -> None:
    load = {"pattern": "poisson", "rate": 400.0}
    phases = [PHASES["select"] | {"count": 200}]
    found = outcome(
        measured(of_postgres(postgres, tmp_path, spec("postgres", "pgbench", phases, SETTINGS, load=load, concurrent_clients=4)))
    )
    value = {figure.name: figure.value for figure in found.figures}
    assert value["rate_asked"] == pytest.approx(400, rel=0.3)
    assert value["latency_scheduled_ms_p50"] is not None
    assert value["latency_ms_p50"] is not None
    assert value["latency_scheduled_ms_p50"] >= value["latency_ms_p50"]


@pytest.mark.long
def test_a_statement_that_fails_ends_the_load_with_what_pgbench_said(postgres: PostgresServer, tmp_path: Path) -> None:
    asked = of_postgres(postgres, tmp_path, spec("postgres", "pgbench", [PHASES["select"] | {"count": 50}], SETTINGS))
    refused = replace(asked, address=f"postgresql://nobody_here@127.0.0.1:{postgres.port}/postgres")
    with pytest.raises(EngineUnavailable, match="nobody_here"):
        LoadMeasure().run(refused, lambda _phase: None)


@pytest.mark.long
def test_a_duration_of_pgbench_measures_the_window_that_was_asked_for(postgres: PostgresServer, tmp_path: Path) -> None:
    phases = [PHASES["select"] | {"duration_s": 1.2}]
    derived = measured(of_postgres(postgres, tmp_path, spec("postgres", "pgbench", phases, SETTINGS), warmup_s=0.3))
    assert outcome(derived).detail["apart"]["warm_up"] > 0
    ((_, part, records),) = list(read_parts(requests_of(derived)))
    assert part.window_ns == (0, 1_200_000_000)
    assert records["scheduled"].max() > 1.1e9


@pytest.mark.long
def test_a_pgbench_that_is_told_to_end_keeps_what_it_has_measured(postgres: PostgresServer, tmp_path: Path) -> None:
    asked = of_postgres(postgres, tmp_path, spec("postgres", "pgbench", [PHASES["select"] | {"duration_s": 60.0}], SETTINGS))
    timer = Timer(1.5, asked.end_path.touch)
    timer.start()
    found = outcome(measured(asked))
    assert found.detail["partial"]
    assert found.detail["cut_short"] == ["the phase select was ended early"]
    assert found.detail["requests"] > 100
    rate = found.figures[0].value
    assert rate is not None
    assert 0.2 < found.detail["requests"] / rate < 3


@pytest.mark.long  # needs the Debian package redis-tools
def test_redis_benchmark_finds_our_keys_and_its_figures_are_those_that_it_prints(redis: RedisServer, tmp_path: Path) -> None:
    settings = {
        "num_keys": 300,
        "operation_mix": "get",
        "key_size_bytes": 40,
        "value_size_bytes": 64,
        "pipeline": 2,
        "key_distribution": "uniform",
    }
    what = spec("redis", "redis-benchmark", [PHASES["get"] | {"count": 20_000}], settings, concurrent_clients=4)
    asked = RunRequest("load", "service.redis", what, str(tmp_path / "1.record"), address=f"redis://127.0.0.1:{redis.port}")
    derived = measured(asked, repeats=2)
    found = outcome(derived)
    assert found.detail["requests"] == 40_000
    printed = [each[0] for each in found.detail["tool"]["printed"]]
    figures = {figure.name: figure for figure in found.figures}
    assert figures["requests_per_s"].repeats == pytest.approx([one["requests per second"] for one in printed], rel=0.01)
    assert figures["latency_ms_p95"].repeats == pytest.approx([one["p95 in ms"] for one in printed], abs=0.002)
    assert figures["latency_ms_p99"].repeats == pytest.approx([one["p99 in ms"] for one in printed], abs=0.002)
    assert figures["latency_ms_avg"].repeats == pytest.approx([one["avg in ms"] for one in printed])
    assert NAME not in derived.files
    keyspace: Any = Redis(port=redis.port).info("stats")
    assert keyspace["keyspace_misses"] == 0, "every key that it drew is one of our population"
    assert keyspace["keyspace_hits"] >= 40_000


@pytest.mark.long  # needs the Debian package redis-tools
def test_redis_benchmark_fits_the_duration_that_was_asked_for(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool takes a number of requests, so it gets as many as fit by the rate of a first run. Other programs may change the rate."""
    runs: list[tuple[int, float]] = []
    told = RedisBenchmark._told

    def counted(self: RedisBenchmark, phase: ToolPhase, words: list[str], ends_early: EndsEarly) -> tuple[Steps, float, dict[str, float]]:
        found = told(self, phase, words, ends_early)
        runs.append((int(words[words.index("-n") + 1]), found[1]))
        return found

    monkeypatch.setattr(RedisBenchmark, "_told", counted)
    settings = {
        "num_keys": 300,
        "operation_mix": "get",
        "key_size_bytes": 32,
        "value_size_bytes": 64,
        "pipeline": 1,
        "key_distribution": "uniform",
    }
    what = spec("redis", "redis-benchmark", [PHASES["get"] | {"duration_s": 0.5}], settings)
    asked = RunRequest("load", "service.redis", what, str(tmp_path / "1.record"), address=f"redis://127.0.0.1:{redis.port}")
    found = outcome(measured(asked))
    *_, (first_count, first_per_s), (count, per_s) = runs
    assert first_count / first_per_s > 0.8 * FIRST_RUN_S, "the first run took long enough to tell the rate"
    assert found.detail["requests"] == count == round(0.5 * first_per_s)
    assert found.figures[0].value == pytest.approx(per_s, rel=0.01)
    with pytest.raises(ModelInvalid, match="takes a password on its command line only"):
        LoadMeasure().run(replace(asked, address=f"redis://:secret@127.0.0.1:{redis.port}"), lambda _phase: None)


def of_memtier(server: RedisServer, folder: Path, phase: dict[str, Any], **settings: Any) -> RunRequest:
    """Return what memtier_benchmark shall do. If it is not on the PATH, its double is put there."""
    if shutil.which("memtier_benchmark") is None:
        memtier_double.install(folder)
    own = {"num_keys": 300, "operation_mix": "get:set=3:1", "key_size_bytes": 32, "value_size_bytes": 64, "pipeline": 1}
    what = spec("redis", "memtier_benchmark", [phase], {**own, "key_distribution": "uniform", **settings}, concurrent_clients=2)
    return RunRequest("load", "service.redis", what, str(folder / "1.record"), address=f"redis://127.0.0.1:{server.port}")


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.long
@pytest.mark.usefixtures("on_path")
def test_memtier_benchmark_sends_both_operations_to_our_keys_and_its_figures_are_those_that_it_tells(
    redis: RedisServer, tmp_path: Path
) -> None:
    before: Any = Redis(port=redis.port).info("stats")
    mix = {"name": "mixed", "operations": {"get": 3.0, "set": 1.0}, "count": 4_000}
    found = outcome(measured(of_memtier(redis, tmp_path, mix), repeats=2))
    figures = {figure.name: figure for figure in found.figures}
    printed = [each[0] for each in found.detail["tool"]["printed"]]
    assert {name: one["requests"] for name, one in found.detail["by_operation"].items()} == {"get": 6_000, "set": 2_000}
    assert figures["requests_per_s"].repeats == pytest.approx([one["requests per second"] for one in printed], rel=0.01)
    assert figures["latency_ms_avg"].repeats == pytest.approx([one["avg in ms"] for one in printed])
    assert figures["latency_ms_p50"].repeats == pytest.approx([one["p50 in ms"] for one in printed], rel=0.3)
    after: Any = Redis(port=redis.port).info("stats")
    assert after["keyspace_misses"] == before["keyspace_misses"], "every key that it drew is one of our population"
    assert after["keyspace_hits"] - before["keyspace_hits"] >= 6_000
    assert Redis(port=redis.port).dbsize() == 0, "the keys are removed"


@pytest.mark.long
@pytest.mark.usefixtures("on_path")
def test_memtier_benchmark_that_is_told_to_end_keeps_what_it_has_measured(redis: RedisServer, tmp_path: Path) -> None:
    asked = of_memtier(redis, tmp_path, PHASES["get"] | {"duration_s": 60.0}, operation_mix="get")
    record = LoadMeasure().run(asked, lambda phase: asked.end_path.touch() if "requests/s" in phase else None)
    workload = Workload.model_validate({"kind": "load", **asked.spec, "repeats": 1}, strict=False)
    found = outcome(LoadMeasure().derive(workload, [Repeat(record, 1.8e9)], [], ""))
    assert found.detail["cut_short"] == ["the phase mixed was ended early"]
    rate = found.figures[0].value
    assert rate is not None
    assert 0.2 < found.detail["requests"] / rate < 3


@pytest.mark.long
@pytest.mark.usefixtures("on_path")
def test_an_error_of_the_server_is_no_fast_answer_of_memtier_benchmark(redis: RedisServer, tmp_path: Path) -> None:
    asked = of_memtier(redis, tmp_path, {"name": "mixed", "operations": {"set": 1.0}, "count": 400}, operation_mix="set")
    server = Redis(port=redis.port)
    try:
        tool = tool_named("memtier_benchmark")(asked.address, asked.spec["client"]["settings"], {})
        server.config_set("maxmemory", 1)
        with pytest.raises(EngineUnavailable, match=r"counts an error of the server like a value.*maxmemory"):
            tool.run(ToolPhase("mixed", {"set": 1.0}, None, 2, 1, 400, None, 0.0, 1, tmp_path), lambda _news: None, lambda: False)
    finally:
        server.config_set("maxmemory", 0)
