"""Tests `fleetmark demo` as `make demo` runs it: free ports, its own folder, and no processes left afterwards."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.processes import LONG_RECIPE, Command, wait_until

pytestmark = pytest.mark.timeout(900)  # on a busy machine, a measurement may have to wait for a long time


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Command]:
    command = Command(folder, *arguments)
    try:
        yield command
    finally:
        command.end()


def test_the_demo_measures_real_networks_and_leaves_no_process(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        assert demo.wait() == 0, demo.err()
        shown = demo.out()
        demo.assert_leaves_nothing()
    for model in ("squeezenet.onnx", "resnet50.onnx", "tiny-yolov2.onnx"):
        assert model in shown
    files = list((tmp_path / "outputs").glob("*_results.csv"))
    assert len(files) == 1
    assert files[0].name in shown
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Status"] for row in rows] == ["Complete"] * 3
    squeezenet = next(row for row in rows if row["FileName"] == "squeezenet.onnx")
    assert float(squeezenet["InferenceMsP90"]) >= float(squeezenet["InferenceMsMedian"]) > 0
    assert int(squeezenet["Inferences"]) == 144
    assert all(row["InferenceMsP90"] and row["InferenceMsMedianCiLow"] for row in rows), "every row has its p90 and its interval"
    run_folder = tmp_path / "outputs" / rows[0]["CampaignId"]
    assert {"report.md", "run.json", "summary.json", "recipe.yaml"} <= {file.name for file in run_folder.iterdir()}
    assert list((run_folder / "plots").glob("*.png"))
    assert len(list((run_folder / "samples").glob("*.npz"))) == 3


@pytest.mark.parametrize("point", ["redis", "worker", "measuring"])
@pytest.mark.long
def test_ctrl_c_at_any_point_leaves_no_process(tmp_path: Path, point: str) -> None:
    recipe = tmp_path / "long.yaml"
    recipe.write_text(LONG_RECIPE)
    logs = tmp_path / ".fleetmark" / "demo" / "logs"
    with running(tmp_path, "demo", str(recipe)) as demo:
        if point == "measuring":
            wait_until(lambda: "repeat 1 of 3" in demo.err(), demo)
        else:
            wait_until((logs / f"{point}.log").exists, demo)
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130, demo.err()
        demo.assert_leaves_nothing(2)
        assert "Traceback" not in demo.err()


def test_kill_9_of_the_demo_leaves_no_process(tmp_path: Path) -> None:
    recipe = tmp_path / "long.yaml"
    recipe.write_text(LONG_RECIPE)
    with running(tmp_path, "demo", str(recipe)) as demo:
        wait_until(lambda: "repeat 1 of 3" in demo.err(), demo)
        demo.process.kill()
        demo.wait(10)
        demo.assert_leaves_nothing(30)


def test_a_job_that_fails_is_exit_code_1_and_its_reason_is_shown(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"this is not a network")
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("{model: bad.onnx, on: [cpu.onnx]}")
    with running(tmp_path, "demo", str(recipe)) as demo:
        assert demo.wait() == 1, demo.err()
        assert "Failed" in demo.out()
        assert "bad.onnx:" in demo.out()
        demo.assert_leaves_nothing()
