from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from shared.clock import FakeClock
from shared.errors import Unavailable
from shared.ids import AttemptKey
from shared.protocol.messages import Assignment, AttemptLog, Device, HandBack, Result, Started
from shared.targets import Launched
from shared.workers import WorkerStatus
from tests.unit.worker.results import CAMPAIGN, WORKER, assignment
from worker.activity import Activity
from worker.job_log import JobLog, Journals
from worker.mail import INLINE_BYTES
from worker.reports import Author
from worker.rest import REST_S
from worker.spool import Spool
from worker.supervisor import Outcome
from worker.supervisor.block import OnBlockStage, OnOver
from worker.tasks import CLAIM_WITHIN_S, QUARANTINED, UNCLAIMED, JobTask


@dataclass
class FixedSupervisor:
    """Returns the given answer, and records what the worker says about itself at that moment."""

    outcome: Outcome | Exception
    activity: Activity
    seen: list[WorkerStatus] = field(default_factory=list)

    def run(self, assignment: Assignment, on_stage: Callable[[str, float | None], None], job_log: JobLog | None = None) -> Outcome:
        on_stage("measure", 0.5)
        assert job_log is not None
        job_log.add("info", "benchmark", "measured")
        self.seen.append(self.activity.snapshot().status)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def run_block(
        self, assignments: Sequence[Assignment], on_stage: OnBlockStage, job_logs: Mapping[AttemptKey, JobLog], on_over: OnOver
    ) -> None:
        for one in assignments:
            key = (one.job_id, one.attempt)
            on_over(key, self.run(one, lambda stage, progress, key=key: on_stage(stage, progress, key), job_logs[key]))  # type: ignore[misc]  # a default binds the key

    def stop(self, job_id: str, attempt: int, why: Literal["cancelled", "handed_back"]) -> None: ...


@dataclass
class MemoryBroker:
    """Keeps claims and dead letters in lists. Each verdict is used once, and the last one is repeated."""

    verdicts: list[str | Unavailable]
    released: list[tuple[str, int]] = field(default_factory=list)
    letters: list[tuple[str, str]] = field(default_factory=list)

    def claim(self, job_id: str, attempt: int, worker_id: str, ttl_s: int) -> str:
        verdict = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        if isinstance(verdict, Unavailable):
            raise verdict
        return verdict

    def release(self, job_id: str, attempt: int) -> None:
        self.released.append((job_id, attempt))

    def dead_letter(self, reason: str, message: str) -> None:
        self.letters.append((reason, message))


@dataclass
class MemoryOutbox:
    away: bool = False
    defect: Exception | None = None
    told: list[Started | HandBack | AttemptLog] = field(default_factory=list)
    delivered: list[tuple[Result, dict[str, bytes]]] = field(default_factory=list)

    def tell(self, message: Started | HandBack | AttemptLog) -> None:
        if self.away:
            raise Unavailable("the broker is away")
        self.told.append(message)

    def deliver(self, result: Result, attachments: Mapping[str, Path | bytes]) -> None:
        if self.away:
            raise Unavailable("the broker is away")
        if self.defect is not None:
            raise self.defect
        content = {name: item if isinstance(item, bytes) else item.read_bytes() for name, item in attachments.items()}
        self.delivered.append((result, content))


@dataclass
class House:
    task: JobTask
    supervisor: FixedSupervisor
    broker: MemoryBroker
    outbox: MemoryOutbox
    spool: Spool
    journals: Journals
    activity: Activity
    clock: FakeClock
    pauses: list[float]
    lost: list[int]  # how many results were delivered when an ability was reported as lost

    def run(self, given: Assignment) -> str:
        return self.task((json.loads(given.model_dump_json()),), {})


def house(
    folder: Path,
    outcome: Outcome | Exception,
    verdicts: list[str | Unavailable] | None = None,
    *,
    away: bool = False,
    inline: bool = False,
    clock_warning: str = "",
) -> House:
    activity = Activity()
    supervisor = FixedSupervisor(outcome, activity)
    broker = MemoryBroker(verdicts if verdicts is not None else ["claimed"])
    outbox, spool = MemoryOutbox(away), Spool(folder)
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    journals = Journals(folder, clock, WORKER)
    author = Author(WORKER, "first", Device(name="lab-pi", soc="A76"), "1.2.3")
    pauses: list[float] = []
    lost: list[int] = []
    task = JobTask(
        author=author,
        supervisor=supervisor,
        broker=broker,
        outbox=outbox,
        spool=spool,
        journals=journals,
        activity=activity,
        clock=clock,
        inline_everything=inline,
        on_pause=lambda: pauses.append(clock.monotonic()),
        on_lost_ability=lambda: lost.append(len(outbox.delivered)),
        clock_warning=clock_warning,
    )
    return House(task, supervisor, broker, outbox, spool, journals, activity, clock, pauses, lost)


