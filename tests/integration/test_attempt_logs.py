"""Tests that the log of each attempt reaches `outputs/<campaign>/logs/<job>.log`.

This includes attempts that failed, were handed back, or were lost.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from shared.ids import campaign_of, job_id
from shared.protocol.messages import AttemptLog
from tests.integration.control_plane import TIMEOUT, control_plane, job, submit_jobs, until
from tests.integration.reports import handed_back, result, started
from tests.integration.worker_process import Fleet, eventually, fleet_at, long_job
from worker.job_log import DIED, HANDED_BACK
from worker.reports import log_message

Submit = Callable[..., Submitted]
Register = Callable[..., str]
KEYS = {"time", "level", "source", "campaign", "job", "attempt", "worker", "message"}


def kept(ctx: Context, name: str) -> list[dict[str, Any]]:
    path = ctx.settings.outputs_dir / campaign_of(name) / "logs" / f"{name}.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def told(name: str, attempt: int, message: str = "") -> AttemptLog:
    line = {"attempt": attempt, "message": message or f"attempt {attempt}"}
    return log_message((name, attempt), json.dumps(line).encode() + b"\n", "worker-a")


def test_attempts_are_in_order_however_late_one_comes(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    record(ctx, [started(name), handed_back(name), result(name, attempt=2)])
    assert [line["message"] for line in kept(ctx, name)] == ["attempt 2"]
    record(ctx, [told(name, 1)])  # the job has ended long ago
    record(ctx, [told(name, 1)])
    assert [line["message"] for line in kept(ctx, name)] == ["attempt 1", "attempt 2"]


def test_the_log_of_a_result_that_nobody_wants_is_kept_all_the_same(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    record(ctx, [started(name), handed_back(name)])
    record(ctx, [result(name, attempt=1, status="failed", error="too late", error_kind="model_invalid")])
    record(ctx, [result(name, attempt=2, worker_id="worker-b")])
    assert [line["message"] for line in kept(ctx, name)] == ["attempt 1", "attempt 2"]


def test_a_log_of_no_attempt_that_was_made_is_dropped(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign.id
    record(ctx, [told(job_id(campaign, 1), 2), told(job_id(campaign, 7), 1), told("campaign-000000000000000000-job-1", 1)])
    assert not (ctx.settings.outputs_dir / campaign / "logs").exists()
    assert not (ctx.settings.outputs_dir / "campaign-000000000000000000").exists()


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(redis_url, tmp_path / "device") as made:
        yield made


def test_each_attempt_of_a_job_tells_its_story_to_the_end(fleet: Fleet, redis_url: str, tmp_path: Path) -> None:
    """One log contains all three attempts of the job.

    One attempt is handed back, one is killed with its worker, and one fails by its model.
    """
    schedule = tmp_path / "schedule.json"
    slow = {"sleeps_s": [0.1], "prints": "hello from the model"}
    schedule.write_text(json.dumps(slow))
    with control_plane(redis_url, tmp_path) as at:
        worker = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
        worker_id = fleet.registered(worker)
        (name,) = submit_jobs(at, schedule, inferences=1000)
        until(at, name, "running", attempt=1)
        eventually(lambda: "measuring" in fleet.state(worker_id)["stage"], "it measures")
        assert worker.end() == 0

        worker = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
        fleet.registered(worker)
        until(at, name, "running", attempt=2)
        eventually(lambda: "measuring" in fleet.state(worker_id)["stage"], "it measures")
        schedule.write_text(json.dumps({**slow, "then": "raise:no such weight"}))
        worker.process.kill()
        worker.wait()

        worker = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
        failed = until(at, name, "failed")
        assert (failed.attempt, "no such weight" in (failed.error or "")) == (3, True)
        eventually(lambda: {line["attempt"] for line in kept(at, name)} == {1, 2, 3}, "every attempt's log")
        lines = kept(at, name)
        assert worker.end() == 0
        assert job(at, name).losses == 1
    assert {frozenset(line) for line in lines} == {frozenset(KEYS)}
    assert {(line["campaign"], line["job"], line["worker"]) for line in lines} == {(campaign_of(name), name, worker_id)}
    assert [line["attempt"] for line in lines] == sorted(line["attempt"] for line in lines)
    last = {line["attempt"]: line["message"] for line in lines}
    assert (last[1], last[2]) == (HANDED_BACK, DIED)
    said = {line["attempt"]: line["message"] for line in lines if line["level"] == "error"}
    assert "no such weight" in said[3]
    assert any("hello from the model" in line["message"] for line in lines if line["source"] == "application")


@pytest.mark.long
def test_the_next_process_sends_the_log_of_the_attempt_that_died_with_its_worker_once(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    work = long_job(tmp_path)
    fleet.send(work)
    eventually(lambda: "measuring" in fleet.state(worker_id)["stage"], "it measures")
    worker.process.kill()
    worker.wait()
    for _ in range(2):
        fleet.registered(after := fleet.start())
        log = fleet.report("log", work.job_id)
        assert after.end() == 0
    lines = [json.loads(line) for line in base64.b64decode(log.log.inline).splitlines()]
    assert lines[0]["message"].startswith("model schedule.json from file://")
    assert lines[-1]["message"] == DIED
    assert [report.kind for report in fleet.reports].count("log") == 1
    assert list((worker.state / "spool").iterdir()) == []
