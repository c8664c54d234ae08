"""Tests how the settings of a recipe become the command line of a server, and how a server's words are read."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.services.postgres import PostgresSettings, Tuning
from shared.services.redis import RedisSettings
from shared.services.triton import TritonSettings
from tests.servers import free_port
from tests.triton_double import TritonDouble, triton_double
from worker.services.base import NotHealthy, Place
from worker.services.postgres import PostgresService
from worker.services.redis import RedisService
from worker.services.registry import SERVICES, resolve, startable
from worker.services.triton import TritonService


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_every_setting_of_a_redis_is_an_option_of_its_server(tmp_path: Path) -> None:
    settings = RedisSettings(appendonly=True, save="900 1", maxmemory="4gb", maxmemory_policy="allkeys-lru", io_threads=2)
    words = list(RedisService().command(settings.model_dump(), Place(7001, tmp_path, connections=20_000)).words)
    assert [option(words, name) for name in ("--port", "--bind", "--dir")] == ["7001", "127.0.0.1", str(tmp_path)]
    assert [option(words, name) for name in ("--appendonly", "--save", "--maxmemory")] == ["yes", "900 1", "4gb"]
    assert [option(words, name) for name in ("--maxmemory-policy", "--io-threads", "--maxclients")] == ["allkeys-lru", "2", "20100"]


def test_every_setting_of_a_postgres_is_an_option_of_its_server(tmp_path: Path) -> None:
    settings = PostgresSettings(tuning=Tuning(shared_buffers="1GB", effective_cache_size="4GB", synchronous_commit=False))
    service, place = PostgresService(), Place(7002, tmp_path, connections=200)
    command = service.command(settings.model_dump(), place)
    options = {word for at, word in enumerate(command.words) if command.words[at - 1] == "-c"}
    assert {"port=7002", "listen_addresses=127.0.0.1", f"unix_socket_directories={tmp_path}"} <= options
    assert {"shared_buffers=1GB", "effective_cache_size=4GB", "synchronous_commit=off", "max_connections=220"} <= options
    assert command.stop_signal == signal.SIGINT
    (initdb,) = service.prepare(settings.model_dump(), place)
    assert Path(initdb.words[0]).name == "initdb"
    assert str(tmp_path / "data") in initdb.words


@pytest.mark.parametrize("service", [RedisService(), PostgresService()])
def test_a_port_on_which_nobody_listens_is_not_healthy(service: RedisService | PostgresService) -> None:
    port, settings = free_port(), PostgresSettings().model_dump()
    with pytest.raises(NotHealthy, match=str(port)):
        service.health(settings, port)
    assert service.metrics(settings, port) == {}


@pytest.mark.parametrize("place", ["relative/data", "file"])
def test_a_data_folder_is_an_absolute_path_of_a_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    settings = PostgresSettings(data_dir=place if place.startswith("relative") else str(tmp_path / place)).model_dump()
    with pytest.raises(Exception, match=r"service\.settings\.data_dir"):
        PostgresService().check(settings)


def test_this_machine_says_which_servers_it_can_start() -> None:
    startable.cache_clear()
    found = startable()
    assert {"redis", "postgres"} <= set(found)
    assert found["postgres"].startswith("PostgreSQL ")
    assert "fake" in SERVICES, "which a worker does not offer"


def test_a_service_that_cannot_be_started_here_is_named() -> None:
    with pytest.raises(EngineUnavailable, match="this worker can start no service of the type 'minio'; give the `address`"):
        resolve("minio")


def test_every_setting_of_a_triton_is_an_option_of_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tritonserver").write_text("#!/bin/sh\n")
    (tmp_path / "tritonserver").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = TritonSettings(model_repo="/models", log_verbose=2, metrics_port=0).model_dump()
    words = " ".join(TritonService().command(settings, Place(7001, tmp_path)).words)
    assert words.startswith(f"{tmp_path}/tritonserver --model-repository /models --http-port 7001 --http-address 127.0.0.1")
    assert words.endswith("--allow-grpc=false --allow-metrics=false --log-verbose 2")
    settings |= {"grpc_port": 8001, "metrics_port": 8002}
    assert "--grpc-port 8001 --metrics-port 8002" in " ".join(TritonService().command(settings, Place(7001, tmp_path)).words)
    assert TritonService().container(settings, 7001, 1).arguments[:3] == ["tritonserver", "--model-repository", "/models"]


def test_a_folder_without_models_is_refused_before_a_triton_is_started(tmp_path: Path) -> None:
    for place, message in (
        (str(tmp_path / "none"), "is no folder of this device"),
        ("models", "is no folder"),
        (str(tmp_path), "has no model"),
    ):
        with pytest.raises(ModelInvalid, match=message):
            TritonService().check(TritonSettings(model_repo=place).model_dump())


def test_what_triton_counts_is_read_by_model_and_its_health_is_asked() -> None:
    with triton_double(TritonDouble(inferences=3)) as server:
        TritonService().health({}, server.port)
        found = TritonService().metrics({}, server.port)
        assert (found["identity/1 inference_count"], found["identity/1 queue_ns"]) == (3, 150_000)
        server.ready = False
        with pytest.raises(NotHealthy, match="status 400"):
            TritonService().health({}, server.port)
    assert TritonService().metrics({}, server.port) == {}
