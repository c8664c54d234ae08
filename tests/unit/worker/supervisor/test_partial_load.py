"""Tests that a load that does not run to its end keeps what was measured, with a Redis that the worker starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shared.errors import DeviceFailed
from shared.protocol.messages import Assignment
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.request_records import NAME, read_parts
from shared.workloads import Workload
from tests.measuring import CAMPAIGN, Stages, log_for, supervisor
from tests.servers import RedisServer, server_folder
from worker.supervisor import Outcome

RECIPE = """
service: {{type: redis, restarts: {restarts}}}
client: {{type: redis_stress, settings: {{concurrent_clients: 3, num_keys: 100, warmup_delay: 0}}}}
load: {{pattern: constant, rate: 300, duration_s: {duration_s}}}
benchmarks: {{repeats: 1}}
"""


class Acting(Stages):
    """Does something once, when the third news of a measurement come in: the warm-up is over then."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act: Callable[[], object] | None = act

    def __call__(self, stage: str, progress: float | None) -> None:
        super().__call__(stage, progress)
        if self._act is not None and len([name for name in self.names() if "measuring (" in name]) == 3:
            act, self._act = self._act, None
            act()


def assignment(duration_s: float, restarts: int = 0, timeout_s: float = 60.0) -> Assignment:
    cell = next(cells_of(load_recipe(RECIPE.format(duration_s=duration_s, restarts=restarts))))
    workload = Workload(spec=cell.spec(), target=cell.target(), repeats=1, timeout_s=timeout_s)
    return Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="service.redis", workload=workload)


def requests_of(outcome: Outcome) -> int:
    path = outcome.files[NAME]
    assert isinstance(path, Path)
    return sum(int((records["scheduled"] >= 0).sum()) for _, _, records in read_parts(path))


def check_partial(outcome: Outcome) -> None:
    """Check the figures: the rate is that of the schedule, because the window ends where the measurement has ended."""
    assert outcome.figures is not None
    figures = {figure.name: figure.value for figure in outcome.figures.figures}
    assert figures["rate_asked"] == pytest.approx(300, rel=0.05)
    assert (figures["latency_ms_p50"] or 0) > 0
    assert outcome.figures.detail["partial"] is True
    assert outcome.figures.detail["partial_because"] == "0 of 1 repeats were measured to their end"
    assert 0 < outcome.figures.detail["requests"] <= requests_of(outcome) < 10 * 300
    assert outcome.runtime["service"]["version"]
    assert outcome.samples_npz


@pytest.fixture
def others() -> set[psutil.Process]:
    """Return the processes below this one before the test, such as the servers of other tests."""
    return set(psutil.Process().children(recursive=True))


def kill_the_server(others: set[psutil.Process]) -> None:
    for process in set(psutil.Process().children(recursive=True)) - others:
        if "valkey-server" in process.name() or "redis-server" in process.name():
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.long
def test_a_load_that_is_cancelled_keeps_what_was_measured_and_removes_its_keys(tmp_path: Path, others: set[psutil.Process]) -> None:
    job = assignment(duration_s=10)
    with supervisor(tmp_path) as made:
        stages = Acting(lambda: made.stop(job.job_id, 1, "cancelled"))
        outcome = made.run(job, stages, log_for(job))
        assert (outcome.status, outcome.error, outcome.error_kind) == ("cancelled", "cancelled", "cancelled")
        check_partial(outcome)
    assert outcome.figures is not None
    assert outcome.figures.detail["left_behind"] == []
    failed = outcome.figures.figure("error_count")
    assert failed is not None
    # What was in flight is no failure. On a busy machine, some requests are due and not yet sent at the end; those are failures.
    assert failed.value == outcome.figures.detail["apart"]["never_sent"]
    assert set(psutil.Process().children(recursive=True)) <= others


@pytest.mark.long
def test_a_load_that_goes_back_to_its_queue_keeps_nothing(tmp_path: Path) -> None:
    job = assignment(duration_s=10)
    with supervisor(tmp_path) as made:
        outcome = made.run(job, Acting(lambda: made.stop(job.job_id, 1, "handed_back")), log_for(job))
    assert (outcome.status, outcome.figures, outcome.files) == ("handed_back", None, {})


