"""Checks compose.yaml as far as possible without a container engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from orchestrator.settings import Settings
from shared.installation import IMAGE
from shared.proxies import is_listed
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "FLEETMARK_TOKEN": "t0ken",
    "REDIS_PASSWORD": "r3dis",
    "FLOWER_REDIS_PASSWORD": "fl0wer",
    "POSTGRES_PASSWORD": "p0stgres",
    "FLOWER_BASIC_AUTH": "me:secret",
}
OURS = ("migrate", "orchestrator", "worker-token", "consumer", "watch", "flower", "worker")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return dict(content["services"])


@pytest.fixture(scope="module")
def dockerfiles() -> dict[str, str]:
    return {file.stem: file.read_text() for file in (ROOT / "deploy" / "docker").glob("*.Dockerfile")}


def test_every_part_is_there(services: dict[str, Any]) -> None:
    assert set(services) == {"redis", "postgres", *OURS}


def test_no_image_floats(services: dict[str, Any], dockerfiles: dict[str, str]) -> None:
    images = [service["image"] for service in services.values()]
    images += [line.split()[1] for text in dockerfiles.values() for line in text.splitlines() if line.startswith("FROM")]
    assert len(images) == len(services) + 4  # each of our two images has two stages
    for image in images:
        tag = image.rpartition(":")[2]
        assert re.match(r"\d+\.\d+", tag), image
        assert "latest" not in tag


def test_each_container_that_answers_requests_has_a_health_check(services: dict[str, Any]) -> None:
    unasked = {"migrate", "worker-token", "consumer", "watch"}  # these services do not answer requests
    unasked.add("worker")  # a health check would start a program while the worker measures
    for name, service in services.items():
        assert ("healthcheck" in service) == (name not in unasked), name


def test_dependencies_wait_for_health_and_for_the_migration(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("orchestrator", "worker-token", "consumer", "watch"):
        conditions = {other: wanted["condition"] for other, wanted in services[name]["depends_on"].items()}
        assert conditions == {
            "redis": "service_healthy",
            "postgres": "service_healthy",
            "migrate": "service_completed_successfully",
        }
    assert services["worker"]["depends_on"] == {
        "orchestrator": {"condition": "service_healthy"},
        "worker-token": {"condition": "service_completed_successfully"},
    }
    for service in services.values():
        for other, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] != "service_healthy" or "healthcheck" in services[other]


def test_what_must_last_is_on_a_volume(services: dict[str, Any]) -> None:
    volumes = yaml.safe_load((ROOT / "compose.yaml").read_text())["volumes"]
    for name in ("redis", "postgres", "orchestrator", "consumer", "worker"):
        mounted = [volume.partition(":")[0] for volume in services[name]["volumes"] if not volume.startswith(("./", "/"))]
        assert mounted, name
        assert set(mounted) <= set(volumes)
    assert "--appendonly yes" in " ".join(services["redis"]["command"])


def test_nothing_runs_as_root(services: dict[str, Any], dockerfiles: dict[str, str]) -> None:
    assert services["redis"]["user"] == "redis"
    assert services["postgres"]["user"] == "postgres"
    for name, text in dockerfiles.items():
        final = text.rpartition("\nFROM ")[2]
        users = re.findall(r"^USER (\S+)", final, re.MULTILINE)
        assert users, name
        assert int(users[-1]) > 0, name


def test_images_are_built_in_stages_from_hashed_requirements(services: dict[str, Any], dockerfiles: dict[str, str]) -> None:
    assert set(dockerfiles) == {"orchestrator", "worker"}
    for name, text in dockerfiles.items():
        assert text.count("\nFROM ") + text.startswith("FROM ") == 2, name
        assert "--require-hashes" in text
        (role,) = re.findall(r"^ARG ROLE=(\S+)$", text, re.MULTILINE)
        copied = re.findall(r"^COPY (requirements/\S+)", text, re.MULTILINE)
        assert [(ROOT / file.replace("${ROLE}", role)).exists() for file in copied] == [True]
        assert f"echo {name}.Dockerfile > /opt/fleetmark/{IMAGE}" in text
    for name in OURS:
        assert (ROOT / services[name]["build"]["dockerfile"]).exists()


def test_what_the_images_copy_gets_past_the_ignore_file(dockerfiles: dict[str, str]) -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    for text in dockerfiles.values():
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
            for source in line.split():
                assert source in let_in or f"{Path(source).parent}/*{Path(source).suffix}" in let_in, source


def test_no_secret_has_a_default(services: dict[str, Any]) -> None:
    text = (ROOT / "compose.yaml").read_text()
    example = (ROOT / ".env.example").read_text()
    for name in SECRETS:
        written = re.findall(rf"\$\{{{name}([^}}]*)\}}", text)
        assert written, name
        assert all(rest.startswith(":?") for rest in written), name
        assert f"\n{name}=\n" in f"\n{example}", name
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_worker_knows_no_secret_but_a_token_of_its_own(services: dict[str, Any]) -> None:
    assert not [name for name in SECRETS if f"${{{name}" in str(services["worker"])]
    assert services["worker"]["environment"]["FLEETMARK_TOKEN_FILE"] in services["worker-token"]["command"][2]
    assert services["worker"]["volumes"] == [*services["worker-token"]["volumes"], "/run/lock:/run/lock"]


def test_ports_stay_on_this_machine_unless_asked(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    for port in ports:
        assert port.startswith("${FLEETMARK_BIND:-127.0.0.1}:"), port


def test_no_container_of_ours_is_asked_through_a_proxy(services: dict[str, Any]) -> None:
    """Docker sets the proxies of its configuration in every container."""
    for name in OURS:
        test = services[name].get("healthcheck", {}).get("test", [])
        assert not any("urlopen" in str(part) for part in test) or name == "worker", name
    for variable in ("NO_PROXY", "no_proxy"):
        listed = services["worker"]["environment"][variable]
        host = urlsplit(services["worker"]["environment"]["FLEETMARK_HOST"]).hostname or ""
        assert is_listed(host, 5000, listed.partition("$")[0])


def test_nothing_looks_for_modules_in_the_folder_it_runs_in(services: dict[str, Any], dockerfiles: dict[str, str]) -> None:
    unit = (ROOT / "deploy" / "systemd" / "fleetmark-worker.service").read_text()
    written = [str(services[name].get("command", "")) for name in OURS] + list(dockerfiles.values()) + [unit]
    for text in written:
        assert not re.search(r"python(\", |', '| )-m['\", ]+(orchestrator|worker)\b", text), text


def test_every_variable_is_one_that_the_parts_read(services: dict[str, Any]) -> None:
    known = {f"FLEETMARK_{name}".upper() for settings in (Settings, WorkerSettings) for name in settings.model_fields}
    for name in OURS:
        ours = {variable for variable in services[name]["environment"] if variable.startswith("FLEETMARK_")}
        assert ours <= known, name


def test_an_implementation_of_compose_reads_it(tmp_path: Path) -> None:
    engine = tmp_path / "podman"  # `config` asks an engine only for its version
    engine.write_text("#!/bin/sh\necho podman version 5.0.0\n")
    engine.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if name not in SECRETS}

    def config(secrets: dict[str, str]) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "env"
        file.write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
        command = [sys.executable, "-m", "podman_compose", "--podman-path", str(engine), "-f", str(ROOT / "compose.yaml")]
        return subprocess.run([*command, "--env-file", str(file), "config"], check=False, capture_output=True, text=True, env=clean)

    read = config(SECRETS)
    assert read.returncode == 0, read.stderr
    whole = yaml.safe_load(read.stdout)["services"]
    assert whole["orchestrator"]["environment"]["FLEETMARK_REDIS_URL"] == "redis://fleetmark-orchestrator:r3dis@redis:6379/0"
    assert whole["flower"]["environment"]["FLOWER_BASIC_AUTH"] == "me:secret"
    refused = config({})
    assert refused.returncode != 0
    assert "see .env.example" in refused.stderr
