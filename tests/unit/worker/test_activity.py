"""Tests what a worker says that it is doing. People read these words in `fleetmark show` and `fleetmark watch`."""

from __future__ import annotations

from shared.workers import WorkerStatus
from worker.activity import Activity, Stage

ONE, TWO, THREE = (("campaign-job-1", 1), ("campaign-job-2", 1), ("campaign-job-3", 2))


def test_all_jobs_of_a_block_are_in_hand_and_the_one_whose_turn_it_is_is_the_current_one() -> None:
    activity = Activity()
    activity.begin(ONE, TWO, THREE)
    assert activity.snapshot().jobs == [ONE, TWO, THREE]
    activity.stage("repeat 1 of 6: measuring", 0.1, TWO)
    activity.stage("repeat 1 of 6 is next", 0.0, ONE, in_turn=False)
    now = activity.snapshot()
    assert (now.job, now.stage, now.progress) == (TWO, "repeat 1 of 6: measuring", 0.1)
    assert now.others == {ONE: Stage("repeat 1 of 6 is next", 0.0), THREE: Stage("starting", None)}
    activity.stage("repeat 2 of 6 is next", 0.2, TWO, in_turn=False)
    assert activity.snapshot().job == TWO, "until another one has its turn"
    activity.stage("repeat 1 of 6: starting", 0.0, THREE)
    assert activity.snapshot().job == THREE
    assert activity.snapshot().others[TWO] == Stage("repeat 2 of 6 is next", 0.2)


def test_a_job_that_is_over_leaves_and_the_last_one_leaves_when_the_message_is_done() -> None:
    activity = Activity()
    activity.begin(ONE, TWO)
    activity.leave(ONE)
    assert activity.snapshot().jobs == [TWO]
    activity.leave(TWO)
    assert activity.snapshot().jobs == [TWO]
    activity.clean_up()
    assert activity.snapshot().status is WorkerStatus.CLEANUP
    activity.end()
    assert (activity.snapshot().jobs, activity.wait_idle(0)) == ([], True)


def test_a_stage_without_a_job_is_that_of_the_current_one_and_a_job_that_left_has_none() -> None:
    activity = Activity()
    activity.begin(ONE, TWO)
    activity.stage("fetching", None)
    activity.leave(TWO)
    activity.stage("late", 0.5, TWO, in_turn=False)
    now = activity.snapshot()
    assert (now.job, now.stage, now.others) == (ONE, "fetching", {})


def test_a_job_is_starting_before_its_first_step_and_its_result_is_sent_after_the_last() -> None:
    activity = Activity()
    activity.begin(("campaign-1-job-1", 1))
    assert activity.snapshot().stage == "starting"
    activity.stage("fetching", 0.5)
    assert activity.snapshot().stage == "fetching"
    activity.clean_up()
    assert activity.snapshot().stage == "sending the result"
    activity.end()
    assert activity.snapshot().stage == ""
