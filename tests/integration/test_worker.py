"""Tests the whole life of a worker: a real worker process, a real Redis and the real measured process."""

from __future__ import annotations

import base64
import io
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from shared.capabilities import worker_queue
from shared.protocol import keys, scripts
from shared.protocol.messages import Result
from tests.integration.worker_process import Fleet, Worker, eventually, fleet_at, long_job, sleeping_job, tiny_job
from tests.servers import RedisServer, free_port, server_folder
from worker.hardware.identity import Identity, known_udid


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(redis_url, tmp_path) as made:
        yield made


@dataclass
class House:
    """Runs one worker for all tests that need none of their own, on a Redis that no other test empties."""

    fleet: Fleet
    worker: Worker
    worker_id: str
    folder: Path
    jobs: int = 0

    def number(self) -> int:
        """Return the number of a job that none of these tests has used."""
        self.jobs += 1
        return self.jobs

    def settle(self, result: Result) -> None:
        """Answer a result, so that the worker keeps nothing for the next test."""
        self.fleet.answer(result, "recorded")
        eventually(lambda: self.worker.spooled() == [], "nothing is kept")
        eventually(lambda: self.fleet.state(self.worker_id)["status"] == "active", "the worker is free again")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("shared")
    with server_folder() as place, ExitStack() as stack:
        server = RedisServer(place, append_only=False)
        server.start()
        stack.callback(server.stop)
        fleet = stack.enter_context(fleet_at(server.url, folder))
        worker = fleet.start()
        yield House(fleet, worker, fleet.registered(worker), folder)


def test_a_worker_registers_with_its_device_and_is_seen(fleet: Fleet) -> None:
    worker = fleet.start("--label", "site=lab")
    worker_id = fleet.registered(worker)
    registration = json.loads(str(fleet.redis.hget(keys.WORKERS, worker_id)))
    assert registration["device_name"] == "lab pi@3"
    assert "cpu.onnx" in registration["capabilities"]
    assert registration["labels"] == {"site": "lab"}
    assert registration["hardware"]["memory_mb"] == round(psutil.virtual_memory().total / 2**20)
    assert registration["device_info"]["UDID"] == known_udid(worker.state)
    assert fleet.state(worker_id)["status"] == "active"
    assert worker.end() == 0
    assert fleet.state(worker_id)["status"] == "gone"


def test_a_job_comes_back_as_started_and_a_result_with_its_raw_samples(shared: House) -> None:
    fleet, job = shared.fleet, tiny_job(shared.folder, shared.number())
    fleet.send(job)
    started = fleet.report("started", job.job_id)
    assert (started.worker_id, started.attempt) == (shared.worker_id, 1)
    result = fleet.report("result", job.job_id)
    assert (result.status, result.error) == ("complete", "")
    assert result.summary.inference.n == 20
    assert result.device.udid == known_udid(shared.worker.state)
    assert result.software["fleetmark"]
    samples = np.load(io.BytesIO(base64.b64decode(result.artifacts["samples.npz"].inline)))
    assert len(samples["repeat_0_inference_ns"]) == 20
    eventually(lambda: fleet.unacknowledged() == 0, "the message is acknowledged")
    shared.settle(result)


def test_the_private_queue_reaches_this_worker(shared: House) -> None:
    job = tiny_job(shared.folder, shared.number())
    shared.fleet.send(job, queue=worker_queue(shared.worker_id))
    result = shared.fleet.report("result", job.job_id)
    assert result.worker_id == shared.worker_id
    shared.settle(result)


def test_a_result_stays_on_disk_until_it_is_answered(shared: House) -> None:
    fleet, worker, worker_id = shared.fleet, shared.worker, shared.worker_id
    job = tiny_job(shared.folder, shared.number())
    fleet.send(job)
    result = fleet.report("result", job.job_id)
    assert worker.spooled() == [f"{job.job_id}.1.json"]
    eventually(lambda: fleet.state(worker_id)["held"] == json.dumps([[job.job_id, 1]]), "what is not answered is held")
    fleet.answer(result, "recorded")
    eventually(lambda: worker.spooled() == [], "the spool file is deleted")
    eventually(lambda: fleet.redis.hlen(keys.answers(worker_id)) == 0, "the answer is forgotten")
    eventually(lambda: fleet.state(worker_id)["held"] == "[]", "nothing is held")


