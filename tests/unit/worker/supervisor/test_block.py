"""Jobs of one block take turns, and each of them is stopped, timed, failed and reported on its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.ids import AttemptKey
from shared.protocol.messages import Assignment
from shared.repetition import StopRule
from shared.workers import WAITING_FOR_HOST
from tests.measuring import NO_WARMUP, assignment, lines_of, log_for, samples_of, schedule, supervisor
from worker.job_log import HANDED_BACK
from worker.supervisor import Outcome, Supervisor
from worker.supervisor.block import DEVICE_FAILED
from worker.supervisor.host_lock import HostLock
from worker.supervisor.rounds import order_of

React = Callable[[str, AttemptKey], None]


class Turns:
    """Runs a block, and keeps what the supervisor says about it."""

    def __init__(self, *work: Assignment) -> None:
        self.work = work
        self.logs = {key_of(one): log_for(one) for one in work}
        self.stages: list[tuple[AttemptKey, str, bool]] = []
        self.outcomes: dict[AttemptKey, Outcome] = {}  # in the order in which they were reported
        self.measured_when_reported: list[int] = []  # how many processes had begun to measure at each report

    def run(self, measurer: Supervisor, react: React | None = None) -> list[Outcome]:
        def on_stage(stage: str, progress: float | None, job: AttemptKey, *, in_turn: bool = True) -> None:
            self.stages.append((job, stage, in_turn))
            if react is not None:
                react(stage, job)

        def on_over(job: AttemptKey, outcome: Outcome) -> None:
            self.outcomes[job] = outcome
            self.measured_when_reported.append(len(self.turns()))

        measurer.run_block(self.work, on_stage, self.logs, on_over)
        return [self.outcomes[key_of(one)] for one in self.work]

    def turns(self) -> list[str]:
        """Return the jobs in the order in which their processes were started, each as its place in the block."""
        order = {key_of(one): number for number, one in enumerate(self.work)}
        return [f"{order[job]}: {stage.partition(':')[0]}" for job, stage, _ in self.stages if stage.endswith(": starting")]


def key_of(one: Assignment) -> AttemptKey:
    return one.job_id, one.attempt


def quick(folder: Path, **more: object) -> Assignment:
    behaviour = {name: more.pop(name) for name in ("then", "at_call", "calls_s", "sleeps_s", "note_pid_in") if name in more}
    return assignment(schedule(folder, **{"calls_s": [0.001], **behaviour}), warmup=NO_WARMUP, **more)  # type: ignore[arg-type]  # its keywords


@pytest.fixture
def measurer(tmp_path: Path) -> Iterator[Supervisor]:
    with supervisor(tmp_path / "measurer") as made:
        yield made


def test_each_round_measures_one_repeat_of_each_job_in_its_random_order_and_the_loads_come_last(
    measurer: Supervisor, tmp_path: Path
) -> None:
    work = [quick(tmp_path, repeats=3, loads=1) for _ in range(3)]
    turns = Turns(*work)
    outcomes = turns.run(measurer)
    assert [outcome.status for outcome in outcomes] == ["complete"] * 3
    keyed = [_Keyed(number, key_of(one)) for number, one in enumerate(work)]
    names = ["repeat 1 of 3", "repeat 2 of 3", "repeat 3 of 3", "load 1 of 1"]
    expected = [f"{one.number}: {name}" for number, name in enumerate(names, start=1) for one in order_of(keyed, number)]
    assert turns.turns() == expected
    started = sorted((repeat.started_at, number) for number, one in enumerate(outcomes) for repeat in one.summary.repeats)  # type: ignore[union-attr]
    assert [number for _, number in started] == [one.number for round_ in (1, 2, 3) for one in order_of(keyed, round_)]
    assert [len(samples_of(outcome)["extra_load_ns"]) for outcome in outcomes] == [1, 1, 1]
    said = lines_of(turns.logs[key_of(work[0])])[0]["message"]
    others = ", ".join(one.job_id.rpartition("-")[2] for one in work[1:])
    assert said == f"its repeats take turns with those of other jobs of the campaign ({others}), in rounds of a random order"


class _Keyed:
    def __init__(self, number: int, key: AttemptKey) -> None:
        self.number, self.key = number, key


def test_a_job_that_is_done_leaves_and_is_reported_between_two_rounds(measurer: Supervisor, tmp_path: Path) -> None:
    rule = StopRule(precision=0.5, max_repeats=2, budget_s=60)
    soon, late = quick(tmp_path, stop=rule), quick(tmp_path, repeats=4)
    turns = Turns(late, soon)
    outcomes = turns.run(measurer)
    assert [len(outcome.summary.repeats) for outcome in outcomes if outcome.summary] == [4, 2]
    assert list(turns.outcomes) == [key_of(soon), key_of(late)]
    assert turns.measured_when_reported == [4, 6], "after the second round, and after the last"


def test_a_crash_of_one_job_is_its_own(measurer: Supervisor, tmp_path: Path) -> None:
    turns = Turns(quick(tmp_path, repeats=2), quick(tmp_path, repeats=2, then="crash:SIGSEGV", at_call=2), quick(tmp_path, repeats=2))
    outcomes = turns.run(measurer)
    assert [(outcome.status, outcome.error_kind) for outcome in outcomes] == [("complete", ""), ("failed", "runner_died"), ("complete", "")]
    assert next(iter(turns.outcomes)) == key_of(turns.work[1]), "it is reported after the first round"
    assert all(outcome.noise is not None for outcome in outcomes)


def test_a_model_that_cannot_be_fetched_fails_its_own_job(measurer: Supervisor, tmp_path: Path) -> None:
    outcomes = Turns(assignment(tmp_path / "nowhere.onnx"), quick(tmp_path)).run(measurer)
    assert [(outcome.status, outcome.error_kind) for outcome in outcomes] == [("failed", "model_unavailable"), ("complete", "")]


def test_the_time_limit_of_a_job_stands_still_between_its_turns(measurer: Supervisor, tmp_path: Path) -> None:
    brief = quick(tmp_path, repeats=3, inferences=1, timeout_s=2)
    long = quick(tmp_path, repeats=3, inferences=10, sleeps_s=[0.1])
    outcomes = Turns(brief, long).run(measurer)
    assert [outcome.status for outcome in outcomes] == ["complete", "complete"], "although three turns of the other take three seconds"
    assert outcomes[0].timings_s["total"] > 2 > outcomes[0].timings_s["measure"]


def test_a_job_past_its_own_time_limit_ends_and_the_others_go_on(measurer: Supervisor, tmp_path: Path) -> None:
    slow = quick(tmp_path, repeats=9, inferences=4, sleeps_s=[0.1], timeout_s=1)
    outcomes = Turns(slow, quick(tmp_path, repeats=2)).run(measurer)
    assert [(outcome.status, outcome.error_kind) for outcome in outcomes] == [("failed", "deadline_exceeded"), ("complete", "")]


def test_one_job_can_be_cancelled_in_its_turn_and_another_between_its_turns(measurer: Supervisor, tmp_path: Path) -> None:
    hangs = quick(tmp_path, repeats=3, then="hang", at_call=2)
    waits, stays = quick(tmp_path, repeats=3), quick(tmp_path, repeats=3)

    def react(stage: str, job: AttemptKey) -> None:
        if job == key_of(hangs) and stage.endswith(": measuring"):
            measurer.stop(*key_of(waits), "cancelled")
            measurer.stop(*key_of(hangs), "cancelled")

    turns = Turns(hangs, waits, stays)
    assert [outcome.status for outcome in turns.run(measurer, react)] == ["cancelled", "cancelled", "complete"]
    assert len([turn for turn in turns.turns() if turn.startswith("1:")]) <= 1


def test_a_worker_that_leaves_hands_all_jobs_of_the_block_back(measurer: Supervisor, tmp_path: Path) -> None:
    work = [quick(tmp_path, repeats=3, then="hang", at_call=2), quick(tmp_path), quick(tmp_path, repeats=3)]

    def react(stage: str, job: AttemptKey) -> None:
        if job == key_of(work[0]) and stage.endswith(": measuring"):
            for one in (work[0], work[2]):
                measurer.stop(*key_of(one), "handed_back")

    turns = Turns(*work)
    outcomes = turns.run(measurer, react)
    assert [outcome.status for outcome in outcomes] == ["handed_back", "complete", "handed_back"], "the second one was done, or had time"
    assert [lines_of(turns.logs[key_of(one)])[-1]["message"] for one in (work[0], work[2])] == [HANDED_BACK, HANDED_BACK]


def test_if_the_device_fails_one_job_says_so_and_the_others_go_back_without_blame(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    give_back = HostLock(lock).take(lambda _: None)
    with supervisor(tmp_path / "measurer", lock=lock, host_wait_s=0.1) as waiter:
        work = [quick(tmp_path), quick(tmp_path)]
        turns = Turns(*work)
        outcomes = turns.run(waiter)
        give_back()
        again = Turns(*work)
        assert [outcome.status for outcome in again.run(waiter)] == ["complete", "complete"]
    assert sorted((outcome.status, outcome.error_kind) for outcome in outcomes) == [("failed", "host_busy"), ("handed_back", "cancelled")]
    back = next(key_of(one) for one, outcome in zip(work, outcomes, strict=True) if outcome.status == "handed_back")
    assert turns.outcomes[back].error == DEVICE_FAILED
    assert [line["message"] for line in lines_of(turns.logs[back])][-2:] == [DEVICE_FAILED, HANDED_BACK]


def test_a_job_says_which_of_its_repeats_is_next_while_another_one_is_measured(measurer: Supervisor, tmp_path: Path) -> None:
    turns = Turns(quick(tmp_path, repeats=2), quick(tmp_path, repeats=2))
    turns.run(measurer)
    waits = {stage for _, stage, in_turn in turns.stages if not in_turn}
    assert "repeat 1 of 2 is next; another job of the comparison is made ready" in waits
    assert "repeat 2 of 2 is next; another job of the comparison is measured" in waits


def test_a_neighbour_that_waits_gets_the_host_between_two_processes_of_a_block_that_had_it_for_long(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    given, back = threading.Event(), threading.Event()
    with supervisor(tmp_path / "measurer", lock=lock, turn_s=0.0) as measurer:
        turns = Turns(*(quick(tmp_path, repeats=2, inferences=1, sleeps_s=[0.3]) for _ in range(2)))
        neighbour = HostLock(lock)
        gives: list[Callable[[], None]] = []

        def react(stage: str, job: AttemptKey) -> None:
            if stage == "repeat 1 of 2: measuring" and not gives:
                gives.append(neighbour.take(lambda _: given.set()))
            if stage == WAITING_FOR_HOST and given.wait(30) and not back.is_set():
                back.set()
                gives[0]()

        outcomes = turns.run(measurer, react)
    assert [outcome.status for outcome in outcomes] == ["complete", "complete"]
    assert back.is_set()
    waits = {job for job, stage, _ in turns.stages if stage == WAITING_FOR_HOST}
    assert waits == {key_of(one) for one in turns.work}, "the time of neither runs meanwhile, and the orchestrator knows it"
    assert all(outcome.timings_s["wait_for_lock"] > 0 for outcome in outcomes)


def test_a_neighbour_waits_for_the_whole_of_a_short_block(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    taken_at: list[float] = []
    gives: list[Callable[[], None]] = []
    with supervisor(tmp_path / "measurer", lock=lock) as measurer:
        turns = Turns(quick(tmp_path, repeats=2), quick(tmp_path, repeats=2))
        last_at = 0.0

        def react(stage: str, job: AttemptKey) -> None:
            nonlocal last_at
            last_at = time.monotonic()
            if stage == "repeat 1 of 2: measuring" and not gives:
                gives.append(HostLock(lock).take(lambda _: taken_at.append(time.monotonic())))

        turns.run(measurer, react)
        until = time.monotonic() + 30
        while not taken_at and time.monotonic() < until:
            time.sleep(0.01)
        gives[0]()
    assert taken_at[0] > last_at


def test_noise_is_judged_for_each_job_by_its_own_turns(measurer: Supervisor, tmp_path: Path) -> None:
    """One job computes and the other one sleeps; each is said to have used the cores that it used itself."""
    work = [quick(tmp_path, repeats=2, inferences=5, calls_s=[0.1]), quick(tmp_path, repeats=2, inferences=5, sleeps_s=[0.1])]
    busy, idle = (outcome.noise.facts["cores_used"] for outcome in Turns(*work).run(measurer) if outcome.noise)
    assert busy > 2 * idle


def test_a_supervisor_that_closes_hands_the_whole_block_back(tmp_path: Path) -> None:
    measuring = threading.Event()
    with supervisor(tmp_path / "measurer") as measurer:
        turns = Turns(*(quick(tmp_path, then="hang", at_call=1) for _ in range(2)))
        thread = threading.Thread(target=lambda: turns.run(measurer, lambda stage, _: measuring.set() if "measuring" in stage else None))
        thread.start()
        assert measuring.wait(30)
        measurer.close()
        thread.join(30)
    assert [outcome.status for outcome in turns.outcomes.values()] == ["handed_back", "handed_back"]