COMPLETE = Outcome("complete", model_name="tiny.onnx", model_size=103, samples_npz=b"samples", software={"onnxruntime": "1"})


def test_a_job_is_claimed_announced_measured_kept_and_sent(tmp_path: Path) -> None:
    given = assignment()
    at = house(tmp_path, COMPLETE)
    assert at.run(given) == "complete"
    (started,) = at.outbox.told
    assert isinstance(started, Started)
    assert (started.job_id, started.attempt, started.worker_id, started.incarnation) == (given.job_id, 1, WORKER, "first")
    ((sent, attachments),) = at.outbox.delivered
    assert (sent.status, sent.model_size, sent.device.soc, attachments) == ("complete", 103, "A76", {})
    assert base64.b64decode(sent.artifacts["samples.npz"].inline or "") == b"samples"
    assert sent.software == {"onnxruntime": "1", "fleetmark": "1.2.3"}
    assert at.spool.keys() == [(given.job_id, 1)]
    assert at.supervisor.seen == [WorkerStatus.BUSY]
    assert at.activity.snapshot().status is WorkerStatus.ACTIVE


def test_a_worker_looks_again_at_what_it_offers_before_it_sends_that_something_is_gone(tmp_path: Path) -> None:
    given = assignment()
    of_service = given.model_copy(update={"workload": given.workload.model_copy(update={"target": Launched(service="triton")})})
    gone = Outcome("failed", error="there is no program", error_kind="engine_unavailable")
    at = house(tmp_path, gone)
    at.run(of_service)
    assert (at.lost, len(at.outbox.delivered)) == ([0], 1)
    for name, outcome, of in (("a", gone, given), ("b", Outcome("failed", error="broken", error_kind="model_invalid"), of_service)):
        at = house(tmp_path / name, outcome)
        at.run(of)
        assert at.lost == []