def test_an_unanswered_result_is_sent_again_by_the_next_process(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    fleet.registered(worker)
    job = tiny_job(tmp_path)
    fleet.send(job)
    first = fleet.report("result", job.job_id)
    assert worker.end() == 0
    second = fleet.start()
    fleet.registered(second)
    again = fleet.report("result", job.job_id, after=1)
    assert again == first
    fleet.answer(again, "unwanted")
    eventually(lambda: second.spooled() == [], "an unwanted result goes, too")


def test_identity_survives_restarts_and_a_crash_is_back_at_once(fleet: Fleet) -> None:
    first = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S="3600")
    worker_id = fleet.registered(first)
    first.process.kill()
    first.wait()
    dead = fleet.state(worker_id)["incarnation"]
    second = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S="3600")
    eventually(lambda: fleet.state(worker_id)["incarnation"] != dead, "the second one says itself that it lives")
    assert fleet.registered(second) == worker_id
    assert second.end() == 0


@pytest.mark.long
def test_a_second_crash_before_the_first_one_is_noticed_is_back_without_a_hand(fleet: Fleet) -> None:
    first = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S="3")
    worker_id = fleet.registered(first)
    incarnation = fleet.state(worker_id)["incarnation"]
    first.process.kill()
    first.wait()
    Identity.claim(first.state, "died before it could register").close()
    third = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S="3")
    eventually(lambda: fleet.state(worker_id)["incarnation"] != incarnation, "it is back")
    assert third.end() == 0


def test_a_redis_that_came_back_without_the_last_it_was_told_ends_no_worker(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S="2")
    worker_id = fleet.registered(worker)
    incarnation = fleet.state(worker_id)["incarnation"]
    fleet.redis.hset(keys.worker(worker_id), "incarnation", "an earlier start")
    eventually(lambda: fleet.state(worker_id)["incarnation"] == incarnation, "it is known again")
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).status == "complete"


def test_a_cloned_disk_is_refused_with_the_ways_out(fleet: Fleet, tmp_path: Path) -> None:
    original = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S="2")
    worker_id = fleet.registered(original)
    (tmp_path / "other").mkdir()
    shutil.copytree(original.state, tmp_path / "other" / "state")
    clone = fleet.start(folder=tmp_path / "other", FLEETMARK_HEARTBEAT_TIMEOUT_S="2")
    assert clone.wait() == 2
    assert "identity.json" in clone.log()
    assert "Traceback" not in clone.log()
    assert original.process.poll() is None
    assert fleet.state(worker_id)["status"] == "active"


def test_a_worker_whose_identity_is_taken_over_stops(fleet: Fleet) -> None:
    worker = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S="2")
    worker_id = fleet.registered(worker)
    fleet.redis.hset(keys.worker(worker_id), "incarnation", "another")

    def ended() -> bool:
        fleet.redis.eval(scripts.HEARTBEAT, 0, worker_id, "another", "", "", "[]", "", "", "")
        return worker.process.poll() is not None

    eventually(ended, "it sees that another one speaks for this device")
    assert worker.wait() == 2
    assert "is alive in another process" in worker.log()
    assert fleet.state(worker_id)["incarnation"] == "another"
    assert fleet.state(worker_id)["status"] == "active"  # the state of the other worker is left alone


