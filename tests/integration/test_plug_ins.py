"""Tests that a plug-in of each room is one file and its entries in registries: each is added to a copy of our code, and really measures."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from tests.integration.orchestrator_process import Orchestrator
from tests.integration.worker_process import eventually, fleet_at
from tests.plugins import HARDWARE_TEST, SAMPLER, SERVICE, SERVICE_WORDS, with_plug_ins

DEVICE = {"hardware": {"tests": ["hashing"], "seconds": 2}, "repeats": 2}
SERVED = {"type": "echo", "settings": {"says": "again"}}
LOAD = {"service": SERVED, "client": {"type": "echo", "settings": {"num_requests": 50}}, "repeats": 2}


def measured(api: httpx.Client, recipe: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Measure a recipe of one job. Returns its campaign and its row of the CSV."""
    answer = api.post("/campaigns", content=yaml.safe_dump(recipe), headers={"Content-Type": "application/yaml"})
    assert answer.is_success, answer.text
    campaign = answer.json()["campaign_id"]
    eventually(lambda: api.get(f"/campaigns/{campaign}").json()["status"] == "completed", "the campaign is done")
    (row,) = csv.DictReader(io.StringIO(api.get(f"/campaigns/{campaign}/results").text))
    assert row["Status"] == "Complete", row["Error"]
    return campaign, row


@pytest.mark.long  # a control plane and a worker are started from the copy
def test_a_plug_in_of_each_room_is_measured_to_rows_figures_and_telemetry(redis_url: str, tmp_path: Path) -> None:
    root = with_plug_ins(tmp_path / "code", HARDWARE_TEST, SAMPLER, SERVICE_WORDS, SERVICE)
    orchestrator = Orchestrator(redis_url, tmp_path / "orchestrator", root=root)
    try:
        with orchestrator.client() as api, fleet_at(redis_url, tmp_path) as fleet:
            worker = fleet.start(FLEETMARK_HOST=orchestrator.url, FLEETMARK_TOKEN="a-token", root=root)
            fleet.registered(worker)
            campaign, row = of_a_test_of_the_device(api)
            of_a_sampler(row, orchestrator.folder / "outputs" / campaign / "telemetry.parquet")
            of_a_service(api)
    finally:
        orchestrator.stop()


def of_a_test_of_the_device(api: httpx.Client) -> tuple[str, dict[str, str]]:
    campaign, row = measured(api, DEVICE)
    assert (row["Kind"], row["FileName"], row["Repeats"]) == ("hardware", "hashing", "2")
    (figure,) = api.get("/figures", params={"campaign": campaign, "name": "sha256_mb_per_s"}).json()["figures"]
    assert figure["value"] > 1
    assert (figure["unit"], figure["better"]) == ("MB/s", "higher")
    eventually(lambda: api.get(f"/campaigns/{campaign}/report.json").is_success, "the report is written")
    assert "this device has no telescope" in api.get(f"/campaigns/{campaign}/report.json").text
    return campaign, row


def of_a_sampler(row: dict[str, str], path: Path) -> None:
    assert float(row["PowerWAverage"]) > 0, "the row has the power that the sampler reads; most machines of tests have no other source"
    eventually(path.exists, "the telemetry is written")
    column = pq.read_table(path).column("device_uptime_s").to_pylist()
    assert len(column) > 3
    assert column == sorted(column)
    assert column[0] > 0
    assert set(pq.read_table(path).column("toy_w").to_pylist()) == {7.5}


def of_a_service(api: httpx.Client) -> None:
    _, row = measured(api, LOAD)
    assert (row["Kind"], row["FileName"], row["ComputeUnits"], row["ErrorCount"]) == ("load", "echo", "service.echo", "0")
    assert float(row["RequestsPerS"]) > 1
    assert float(row["LoadMsMedian"]) > 0, "how long the server took until it was healthy"