@pytest.mark.long
def test_a_server_that_dies_in_mid_run_fails_the_job_with_its_last_words_and_what_was_measured(
    tmp_path: Path, others: set[psutil.Process]
) -> None:
    job = assignment(duration_s=10)
    with supervisor(tmp_path) as made:
        outcome = made.run(job, Acting(lambda: kill_the_server(others)), log_for(job))
        assert (outcome.status, outcome.error_kind) == ("failed", "service_failed")
        assert "the service redis ended (exit code 137); its last output:" in outcome.error
        assert "Ready to accept connections" in outcome.error
        check_partial(outcome)
    assert outcome.timings_s["measure"] < 8  # it is noticed at once, and not after the timeout of the requests


@pytest.mark.long
def test_a_server_that_dies_with_restarts_left_is_measured_again_and_the_first_try_is_told_apart(
    tmp_path: Path, others: set[psutil.Process]
) -> None:
    job = assignment(duration_s=4, restarts=1)  # the third news come after about 1.5 s, and later on a busy machine
    with supervisor(tmp_path) as made:
        outcome = made.run(job, Acting(lambda: kill_the_server(others)), log_for(job))
        assert (outcome.status, outcome.error) == ("complete", "")
        assert outcome.figures is not None
        assert outcome.figures.detail["requests"] == 4 * 300
        assert outcome.figures.detail["partial"] is False
        (first,) = outcome.figures.detail["interrupted"]
        assert 0 < first["rate_asked"] < 330
        assert outcome.runtime["service"]["restarts"] == 1
        assert requests_of(outcome) == 4 * 300


@pytest.mark.long
def test_a_load_past_the_time_limit_of_its_job_keeps_what_was_measured(tmp_path: Path) -> None:
    job = assignment(duration_s=30, timeout_s=6)
    with supervisor(tmp_path) as made:
        outcome = made.run(job, Stages(), log_for(job))
        assert (outcome.status, outcome.error_kind) == ("failed", "deadline_exceeded")
        check_partial(outcome)


@pytest.mark.long
def test_a_service_of_the_user_that_dies_fails_the_job_with_what_was_measured_until_the_clients_gave_up(tmp_path: Path) -> None:
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False)
        server.start()
        recipe = f"""
service: {{type: redis, address: "redis://127.0.0.1:{server.port}"}}
client: {{type: redis_stress, settings: {{concurrent_clients: 3, num_keys: 100, request_timeout_s: 0.5}}}}
load: {{pattern: constant, rate: 300, duration_s: 20}}
benchmarks: {{repeats: 2}}
"""
        cell = next(cells_of(load_recipe(recipe)))
        workload = Workload(spec=cell.spec(), target=cell.target(), repeats=2, timeout_s=60)
        job = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="service.redis", workload=workload)
        with supervisor(tmp_path) as made:
            outcome = made.run(job, Acting(lambda: server.stop(signal.SIGKILL)), log_for(job))
            assert (outcome.status, outcome.error_kind) == ("failed", "engine_unavailable")
            assert f"the service at redis://127.0.0.1:{server.port} stopped answering: no connection could be opened" in outcome.error
            assert outcome.figures is not None
            detail = outcome.figures.detail
            assert detail["partial_because"] == "0 of 2 repeats were measured to their end"
            assert set(detail["failures"]["kinds"]) <= {"closed", "not connected", "open"}
            assert detail["client_processes"]["gave_up"]
            figures = {figure.name: figure.value for figure in outcome.figures.figures}
            assert (figures["requests_per_s"] or 0) > 0
            assert requests_of(outcome) > 100


@pytest.mark.long
def test_when_what_was_measured_cannot_be_kept_the_job_still_ends_with_its_own_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise DeviceFailed("the records of the requests could not be written: No space left on device")

    monkeypatch.setattr("worker.kinds.load.write_requests", full)
    job = assignment(duration_s=10)
    log = log_for(job)
    with supervisor(tmp_path) as made:
        outcome = made.run(job, Acting(lambda: made.stop(job.job_id, 1, "cancelled")), log)
    assert (outcome.status, outcome.error, outcome.figures) == ("cancelled", "cancelled", None)
    assert b"what was measured could not be kept: the records of the requests could not be written" in log.to_jsonl()