def test_sigterm_hands_the_running_job_back_and_leaves_nothing(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    job = long_job(tmp_path)
    fleet.send(job)
    fleet.report("started", job.job_id)
    eventually(lambda: "repeat" in fleet.state(worker_id)["stage"], "the measurement goes on")
    family = worker.family()
    assert worker.end() == 0
    back = fleet.report("hand_back", job.job_id)
    assert (back.attempt, back.worker_id) == (1, worker_id)
    assert fleet.redis.exists(keys.claim(job.job_id)) == 0
    assert fleet.unacknowledged() == 0
    # the message is acknowledged and not put back, because the orchestrator issues the next attempt
    assert fleet.redis.llen("cpu.onnx") == 0
    assert fleet.state(worker_id)["status"] == "gone"
    assert [process for process in family if process.is_running()] == []


def _rename(fleet: Fleet, worker: Worker, new_id: str) -> None:
    """Let Redis forget the worker and give its device another id, as after a backup was restored."""
    worker_id, udid = fleet.registered(worker), known_udid(worker.state)
    fleet.redis.hset(keys.IDENTITIES, udid, new_id)
    fleet.redis.hdel(keys.WORKERS, worker_id)
    eventually(lambda: f"registered anew as {new_id}" in worker.log(), "the worker hears of its new name")


@pytest.mark.long
def test_a_stop_while_a_renamed_worker_finishes_its_job_hands_the_job_back(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    fleet.registered(worker)
    job = long_job(tmp_path)
    fleet.send(job)
    fleet.report("started", job.job_id)
    _rename(fleet, worker, "worker-0123456789ab")
    eventually(lambda: "stopping: finishing" in worker.log(), "it finishes under its old name first")
    family = worker.family()
    assert worker.end() == 0
    assert fleet.report("hand_back", job.job_id).attempt == 1
    # the worker was registered under this name but has not run a job under it
    assert fleet.state("worker-0123456789ab")["status"] == "active"
    assert [process for process in family if process.is_running()] == []


def test_a_renamed_worker_finishes_its_job_and_serves_under_its_new_name(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    fleet.registered(worker)
    job = sleeping_job(tmp_path, 1, inferences=15)
    fleet.send(job)
    fleet.report("started", job.job_id)
    _rename(fleet, worker, "worker-0123456789ab")
    assert fleet.report("result", job.job_id).status == "complete"
    after = tiny_job(tmp_path, number=2)
    fleet.send(after)
    assert fleet.report("result", after.job_id).worker_id == "worker-0123456789ab"
    assert worker.end() == 0


def test_with_drain_sigterm_lets_the_job_finish(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start("--drain")
    fleet.registered(worker)
    job = sleeping_job(tmp_path, 1, inferences=15)
    fleet.send(job)
    fleet.report("started", job.job_id)
    waiting = tiny_job(tmp_path, number=2)
    fleet.send(waiting)
    assert worker.end() == 0
    assert fleet.report("result", job.job_id).status == "complete"
    assert [report for report in fleet.reports if report.job_id == waiting.job_id] == []
    assert fleet.redis.llen("cpu.onnx") == 1  # the message is left for another worker


def test_a_second_signal_ends_everything_at_once(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start("--drain")
    worker_id = fleet.registered(worker)
    job = long_job(tmp_path)
    fleet.send(job)
    fleet.report("started", job.job_id)
    eventually(lambda: "repeat" in fleet.state(worker_id)["stage"], "the measurement goes on")
    family = worker.family()
    worker.process.send_signal(signal.SIGINT)
    eventually(lambda: "finishing" in worker.log(), "the first signal is taken")
    worker.process.send_signal(signal.SIGINT)
    assert worker.wait() == 128 + signal.SIGINT
    eventually(lambda: not [process for process in family if process.is_running()], "the guard ends with its worker")


def test_a_cancelled_job_is_stopped_and_said_to_be(shared: House) -> None:
    fleet, job = shared.fleet, long_job(shared.folder, shared.number())
    fleet.send(job)
    fleet.report("started", job.job_id)
    fleet.redis.set(keys.ended(job.job_id), 1)
    result = fleet.report("result", job.job_id)
    assert result.status == "cancelled"
    shared.settle(result)


def test_a_job_cancelled_in_its_queue_is_dropped(fleet: Fleet, tmp_path: Path) -> None:
    cancelled, wanted = tiny_job(tmp_path, number=1), tiny_job(tmp_path, number=2)
    fleet.redis.set(keys.ended(cancelled.job_id), 1)
    fleet.send(cancelled)
    fleet.send(wanted)
    fleet.registered(fleet.start())
    fleet.report("result", wanted.job_id)
    assert [report for report in fleet.reports if report.job_id == cancelled.job_id] == []


def test_two_workers_share_a_queue_and_run_each_job_once(fleet: Fleet, tmp_path: Path) -> None:
    fleet.registered(fleet.start())
    fleet.start(folder=tmp_path / "other")
    eventually(lambda: fleet.redis.hlen(keys.WORKERS) == 2, "both live")
    jobs = [tiny_job(tmp_path, number) for number in range(1, 7)]
    for job in jobs:
        fleet.send(job)
        fleet.send(job)  # a copy of the message, as the watch may send one
    for job in jobs:
        assert fleet.report("result", job.job_id).status == "complete"
    eventually(lambda: fleet.unacknowledged() == 0 and fleet.redis.llen("cpu.onnx") == 0, "every copy is taken")
    begun = [report.job_id for report in fleet.reports if report.kind == "started"]
    assert sorted(begun) == sorted(job.job_id for job in jobs)


def test_what_cannot_be_read_is_kept_as_a_dead_letter_and_work_goes_on(fleet: Fleet, tmp_path: Path) -> None:
    worker_id = fleet.registered(fleet.start())
    fleet.app.send_task("fleetmark.run_job", args=[{"job_id": "nonsense"}], queue="cpu.onnx")
    fleet.app.send_task("no.such.task", queue="cpu.onnx")
    with fleet.app.connection_for_write() as connection:
        connection.default_channel.basic_publish(
            connection.default_channel.prepare_message("<xml/>", content_type="application/xml", content_encoding="utf-8"),
            exchange="",
            routing_key="cpu.onnx",
        )
    eventually(lambda: len(fleet.letters()) == 3, "three letters")
    letters = fleet.letters()
    assert any("job_id: String should match pattern" in letter.reason for letter in letters)
    assert any("no.such.task" in letter.reason and letter.queue == "cpu.onnx" for letter in letters)
    assert any("protocol 2" in letter.reason and letter.message == "<xml/>" for letter in letters)
    assert {letter.by for letter in letters} == {worker_id}
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).status == "complete"
    eventually(lambda: fleet.unacknowledged() == 0, "the message is acknowledged")


def test_a_job_in_hand_is_not_put_back_when_the_connection_is_lost(shared: House) -> None:
    fleet, job = shared.fleet, sleeping_job(shared.folder, shared.number(), inferences=15)
    fleet.send(job)
    fleet.report("started", job.job_id)
    fleet.redis.config_resetstat()
    for connection in fleet.redis.client_list():
        if int(connection["id"]) != fleet.redis.client_id():
            fleet.redis.client_kill_filter(_id=connection["id"])
    result = fleet.report("result", job.job_id)
    assert result.status == "complete"
    eventually(lambda: fleet.unacknowledged() == 0, "it is acknowledged over a new connection")
    assert "cmdstat_rpush" not in fleet.redis.info("commandstats")  # kombu would use this command to put a message back
    shared.settle(result)


def test_the_device_answers_for_itself(fleet: Fleet) -> None:
    port = free_port()
    worker_id = fleet.registered(fleet.start("--http-port", str(port)))
    about = f"http://127.0.0.1:{port}/api/v1/info"
    eventually(lambda: httpx.get(about, verify=False).raise_for_status().json()["agent_id"] == worker_id, "it knows its id")
    health = httpx.get(f"http://127.0.0.1:{port}/health", verify=False).raise_for_status().json()
    assert (health["status"], health["worker_status"]) == ("healthy", "active")


def test_celery_sees_a_worker_named_after_its_device_while_a_job_runs(fleet: Fleet, tmp_path: Path) -> None:
    worker_id = fleet.registered(fleet.start())
    job = long_job(tmp_path)
    fleet.send(job)
    fleet.report("started", job.job_id)
    nodename = f"lab-pi-3@{worker_id}"
    assert fleet.app.control.ping(destination=[nodename], timeout=10, limit=1) == [{nodename: {"ok": "pong"}}]
    # this is Celery's own command; the worker ignores it, because everyone on the broker can send it
    fleet.app.control.shutdown(destination=[nodename])
    fleet.app.control.cancel_consumer("cpu.onnx", destination=[nodename])
    (running,) = fleet.app.control.inspect([nodename], timeout=10, limit=1).active()[nodename]
    assert (running["id"], running["name"]) == (f"{job.job_id}.1", "fleetmark.run_job")
    assert {queue["name"] for queue in fleet.app.control.inspect([nodename], timeout=10, limit=1).active_queues()[nodename]} >= {"cpu.onnx"}
