"""Tests the way of a PyTorch model from `fleetmark run` to a row of the CSV, with an orchestrator and a worker as processes."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch

from tests.e2e.processes import Command, wait_until
from tests.engines.torch import networks
from tests.servers import free_port

pytestmark = pytest.mark.timeout(900)  # on a busy machine, a measurement may have to wait for a long time
RECIPE = """
name: torch
models:
  - convnet.pt2
  - {model: mlp.pt2, options: {dtype: bfloat16, threads: 1}}
  - pickled.pt
on: [cpu.torch]
options: {seed: 1}
inferences: 20
repeats: 2
warmup: {min_calls: 2, min_s: 0}
retries: {max_attempts: 1}
"""


@dataclass
class Fleet:
    folder: Path
    url: str


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, port = tmp_path_factory.mktemp("fleet"), free_port()
    up = Command(folder, "up", "--port", str(port), FLEETMARK_WORKER_LOCK_FILE=str(folder / "lock"))
    try:
        wait_until(lambda: "Fleetmark is up" in up.out(), up)
        yield Fleet(folder, f"http://127.0.0.1:{port}")
        up.process.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0, up.err()
        up.assert_leaves_nothing(2)
    finally:
        up.end()


def test_models_of_torch_reach_the_csv(fleet: Fleet) -> None:
    for make in (networks.convnet, networks.mlp, networks.pickled):
        make(fleet.folder)
    (fleet.folder / "recipe.yaml").write_text(RECIPE)
    run = Command(fleet.folder, "run", "recipe.yaml", "--watch", FLEETMARK_HOST=fleet.url)
    assert run.wait(600) == 1, run.err() + run.out()  # one of the three jobs must fail
    (written,) = fleet.folder.rglob("*_results.csv")
    rows = {row["FileName"]: row for row in csv.DictReader(written.read_text(encoding="utf-8-sig").splitlines())}
    assert [rows[name]["Status"] for name in ("convnet.pt2", "mlp.pt2", "pickled.pt")] == ["Complete", "Complete", "Failed"]
    for name in ("convnet.pt2", "mlp.pt2"):
        assert float(rows[name]["InferenceMsMedian"]) > 0
        assert float(rows[name]["LoadMsMedian"]) > 0
        assert (rows[name]["ComputeUnits"], rows[name]["Provider"]) == ("cpu.torch", "cpu")
    assert "pickled.pt is a pickle, as torch.save makes it" in str(rows["pickled.pt"])


def test_the_worker_offers_what_torch_really_computes_on(fleet: Fleet) -> None:
    (worker,) = httpx.get(f"{fleet.url}/api/workers").json()["workers"]
    offered = set(worker["capabilities"])
    assert "cpu.torch" in offered
    assert ("gpu.cuda.torch" in offered) == torch.cuda.is_available()
