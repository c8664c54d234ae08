"""Tests how the service of a job is started, watched, started again and ended, with real servers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from shared.clock import SystemClock
from shared.errors import EngineUnavailable, ModelInvalid
from shared.ids import new_campaign_id
from shared.kinds.load import ClientOfJob, LoadSpec
from shared.kinds.load import ServiceOfJob as ServiceSpec
from shared.protocol.messages import Assignment
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.services.base import Phase
from shared.targets import Existing, Launched
from shared.workloads import Workload
from tests.servers import free_port, server_folder
from worker.job_log import JobLog
from worker.launchers.running import RunningServices
from worker.plug_ins import BrokenPlugIn
from worker.supervisor.kept_services import KeptServices
from worker.supervisor.service import ServiceFailed, ServiceOfJob

CAMPAIGN = new_campaign_id(datetime(2026, 1, 1, tzinfo=UTC))
PHASES = (Phase(name="all", operations={"get": 1.0}, count=1),)


class Stop(Exception):
    pass


class Services:
    """Makes services of jobs, and ends them after the test."""

    def __init__(self) -> None:
        self.made: list[ServiceOfJob] = []
        self.running = RunningServices()
        self.kept = KeptServices(self.running)
        self.log = JobLog(("job", 1), SystemClock())
        self.check_stop: Callable[[], None] = lambda: None

    def of(self, workload: Workload) -> ServiceOfJob:
        job = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="service.redis", workload=workload)
        service = ServiceOfJob(
            job,
            running=self.running,
            kept=self.kept,
            clock=SystemClock(),
            job_log=self.log,
            on_stage=lambda _stage: None,
            check_stop=lambda: self.check_stop(),
        )
        self.made.append(service)
        return service

    def fake(self, settings: dict[str, Any] | None = None, **launched: Any) -> ServiceOfJob:
        spec = LoadSpec(service=ServiceSpec(type="fake", settings=settings or {}), client=ClientOfJob(type="fake"), phases=PHASES)
        return self.of(Workload(spec=spec, target=Launched(service="fake", **launched)))

    def of_recipe(self, recipe: str) -> ServiceOfJob:
        cell = next(cells_of(load_recipe(recipe)))
        return self.of(Workload(spec=cell.spec(), target=cell.target()))


@pytest.fixture
def services() -> Iterator[Services]:
    made = Services()
    yield made
    for one in made.made:
        one.end()
    made.kept.close()


def soon() -> float:
    return time.monotonic() + 30


def test_a_redis_is_started_with_its_settings_and_nothing_is_left_of_it(services: Services) -> None:
    service = services.of_recipe("service: {type: redis, settings: {maxmemory: 64mb}}\nclient: {settings: {warmup_delay: 0}}")
    service.check()
    address = service.ready(soon())
    (told,) = services.running.listed()
    assert (told["type"], told["address"], told["state"], told["job"]) == ("redis", address, "healthy", f"{CAMPAIGN}-job-1")
    client = redis.Redis.from_url(address)
    folder = Path(str(client.config_get("dir")["dir"]))
    assert client.config_get("maxmemory") == {"maxmemory": str(64 * 2**20)}
    client.set("a", "b")
    assert service.ready(soon()) == address, "a fresh service for each job is the same for all repeats"
    assert client.get("a") == b"b"
    client.close()
    service.measured()
    facts = service.facts()
    assert facts["health"]["ok"]
    assert [one["when"] for one in facts["counters"]] == ["before", "before", "after"]
    assert facts["counters"][-1]["total_commands_processed"] > facts["counters"][0]["total_commands_processed"]
    service.end()
    assert services.running.listed() == []
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1)


def test_a_postgres_has_the_database_and_the_tuning_of_the_recipe_in_a_folder_of_its_own(services: Services) -> None:
    with server_folder() as parent:  # the server must be able to enter this folder: it runs as another user if the tests run as root
        data = parent / "data"
        recipe = f"service: {{type: postgres, settings: {{db_name: bench, data_dir: {data}, tuning: {{shared_buffers: 16MB}}}}}}"
        service = services.of_recipe(f"{recipe}\nclient: {{settings: {{warmup_delay: 0}}}}")
        service.check()
        address = service.ready(soon())
        assert address.endswith("/bench")
        with psycopg.connect(address) as connection:
            assert connection.execute("SHOW shared_buffers").fetchone() == ("16MB",)
            assert connection.execute("SELECT current_database()").fetchone() == ("bench",)
        assert list(data.iterdir())
        service.end()
        assert list(data.iterdir()) == [], "the folder of the user stays, and what was made in it is gone"


def test_a_data_folder_that_is_not_empty_is_never_touched(services: Services, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("thesis")
    service = services.of_recipe(f"service: {{type: postgres, settings: {{data_dir: {tmp_path}}}}}")
    with pytest.raises(ModelInvalid, match="is not empty, and a folder with data in it is never touched"):
        service.check()
    assert [*tmp_path.iterdir()] == [precious]
    assert precious.read_text() == "thesis"


def test_a_taken_port_is_named(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = services.of_recipe(f"service: {{type: redis, settings: {{port: {port}}}}}")
        with pytest.raises(ModelInvalid, match=rf"port {port} of this device cannot be used"):
            service.ready(soon())


def test_the_wanted_port_is_taken(services: Services) -> None:
    port = free_port()
    service = services.fake({"port": port})
    assert service.ready(soon()) == f"fake://127.0.0.1:{port}"


def test_a_service_that_never_gets_healthy_says_why_and_what_it_wrote(services: Services) -> None:
    service = services.fake({"listens": False, "says": "reading 7 files"}, restarts=1, health_timeout_s=0.3)
    # On a busy machine, 0.3 s may be over before the server has begun. So it is not asked for its health before it has written.
    services.check_stop = lambda: wrote(service, "reading 7 files")
    with pytest.raises(ServiceFailed) as raised:
        service.ready(soon())
    assert "the service fake did not become healthy: its health check failed for" in raised.value.detail
    assert "Connection refused" in raised.value.detail
    assert "in any of 2 starts" in raised.value.detail
    assert "reading 7 files" in raised.value.detail
    assert services.running.listed() == []


def test_a_health_check_with_a_mistake_fails_the_job_in_one_sentence(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def health(_self: object, settings: Mapping[str, Any], _port: int) -> None:
        settings["no_such_setting"]

    monkeypatch.setattr("worker.services.fake.FakeService.health", health)
    service = services.fake()
    with pytest.raises(BrokenPlugIn, match="the health check of fake has a mistake: KeyError: 'no_such_setting'"):
        service.ready(soon())
    assert services.running.listed() == []


def test_a_service_that_ends_at_once_is_not_waited_for(services: Services) -> None:
    service = services.fake({"lives_s": 0.0, "says": "no licence"}, restarts=0, health_timeout_s=60)
    begin = time.monotonic()
    with pytest.raises(ServiceFailed, match=r"(?s)ended before it was healthy.*no licence"):
        service.ready(soon())
    assert time.monotonic() - begin < 20


def test_a_service_that_died_is_started_again_as_often_as_the_recipe_allows(services: Services) -> None:
    service = services.fake(restarts=1)
    first = service.ready(soon())
    kill_server(service)
    assert service.died()
    assert service.may_restart()
    service.measured()
    assert service.ready(soon()) != first
    assert (service.facts()["restarts"], len(service.facts()["starts_ms"])) == (1, 2)
    kill_server(service)
    assert not service.may_restart()
    assert "the service fake ended (exit code 137)" in service.last_words()
    with pytest.raises(ServiceFailed, match="the service fake ended"):
        service.ready(soon())


def wrote(service: ServiceOfJob, text: str) -> None:
    """Wait until the server of the job has written a text."""
    deadline = time.monotonic() + 30
    while service._server is None or text not in service._server.output():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_server(service: ServiceOfJob) -> None:
    assert service._server is not None
    for process in psutil.Process(service._server.pid).children():
        process.kill()
    deadline = time.monotonic() + 10
    while not service.died():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_service_that_is_fresh_for_each_repeat_ends_with_it(services: Services) -> None:
    service = services.fake(fresh="repeat")
    first = service.ready(soon())
    service.measured()
    assert services.running.listed() == []
    assert service.ready(soon()) != first


def test_a_job_that_is_stopped_does_not_wait_for_its_service(services: Services) -> None:
    service = services.fake({"listens": False}, health_timeout_s=60)

    def stop() -> None:
        if services.running.listed():
            raise Stop

    services.check_stop = stop
    with pytest.raises(Stop):
        service.ready(soon())
    assert services.running.listed() == []


def test_a_service_that_runs_already_is_left_alone(services: Services) -> None:
    spec = LoadSpec(service=ServiceSpec(type="redis"), client=ClientOfJob(type="redis"), phases=PHASES)
    service = services.of(Workload(spec=spec, target=Existing(address="redis://there:1")))
    service.check()
    assert service.ready(soon()) == "redis://there:1"
    service.measured()
    assert service.facts() == {}


def test_a_device_without_the_server_says_how_to_get_one(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("worker.services.redis.find_spec", lambda _name: None)
    with pytest.raises(EngineUnavailable, match="no Redis server on this device: install"):
        services.of_recipe("service: {type: redis}").check()


def test_an_s3_server_is_started_in_the_folder_of_the_recipe_and_its_password_is_shown_nowhere(services: Services, tmp_path: Path) -> None:
    data = tmp_path / "objects"
    settings = f"{{program: rclone, root_password: only-here-1, data_dir: {data}}}"
    service = services.of_recipe(f"service: {{type: minio, settings: {settings}}}\nclient: {{type: minio, settings: {{warmup_delay: 0}}}}")
    service.check()
    address = service.ready(soon())
    assert "only-here-1" in address, "which is what the clients need"
    (told,) = services.running.listed()
    assert (told["type"], told["state"]) == ("minio", "healthy")
    assert told["version"].startswith("rclone serve s3 v")
    assert "only-here-1" not in str(told)
    assert len(list(data.iterdir())) == 1
    service.measured()
    assert service.facts()["health"]["ok"]
    service.end()
    assert list(data.iterdir()) == [], "what was made in the folder is gone, and the folder stays"


def test_data_of_the_user_and_a_port_that_is_taken_are_left_alone_by_an_s3_server(services: Services, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    full = services.of_recipe(f"service: {{type: minio, settings: {{program: rclone, data_dir: {tmp_path}}}}}")
    with pytest.raises(ModelInvalid, match="is not empty, and a folder with data in it is never touched"):
        full.check()
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = services.of_recipe(f"service: {{type: minio, settings: {{program: rclone, port: {port}}}}}")
        with pytest.raises(ModelInvalid, match=f"port {port} of this device cannot be used"):
            service.ready(soon())


def test_a_container_needs_an_engine_and_neither_the_server_nor_its_folders_on_the_device(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    service = services.of_recipe("service: {type: triton, image: 'triton:1', settings: {model_repo: /models}}")
    with pytest.raises(EngineUnavailable, match="no program that runs containers"):
        service.check()
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    service.check()


def pid_of(service: ServiceOfJob) -> int:
    server = service._server  # its process is what the tests below are about
    assert server is not None
    return server.pid


def test_the_server_of_a_campaign_serves_its_next_job_and_is_listed_under_it(services: Services) -> None:
    first, second = (services.fake({"says": "one"}, fresh="campaign", restarts=0) for _ in range(2))
    second._id, second._job = "second", "job-2"
    address = first.ready(soon())
    pid = pid_of(first)
    first.measured()
    first.leave()
    first.end()
    assert [one["id"] for one in services.running.listed()] == [f"{CAMPAIGN}-job-1.1"]
    assert second.ready(soon()) == address
    assert pid_of(second) == pid
    assert (second.facts()["reused"], second.facts()["starts_ms"], second.facts()["fresh"]) == (True, [], "campaign")
    assert [(one["id"], one["job"]) for one in services.running.listed()] == [("second", "job-2")]
    second.end()  # as it is after an error
    assert services.running.listed() == []
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("what", ["other settings", "more connections", "it died"])
def test_a_server_that_is_not_what_the_next_job_needs_is_ended_and_another_is_started(services: Services, what: str) -> None:
    first = services.fake(fresh="campaign")
    first.ready(soon())
    pid = pid_of(first)
    first.leave()
    second = services.fake({"says": "else"} if what == "other settings" else None, fresh="campaign")
    if what == "more connections":
        spec = second._spec.model_copy(update={"concurrent_clients": 1_001})
        second = services.of(Workload(spec=spec, target=Launched(service="fake", fresh="campaign")))
    if what == "it died":
        psutil.Process(pid).children()[0].kill()
        until = time.monotonic() + 10
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
            time.sleep(0.01)
    second.ready(soon())
    assert pid_of(second) != pid
    assert not psutil.pid_exists(pid)
    assert second.facts()["reused"] is False
    assert len(services.running.listed()) == 1


def test_a_kept_server_ends_with_a_job_of_another_campaign_with_the_worker_and_when_nobody_needs_it(services: Services) -> None:
    ends: list[Callable[[], object]] = [lambda: services.kept.end_of_others("another"), services.kept.close, lambda: None]
    for end in ends:
        services.kept._idle_s = 0.2 if end is ends[-1] else 60.0
        service = services.fake(fresh="campaign")
        service.ready(soon())
        pid = pid_of(service)
        service.leave()
        services.kept.end_of_others(CAMPAIGN)
        assert len(services.running.listed()) == 1
        end()
        until = time.monotonic() + 10
        while services.running.listed() and time.monotonic() < until:
            time.sleep(0.01)
        assert not psutil.pid_exists(pid)


def test_a_user_ends_an_idle_server_and_the_next_job_starts_a_new_one(services: Services) -> None:
    first, second = (services.fake(fresh="campaign") for _ in range(2))
    first.ready(soon())
    pid = pid_of(first)
    (named,) = [one["id"] for one in services.running.listed()]
    services.kept.stop(named)
    assert psutil.pid_exists(pid), "a job uses it"
    first.leave()
    assert [one["state"] for one in services.running.listed()] == ["idle"]
    services.kept.stop("another")
    assert [one["state"] for one in services.running.listed()] == ["idle"]
    services.kept.stop(named)
    second.ready(soon())  # waits for the end of the first server, because it may need its port
    assert not psutil.pid_exists(pid)
    assert second.facts()["reused"] is False
    assert [one["state"] for one in services.running.listed()] == ["healthy"]


def test_a_server_that_a_user_stops_just_when_the_next_job_has_taken_it_ends_after_this_job(services: Services) -> None:
    first, second = (services.fake(fresh="campaign") for _ in range(2))
    second._id = "second"
    first.ready(soon())
    pid = pid_of(first)
    first.leave()
    second.ready(soon())
    services.kept.stop(f"{CAMPAIGN}-job-1.1")
    assert psutil.pid_exists(pid)
    second.leave()
    assert not psutil.pid_exists(pid)
    assert services.running.listed() == []


def test_a_server_that_was_removed_since_the_worker_started_is_named(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    service = services.of_recipe(f"service: {{type: triton, settings: {{model_repo: {Path(__file__).parent.parent}}}}}")
    monkeypatch.setenv("PATH", "/nowhere")
    for offered, expected in (({}, False), ({"triton": "tritonserver"}, True)):
        monkeypatch.setattr("worker.supervisor.service.startable", lambda offered=offered: offered)
        with pytest.raises(EngineUnavailable, match="no program `tritonserver` on this device") as raised:
            service.check()
        assert ("(tritonserver was there before; this worker now offers it no longer)" in raised.value.detail) is expected
