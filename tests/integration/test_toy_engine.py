"""Tests that an engine in a package of its own is used like ours: from the recipe to the row of the CSV, in real processes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import yaml

from tests.integration.orchestrator_process import Orchestrator
from tests.integration.worker_process import eventually, fleet_at
from tests.plugins import install

CAPABILITY = "cpu.toy"


def test_an_engine_of_one_file_and_one_line_is_measured_to_a_row_of_the_csv(redis_url: str, tmp_path: Path) -> None:
    packages = str(install(tmp_path / "packages", {CAPABILITY: "toy_engine:ENTRY"}))
    model = tmp_path / "words.txt"
    model.write_text("seven words are all that we need")
    orchestrator = Orchestrator(redis_url, tmp_path / "orchestrator", PYTHONPATH=packages)
    recipe = {"model": model.as_uri(), "on": [CAPABILITY], "inferences": 5, "repeats": 2, "warmup": {"min_calls": 1, "min_s": 0}}
    try:
        with orchestrator.client() as api, fleet_at(redis_url, tmp_path) as fleet:
            worker = fleet.start(FLEETMARK_HOST=orchestrator.url, FLEETMARK_TOKEN="a-token", PYTHONPATH=packages)
            fleet.registered(worker)
            answer = api.post("/campaigns", content=yaml.safe_dump(recipe), headers={"Content-Type": "application/yaml"})
            assert answer.is_success, answer.text
            campaign = answer.json()["campaign_id"]
            eventually(lambda: api.get(f"/campaigns/{campaign}").json()["status"] == "completed", "the campaign is done")
            (row,) = csv.DictReader(io.StringIO(api.get(f"/campaigns/{campaign}/results").text))
    finally:
        orchestrator.stop()
    assert (row["Status"], row["ComputeUnits"], row["FileName"]) == ("Complete", CAPABILITY, "words.txt"), row
    assert float(row["InferenceMsMedian"]) > 0
    assert float(row["LoadMsMedian"]) > 0


def test_a_package_whose_engine_has_an_impossible_name_stops_the_start_with_a_sentence(redis_url: str, tmp_path: Path) -> None:
    packages = str(install(tmp_path / "packages", {"toy": "toy_engine:ENTRY"}))
    with fleet_at(redis_url, tmp_path) as fleet:
        worker = fleet.start(PYTHONPATH=packages)
        assert worker.wait() == 2
        assert "the package toys brings an engine for 'toy': a capability is called like cpu.mine" in " ".join(worker.log().split())
