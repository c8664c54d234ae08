"""Tests what a worker says that it is doing. People read these words in `fleetmark show` and `fleetmark watch`."""

from __future__ import annotations

from worker.activity import Activity


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
