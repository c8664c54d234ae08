"""Tests the command lines of containers. No container engine is installed here, so the tests check what it would be told."""

from __future__ import annotations

from pathlib import Path
from time import sleep

import pytest

from shared.errors import EngineUnavailable
from shared.services.minio import MinioSettings
from shared.services.postgres import PostgresSettings
from shared.services.redis import RedisSettings
from worker.launchers.container import ContainerLauncher, command_line, find_engine, removal, variables
from worker.services.base import Place
from worker.services.minio import MinioService
from worker.services.postgres import PostgresService
from worker.services.redis import RedisService

REDIS = RedisSettings(maxmemory="1gb").model_dump()


def test_docker_opens_the_port_on_this_machine_alone(tmp_path: Path) -> None:
    line = command_line("/usr/bin/docker", "redis:8", "fleetmark-1", RedisService(), REDIS, Place(7001, tmp_path))
    at = line.index("redis:8")
    assert line[:at] == ["/usr/bin/docker", "run", "--rm", "--name", "fleetmark-1", "--publish", "127.0.0.1:7001:7001"]
    assert line[at + 1 : at + 4] == ["redis-server", "--port", "7001"]
    assert line[line.index("--maxmemory") + 1] == "1gb"
    assert removal("/usr/bin/docker", "fleetmark-1") == ["/usr/bin/docker", "rm", "--force", "--volumes", "fleetmark-1"]


def test_podman_hands_the_settings_of_a_postgres_over_as_variables_and_arguments(tmp_path: Path) -> None:
    settings = PostgresSettings(db_name="bench").model_dump()
    line = command_line("/usr/bin/podman", "postgres:17", "n", PostgresService(), settings, Place(7002, tmp_path, connections=300))
    named = {line[at + 1] for at, word in enumerate(line) if word == "--env"}
    given = variables("/usr/bin/podman", PostgresService(), settings, Place(7002, tmp_path))
    assert given == {"POSTGRES_USER": "postgres", "POSTGRES_HOST_AUTH_METHOD": "trust", "POSTGRES_DB": "bench", "PGPORT": "7002"}
    assert named == set(given)
    assert "max_connections=320" in line[line.index("postgres:17") :]


def test_apptainer_binds_a_folder_and_takes_an_image_of_a_registry(tmp_path: Path) -> None:
    line = command_line("/usr/bin/apptainer", "redis:8", "n", RedisService(), REDIS, Place(7003, tmp_path))
    assert line[:5] == ["/usr/bin/apptainer", "run", "--containall", "--writable-tmpfs", "--bind"]
    assert line[5] == f"{tmp_path}:/data"
    assert line[6] == "docker://redis:8"
    assert "/images/redis.sif" in command_line("/usr/bin/apptainer", "/images/redis.sif", "n", RedisService(), REDIS, Place(7003, tmp_path))
    assert removal("/usr/bin/apptainer", "n") == []


@pytest.mark.parametrize("engine", ["docker", "podman", "apptainer", "singularity"])
def test_the_password_of_a_server_is_in_no_command_line_and_the_engine_gets_it_as_a_variable(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, place = tmp_path / "told", Place(7004, tmp_path / "of-the-server")
    place.folder.mkdir()
    program = tmp_path / engine
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}.words\n/usr/bin/env >> {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = MinioSettings(root_user="somebody", root_password="a-password-of-a-test").model_dump()
    server = ContainerLauncher().start(MinioService(), settings, place, {"image": "minio/minio"})
    try:
        while server.alive:
            sleep(0.01)
    finally:
        server.stop()
    prefix = "" if engine in ("docker", "podman") else f"{engine.upper()}ENV_"
    assert f"{prefix}MINIO_ROOT_PASSWORD=a-password-of-a-test" in told.read_text().splitlines()
    words = told.with_suffix(".words").read_text()
    assert "minio/minio" in words
    assert "a-password-of-a-test" not in words


def test_the_engine_that_is_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="no program that runs containers is on this device"):
        find_engine()
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\n")
    podman.chmod(0o755)
    assert find_engine() == str(podman)
    assert ContainerLauncher().check(RedisService(), {"image": "redis:8"}) == "redis:8 (podman)"
