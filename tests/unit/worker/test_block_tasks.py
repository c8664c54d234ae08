"""Tests a message with several jobs: each of them is claimed, dropped, refused, reported and answered for on its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Unavailable
from shared.ids import AttemptKey
from shared.jobs import MAX_BLOCK
from shared.protocol.messages import Assignment, HandBack
from tests.unit.worker.results import assignment
from tests.unit.worker.test_tasks import COMPLETE, House, house
from worker.job_log import JobLog
from worker.supervisor import Outcome
from worker.supervisor.block import OnBlockStage, OnOver
from worker.tasks import BESIDE_DEFECT, LEAVING, QUARANTINED


def body(number: int = 1) -> dict[str, Any]:
    return dict(json.loads(assignment(number).model_dump_json()))


def send(at: House, *numbers: int) -> str:
    return at.task(tuple(body(number) for number in numbers), {})


def sent(at: House) -> list[tuple[str, str]]:
    return [(result.job_id.rpartition("-")[2], result.status) for result, _ in at.outbox.delivered]


def handed_back(at: House) -> dict[str, str]:
    return {told.job_id.rpartition("-")[2]: told.reason for told in at.outbox.told if isinstance(told, HandBack)}


def test_every_job_of_a_message_is_announced_and_sent(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    assert send(at, 1, 2, 3) == "3 complete"
    assert [(told.kind, told.job_id[-1]) for told in at.outbox.told] == [("started", "1"), ("started", "2"), ("started", "3")]
    assert sent(at) == [("1", "complete"), ("2", "complete"), ("3", "complete")]
    assert sorted(at.spool.keys()) == [(assignment(number).job_id, 1) for number in (1, 2, 3)]
    assert at.activity.snapshot().jobs == []
    assert list(tmp_path.glob("*.journal")) == []


def test_all_jobs_are_held_from_before_the_first_claim_and_each_until_it_is_over(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    held: list[list[str]] = []
    claim = at.broker.claim

    def noting(job_id: str, attempt: int, worker_id: str, ttl_s: int) -> str:
        held.append([job[-1] for job, _ in at.activity.snapshot().jobs])
        return claim(job_id, attempt, worker_id, ttl_s)

    at.broker.claim = noting  # type: ignore[method-assign]  # the same broker
    deliver = at.outbox.deliver

    def noting_too(result: Any, attachments: Any) -> None:
        held.append([job[-1] for job, _ in at.activity.snapshot().jobs])
        deliver(result, attachments)

    at.outbox.deliver = noting_too  # type: ignore[method-assign]  # the same outbox
    send(at, 1, 2)
    assert held == [["1", "2"], ["1", "2"], ["1", "2"], ["2"]]


def test_a_job_that_was_cancelled_is_left_out_and_the_others_run(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, ["claimed", "cancelled", "claimed"])
    assert send(at, 1, 2, 3) == "2 complete, 1 dropped: cancelled"
    assert sent(at) == [("1", "complete"), ("3", "complete")]


def test_a_message_whose_jobs_are_all_left_out_measures_nothing(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, ["superseded"])
    assert send(at, 1, 2) == "2 dropped: superseded"
    assert (at.supervisor.seen, at.outbox.delivered) == ([], [])


def test_a_device_in_quarantine_hands_every_job_back(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, ["quarantined"])
    assert send(at, 1, 2) == "2 handed back"
    assert handed_back(at) == {"1": QUARANTINED, "2": QUARANTINED}


def test_a_worker_that_is_leaving_hands_every_job_back(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    at.activity.stop()
    assert send(at, 1, 2) == "2 handed back"
    assert handed_back(at) == {"1": LEAVING, "2": LEAVING}


def test_jobs_that_cannot_be_claimed_wait_for_redis_together_and_not_one_after_the_other(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, [Unavailable("away")])

    def refuse(job_id: str, attempt: int, worker_id: str, ttl_s: int) -> str:
        at.clock.advance(301.0)
        raise Unavailable("away")

    at.broker.claim = refuse  # type: ignore[method-assign]  # the same broker, and time that passes
    began = at.clock.monotonic()
    send(at, 1, 2, 3)
    assert at.clock.monotonic() - began == 4 * 301.0, "two tries for the first, then one for each of the others"


def test_a_job_that_was_run_before_is_not_run_again_with_the_others(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    send(at, 2)
    assert send(at, 1, 2) == "1 complete, 1 dropped: already run here"
    assert sent(at) == [("2", "complete"), ("1", "complete")]


def test_one_assignment_that_cannot_be_read_fails_its_job_and_the_others_run(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    said = at.task((body(1), body(2) | {"format": 2}), {})
    assert said.startswith("failed: 1 of 2 jobs, the first: ")
    assert sorted(sent(at)) == [("1", "complete"), ("2", "failed")]
    assert len(at.broker.letters) == 1


@pytest.mark.parametrize("count", [0, MAX_BLOCK + 1])
def test_a_message_with_no_or_too_many_jobs_is_a_dead_letter(tmp_path: Path, count: int) -> None:
    """The watch then sends its jobs again, each alone."""
    at = house(tmp_path, COMPLETE)
    assert send(at, *range(1, count + 1)) == "dead letter"
    assert f"got {count} arguments" in at.broker.letters[0][0]
    assert (at.outbox.told, at.outbox.delivered) == ([], [])


def test_a_job_that_is_named_twice_runs_once(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    send(at, 1, 1)
    assert sent(at) == [("1", "complete")]


def test_a_message_that_cannot_be_started_hands_every_job_back(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    at.task.hand_back((body(1), body(2)), {})
    assert set(handed_back(at)) == {"1", "2"}


def test_a_defect_fails_the_current_job_and_hands_those_back_that_had_no_part_in_it(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)

    def defect(assignments: Sequence[Assignment], on_stage: OnBlockStage, job_logs: Mapping[AttemptKey, JobLog], on_over: OnOver) -> None:
        on_over((assignments[0].job_id, 1), COMPLETE)
        on_stage("repeat 1 of 6: measuring", 0.1, (assignments[2].job_id, 1))
        raise RuntimeError("out of reason")

    at.supervisor.run_block = defect  # type: ignore[method-assign]  # the same supervisor with a defect
    assert send(at, 1, 2, 3).startswith("failed: 1 of 3 jobs, the first: the worker itself failed: RuntimeError: out of reason")
    assert sent(at) == [("1", "complete"), ("3", "failed")]
    assert handed_back(at) == {"2": BESIDE_DEFECT}
    assert at.broker.released == [(assignment(2).job_id, 1)]
    assert at.task.rests


def test_the_log_of_a_job_that_goes_back_is_sent_and_the_others_keep_theirs(tmp_path: Path) -> None:
    at = house(tmp_path, Outcome("handed_back", error="handed back"))
    send(at, 1, 2)
    assert [told.kind for told in at.outbox.told] == ["started", "started", "hand_back", "log", "hand_back", "log"]
    assert at.broker.released == [(assignment(1).job_id, 1), (assignment(2).job_id, 1)]
