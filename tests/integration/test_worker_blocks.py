"""Tests a real worker with messages of several jobs, whose repeats take turns: what it measures, and how it is interrupted."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.jobs import MAX_BLOCK
from shared.protocol import keys
from tests.integration.worker_process import Fleet, eventually, fleet_at, sleeping_job
from worker.job_log import DIED


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(redis_url, tmp_path) as made:
        yield made


def held(fleet: Fleet, worker_id: str) -> list[str]:
    return sorted(job_id for job_id, _ in json.loads(fleet.state(worker_id)["held"]))


def stages(fleet: Fleet, worker_id: str) -> dict[str, str]:
    """Return what the worker's heartbeat says about each job that it has in hand."""
    state = fleet.state(worker_id)
    others = json.loads(state.get("others") or "{}")
    return {state["current_job"]: state["stage"], **{job_id: stage for job_id, (stage, _) in others.items()}}


def test_two_jobs_of_one_message_take_turns_and_the_heartbeat_names_both(fleet: Fleet, tmp_path: Path) -> None:
    worker_id = fleet.registered(fleet.start())
    assert json.loads(str(fleet.redis.hget(keys.WORKERS, worker_id)))["max_block"] == MAX_BLOCK
    work = [sleeping_job(tmp_path, number, inferences=4, repeats=3) for number in (1, 2)]
    names = [one.job_id for one in work]
    fleet.send(*work)
    eventually(lambda: held(fleet, worker_id) == names, "both are held")
    waits = "is next; another job of the comparison is measured"
    eventually(lambda: any(waits in said for said in stages(fleet, worker_id).values()), "one waits")
    found = [fleet.report("result", name) for name in names]
    assert [result.status for result in found] == ["complete", "complete"]
    in_turn = [number for _, number in sorted((repeat.started_at, n) for n, one in enumerate(found) for repeat in one.summary.repeats)]
    assert [sorted(in_turn[at : at + 2]) for at in (0, 2, 4)] == [[0, 1]] * 3, "a repeat of each in each round"
    eventually(lambda: fleet.unacknowledged() == 0, "the message is acknowledged")
    for result in found:
        fleet.answer(result, "recorded")
    eventually(lambda: held(fleet, worker_id) == [], "nothing is held any more")


@pytest.mark.long
def test_one_job_is_cancelled_while_the_other_one_goes_on(fleet: Fleet, tmp_path: Path) -> None:
    fleet.registered(fleet.start())
    work = [sleeping_job(tmp_path, 1, inferences=1000), sleeping_job(tmp_path, 2, inferences=4, repeats=2)]
    fleet.send(*work)
    for one in work:
        fleet.report("started", one.job_id)
    fleet.redis.set(keys.ended(work[0].job_id), "1")
    assert fleet.report("result", work[0].job_id).status == "cancelled"
    assert fleet.report("result", work[1].job_id).status == "complete"


def test_a_worker_that_is_stopped_hands_every_job_of_the_message_back(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    work = [sleeping_job(tmp_path, number, inferences=1000) for number in (1, 2, 3)]
    fleet.send(*work)
    eventually(lambda: any(said.endswith(": measuring") for said in stages(fleet, worker_id).values()), "one is measured")
    assert worker.end() == 0
    for one in work:
        assert fleet.report("hand_back", one.job_id).reason == "handed back"
        assert not fleet.redis.exists(keys.claim(one.job_id))
    assert fleet.unacknowledged() == 0
    assert [report.kind for report in fleet.reports].count("result") == 0


def test_a_worker_that_is_killed_loses_the_jobs_of_one_message_and_its_next_process_tells_of_each(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    work = [sleeping_job(tmp_path, 1, inferences=1, repeats=1), *(sleeping_job(tmp_path, number, inferences=1000) for number in (2, 3))]
    fleet.send(*work)
    eventually(lambda: any(said.endswith(": measuring") for said in stages(fleet, worker_id).values()), "one is measured")
    worker.process.send_signal(signal.SIGKILL)
    worker.wait()
    again = fleet.start()
    fleet.registered(again)
    assert held(fleet, worker_id) == [], "the watch sees from this that they are lost"
    for one in work:
        lines = base64.b64decode(fleet.report("log", one.job_id).log.inline).splitlines()
        assert json.loads(lines[-1])["message"] == DIED
    after = sleeping_job(tmp_path, 2, attempt=2, inferences=1)
    fleet.send(after)
    assert fleet.report("result", after.job_id).attempt == 2