def test_the_worker_is_busy_then_cleans_up_then_is_active_again(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    steps: list[WorkerStatus] = []
    at.activity.listen(lambda: steps.append(at.activity.snapshot().status))
    at.run(assignment())
    assert steps == [WorkerStatus.BUSY, WorkerStatus.CLEANUP, WorkerStatus.ACTIVE]


@pytest.mark.parametrize("verdict", ["cancelled", "superseded", "held"])
def test_a_job_that_cannot_be_claimed_is_dropped(tmp_path: Path, verdict: str) -> None:
    at = house(tmp_path, COMPLETE, [verdict])
    assert at.run(assignment()) == f"dropped: {verdict}"
    assert (at.supervisor.seen, at.outbox.told, at.outbox.delivered) == ([], [], [])
    assert at.activity.snapshot().job is None


def test_a_device_in_quarantine_hands_the_job_back_and_runs_nothing(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, ["quarantined"])
    assert at.run(assignment()) == "handed back"
    assert [(message.kind, message.reason) for message in at.outbox.told if isinstance(message, HandBack)] == [("hand_back", QUARANTINED)]
    assert (at.supervisor.seen, at.outbox.delivered) == ([], [])
    assert at.activity.snapshot().job is None


def test_a_claim_waits_for_redis_to_come_back(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, [Unavailable("away"), "claimed"])
    assert at.run(assignment()) == "complete"


def test_a_claim_that_waits_says_so_once_and_is_given_up_in_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = house(tmp_path, COMPLETE, [Unavailable("no claims today")])

    def refuse(job_id: str, attempt: int, worker_id: str, ttl_s: int) -> str:
        at.clock.advance(CLAIM_WITHIN_S / 2)
        raise Unavailable("no claims today")

    at.broker.claim = refuse  # type: ignore[method-assign]  # the broker stays the same while time passes
    assert at.run(assignment()) == f"dropped: {UNCLAIMED}"
    assert at.outbox.told == [], "handed back it would begin its wait in the queues anew"
    assert caplog.text.count("waits for its claim: no claims today") == 1
    assert (at.supervisor.seen, at.activity.snapshot().job) == ([], None)


@pytest.mark.parametrize("failure", [RuntimeError("the guard is gone"), Outcome("failed", error="busy", error_kind="host_busy")])
def test_a_device_that_fails_by_itself_rests_longer_each_time_and_leaves_its_jobs_to_others(
    tmp_path: Path, failure: Outcome | Exception
) -> None:
    at = house(tmp_path, failure)
    rests = []
    for number in range(1, 9):
        begin = at.clock.monotonic()
        assert at.run(assignment(number)).startswith("failed")
        assert at.run(assignment(100 + number)) == "handed back", "what was on its way already"
        while at.task.rests:
            at.clock.advance(REST_S)
        rests.append(at.clock.monotonic() - begin)
    assert rests == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    assert len(at.pauses) == 16
    at.supervisor.outcome = COMPLETE
    assert at.run(assignment(9)) == "complete"
    at.supervisor.outcome = failure
    at.run(assignment(10))
    at.clock.advance(REST_S)
    assert at.run(assignment(11)).startswith("failed"), "the rest was a short one again"


def test_a_failure_of_the_model_is_no_reason_to_rest(tmp_path: Path) -> None:
    at = house(tmp_path, Outcome("failed", error="no such operator", error_kind="model_invalid"))
    assert at.run(assignment()).startswith("failed")
    assert not at.task.rests
    assert at.pauses == []


def test_a_worker_that_is_leaving_hands_the_job_back_unbegun(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    at.activity.stop()
    assert at.run(assignment()) == "handed back"
    assert [(message.kind, message.job_id, message.attempt) for message in at.outbox.told] == [("hand_back", assignment().job_id, 1)]
    assert (at.supervisor.seen, at.broker.released) == ([], [])  # the job was never claimed, so there is nothing to release


def test_a_worker_that_leaves_while_it_waits_for_redis_hands_the_job_back_unbegun(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, [Unavailable("away")])
    at.activity.listen(at.activity.stop)  # the signal to end comes when the job has begun
    assert at.run(assignment()) == "handed back"
    assert [message.kind for message in at.outbox.told] == ["hand_back"]
    assert at.activity.snapshot().job is None


def test_an_attempt_that_is_delivered_twice_runs_once(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    at.run(assignment())
    assert at.run(assignment()) == "dropped: already run here"
    assert at.run(assignment(attempt=2)) == "complete"
    assert len(at.outbox.delivered) == 2


def test_an_attempt_whose_result_was_answered_is_handed_back_should_the_orchestrator_have_forgotten_it(tmp_path: Path) -> None:
    """Its database comes from a backup. If the message were dropped, the watch would send it again for a day to the only worker."""
    at = house(tmp_path, COMPLETE)
    at.run(assignment())
    at.spool.answered((assignment().job_id, 1))
    told = len(at.outbox.told)
    assert at.run(assignment()) == "handed back"
    assert [(message.kind, message.attempt) for message in at.outbox.told[told:]] == [("hand_back", 1)]
    assert len(at.supervisor.seen) == 1


def test_a_result_found_in_the_spool_is_not_measured_again(tmp_path: Path) -> None:
    house(tmp_path, COMPLETE, away=True).run(assignment())
    after_restart = house(tmp_path, COMPLETE)
    assert after_restart.run(assignment()) == "dropped: already run here"


def test_a_job_handed_back_releases_its_claim_before_it_says_so(tmp_path: Path) -> None:
    at = house(tmp_path, Outcome("handed_back", error="the worker is stopping"))
    assert at.run(assignment()) == "handed back"
    assert at.broker.released == [(assignment().job_id, 1)]
    assert [message.kind for message in at.outbox.told] == ["started", "hand_back", "log"]
    assert at.outbox.delivered == []
    assert at.spool.keys() == []


def test_a_cancelled_job_is_a_result_that_says_so(tmp_path: Path) -> None:
    at = house(tmp_path, Outcome("cancelled", error="cancelled"))
    assert at.run(assignment()) == "cancelled"
    assert at.outbox.delivered[0][0].status == "cancelled"


def test_a_failing_supervisor_fails_the_job_and_not_the_worker(tmp_path: Path) -> None:
    at = house(tmp_path, RuntimeError("the guard is gone"))
    assert at.run(assignment()).startswith("failed")
    sent = at.outbox.delivered[0][0]
    assert (sent.error_kind, sent.error) == ("worker_error", "the worker itself failed: RuntimeError: the guard is gone")
    assert at.activity.snapshot().status is WorkerStatus.ACTIVE


def test_large_artifacts_travel_apart_from_the_message(tmp_path: Path) -> None:
    large = b"x" * (INLINE_BYTES + 1)
    at = house(tmp_path, Outcome("complete", samples_npz=large))
    at.run(assignment())
    ((sent, attachments),) = at.outbox.delivered
    assert sent.artifacts["samples.npz"].inline is None
    assert sent.artifacts["samples.npz"].size == len(large)
    assert attachments == {"samples.npz": large}
    assert sent.artifacts["log.jsonl"].inline is not None


def test_without_an_orchestrator_every_artifact_travels_inside(tmp_path: Path) -> None:
    large = b"x" * (INLINE_BYTES + 1)
    at = house(tmp_path, Outcome("complete", samples_npz=large), inline=True)
    at.run(assignment())
    ((sent, attachments),) = at.outbox.delivered
    assert base64.b64decode(sent.artifacts["samples.npz"].inline or "") == large
    assert attachments == {}


def test_a_result_stays_in_the_spool_while_the_broker_is_away(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, away=True)
    assert at.run(assignment()) == "complete"
    (entry,) = at.spool.entries()
    assert entry.result.status == "complete"
    assert 0 < entry.due < 3_600


def test_a_result_whose_first_sending_meets_a_defect_is_sent_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = house(tmp_path, COMPLETE)
    at.outbox.defect = FileNotFoundError("samples.npz")
    assert at.run(assignment()) == "complete"
    (entry,) = at.spool.entries()
    assert 0 < entry.due < 3_600
    assert "was not sent: kept, and sent again later" in caplog.text


def test_an_error_that_is_no_text_is_told_as_far_as_it_is(tmp_path: Path) -> None:
    at = house(tmp_path, Outcome("failed", error="cannot open /models/\udcff.onnx", error_kind="model_unavailable"))
    assert at.run(assignment()).startswith("failed")
    sent = at.outbox.delivered[0][0]
    assert (sent.error, sent.error_kind) == ("cannot open /models/?.onnx", "model_unavailable")


def test_what_a_runtime_says_in_no_text_reaches_the_result_as_far_as_it_is_one(tmp_path: Path) -> None:
    at = house(tmp_path, dataclasses.replace(COMPLETE, runtime={"inputs": [{"name\udcff": "x\udc80"}]}))
    assert at.run(assignment()) == "complete"
    assert at.outbox.delivered[0][0].runtime == {"inputs": [{"name?": "x?"}]}


@pytest.mark.parametrize("given", [{"software": {"runtime": None}}, {"timings_s": {"fetch": math.nan}}, {"model_size": -1}])
def test_an_outcome_that_no_message_can_carry_fails_its_job_with_that_reason(tmp_path: Path, given: dict[str, Any]) -> None:
    at = house(tmp_path, dataclasses.replace(COMPLETE, **given))
    assert at.run(assignment()).startswith("failed")
    sent = at.outbox.delivered[0][0]
    assert sent.error_kind == "worker_error"
    assert (
        f"no result could be made of what was measured: ValidationError: 1 validation error for Result\n{next(iter(given))}" in sent.error
    )
    assert at.spool.keys() == [(assignment().job_id, 1)]
    at.supervisor.outcome = COMPLETE
    at.clock.advance(REST_S)
    assert at.run(assignment(2)) == "complete", "and the worker goes on"


def test_a_disk_that_takes_nothing_does_not_lose_the_measurement(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = house(tmp_path / "spool", Outcome("complete", samples_npz=b"x" * (INLINE_BYTES + 1)))
    (tmp_path / "spool").rmdir()  # the folder disappears while the worker runs, so every write fails
    assert at.run(assignment()) == "complete"
    ((sent, attachments),) = at.outbox.delivered
    assert sent.status == "complete"
    assert len(attachments["samples.npz"]) == INLINE_BYTES + 1
    assert "it is held in memory until it is answered" in caplog.text
    assert at.spool.keys() == [(assignment().job_id, 1)]


def test_the_log_of_an_attempt_says_whose_it_is_and_leaves_no_journal(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    at.run(assignment())
    line = json.loads(base64.b64decode(at.outbox.delivered[0][0].artifacts["log.jsonl"].inline or ""))
    assert (line["campaign"], line["job"], line["attempt"], line["worker"]) == (CAMPAIGN, assignment().job_id, 1, WORKER)
    assert list(tmp_path.glob("*.journal")) == []


def test_a_clock_that_is_wrong_stands_in_the_log_of_each_attempt_whose_times_it_spoils(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE, clock_warning="the clock of this device is 90 s ahead")
    at.run(assignment())
    lines = base64.b64decode(at.outbox.delivered[0][0].artifacts["log.jsonl"].inline or "").splitlines()
    first = json.loads(lines[0])
    assert (first["level"], first["source"], first["message"]) == ("warning", "system", "the clock of this device is 90 s ahead")


def test_the_log_of_a_job_that_is_handed_back_while_the_broker_is_away_waits_on_disk(tmp_path: Path) -> None:
    at = house(tmp_path, Outcome("handed_back", error="handed back"), away=True)
    assert at.run(assignment()) == "handed back"
    ((key, lines),) = Journals(tmp_path, FakeClock(datetime(2026, 1, 1, tzinfo=UTC)), WORKER).left().items()
    assert key == (assignment().job_id, 1)
    assert b"measured" in lines


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        (({"job_id": "nonsense"},), {}, "job_id: String should match pattern"),
        ((), {}, "an assignment for each of 1 to 8 jobs; got 0 arguments"),
        (("text",), {}, "message: Input should be an object"),
        (({},), {"also": 1}, "got 1 arguments and ['also']"),
    ],
)
def test_what_is_no_assignment_becomes_a_dead_letter(tmp_path: Path, args: tuple[Any, ...], kwargs: dict[str, Any], reason: str) -> None:
    at = house(tmp_path, COMPLETE)
    assert at.task(args, kwargs) == "dead letter"
    assert reason in at.broker.letters[0][0]
    assert at.supervisor.seen == []


def test_an_assignment_of_another_format_becomes_a_dead_letter_and_its_job_ends(tmp_path: Path) -> None:
    """If it were ignored, the watch would send it again for a day."""
    body = json.loads(assignment().model_dump_json()) | {"format": 2}
    at = house(tmp_path, COMPLETE)
    assert at.task((body,), {}).startswith("failed")
    assert "format" in at.broker.letters[0][0]
    ((sent, _),) = at.outbox.delivered
    assert (sent.job_id, sent.attempt, sent.error_kind) == (body["job_id"], body["attempt"], "unreadable_assignment")
    assert "are the worker and the orchestrator of one version? format:" in sent.error
    assert at.task((body,), {}) == "dropped: already run here"


def test_a_copy_that_cannot_be_read_harms_no_job_that_runs_elsewhere(tmp_path: Path) -> None:
    body = json.loads(assignment().model_dump_json()) | {"unknown": True}
    at = house(tmp_path, COMPLETE, verdicts=["held"])
    assert at.task((body,), {}) == "dropped: held"
    assert at.outbox.delivered == []


@pytest.mark.parametrize("wrong", [{"attempt": 0}, {"attempt": None}, {"job_id": "../x"}, {"job_id": None}])
def test_one_that_names_no_job_is_only_kept(tmp_path: Path, wrong: dict[str, Any]) -> None:
    at = house(tmp_path, COMPLETE)
    assert at.task((json.loads(assignment().model_dump_json()) | wrong,), {}) == "dead letter"
    assert len(at.broker.letters) == 1
    assert at.outbox.delivered == []


def test_a_job_that_cannot_be_started_is_handed_back(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    at.task.hand_back((json.loads(assignment().model_dump_json()),), {})
    at.activity.stop()
    at.task.hand_back((json.loads(assignment().model_dump_json()),), {})
    told = [(message.kind, message.job_id, message.reason) for message in at.outbox.told if isinstance(message, HandBack)]
    job_id = assignment().job_id
    assert told == [("hand_back", job_id, "the worker could not start the job"), ("hand_back", job_id, "the worker is stopping")]
    assert (at.supervisor.seen, at.broker.letters) == ([], [])


def test_a_message_that_cannot_be_started_and_names_no_job_is_a_dead_letter(tmp_path: Path) -> None:
    at = house(tmp_path, COMPLETE)
    at.task.hand_back(("no job",), {"x": 1})
    assert at.outbox.told == []
    assert at.broker.letters == [("it names no job, and cannot be started", '[["no job"], {"x": 1}]')]
