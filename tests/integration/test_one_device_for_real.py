"""Tests with two real workers that each of two sweeps is measured by only one of them, and that its repeats take turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.operations.submit import submit_recipe
from orchestrator.store import campaigns, job_lists, results
from shared.ids import AttemptKey
from shared.recipes import parse_recipe
from tests.integration.control_plane import control_plane
from tests.integration.worker_process import eventually, fleet_at
from worker.supervisor.rounds import order_of

CELLS, REPEATS = 4, 2


@pytest.mark.long
def test_each_of_two_sweeps_is_measured_by_one_of_two_workers(redis_url: str, tmp_path: Path) -> None:
    schedule = tmp_path / "schedule.json"
    schedule.write_text(json.dumps({"sleeps_s": [0.002]}))
    recipe = {
        **{"model": schedule.as_uri(), "on": ["cpu.onnx"], "repeats": REPEATS, "warmup": {"min_calls": 1, "min_s": 0.0}},
        "sweep": {"inferences": list(range(10, 10 + CELLS))},
    }
    with control_plane(redis_url, tmp_path) as ctx, fleet_at(redis_url, tmp_path) as fleet:
        workers = {fleet.registered(fleet.start(folder=tmp_path / name, FLEETMARK_WORKER_NAME=name)) for name in ("a", "b")}
        submitted = [submit_recipe(ctx, parse_recipe(recipe)).campaign.id for _ in range(2)]

        def measured_by(campaign_id: str) -> list[str | None]:
            with ctx.store.read() as session:
                assert campaigns.get(session, campaign_id).failed_jobs == 0
                return [job.worker_id for job in job_lists.page(session, campaign_id=campaign_id, status="complete")]

        for campaign_id in submitted:
            eventually(lambda campaign_id=campaign_id: len(measured_by(campaign_id)) == CELLS, f"{campaign_id} is measured")  # type: ignore[misc]
        found = [set(measured_by(campaign_id)) for campaign_id in submitted]
        assert sorted(len(one) for one in found) == [1, 1], "each on one device"
        assert found[0] | found[1] == workers, "and the second on the one that was free"
        for campaign_id in submitted:
            run = eventually(lambda campaign_id=campaign_id: _run_file(tmp_path, campaign_id), "run.json is written")  # type: ignore[misc]
            assert run["order_seed"] == campaign_id
            assert sorted(job["position"] for job in run["jobs"]) == [1, 2, 3, 4]
            with ctx.store.read() as session:
                found_repeats = [
                    (repeat["started_at"], int(job["job_id"].rpartition("-")[2]))
                    for job in run["jobs"]
                    for repeat in results.get(session, job["job_id"]).result["summary"]["repeats"]  # type: ignore[union-attr]
                ]
            block = [Keyed((f"{campaign_id}-job-{number}", 1), number) for number in range(1, CELLS + 1)]
            expected = [job.number for number in range(1, REPEATS + 1) for job in order_of(block, number)]
            assert [number for _, number in sorted(found_repeats)] == expected, "each round measured one repeat of each job"


class Keyed(NamedTuple):
    key: AttemptKey
    number: int


def _run_file(folder: Path, campaign_id: str) -> dict[str, Any] | None:
    file = folder / "outputs" / campaign_id / "run.json"
    return json.loads(file.read_text()) if file.is_file() else None
