"""Tests the examples as a new user runs them: with real processes, no options and no changes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import pytest

from cli import zoo
from tests.servers import RedisServer, free_port, server_folder

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0  # this only stops a test that hangs; the machine may be busy


@contextmanager
def running(module: str, *options: str, log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our processes. It is stopped with SIGTERM, as a person would stop it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_for(host: str, path: str, ready: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            if ready in httpx.get(host + path, trust_env=False, verify=False).text:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{path} never said {ready!r}:\n{log.read_text()[-5000:]}")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Run an orchestrator with one real worker on this machine."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with server_folder() as folder:
        redis = RedisServer(folder)
        redis.start()
        orchestrator = inherited | {
            "FLEETMARK_REDIS_URL": redis.url,
            "FLEETMARK_DATABASE_URL": f"sqlite:///{tmp_path / 'fleetmark.db'}",
            "FLEETMARK_OUTPUTS_DIR": str(tmp_path / "outputs"),
            "FLEETMARK_MODELS_DIR": str(tmp_path / "models"),
        }
        worker = inherited | {
            "FLEETMARK_WORKER_STATE_DIR": str(tmp_path / "state"),
            "FLEETMARK_WORKER_CACHE_DIR": str(tmp_path / "cache"),
            "FLEETMARK_WORKER_PORT": "0",
        }
        serve_log, worker_log = tmp_path / "serve.log", tmp_path / "worker.log"
        with running("orchestrator.cli", "serve", "--port", str(port), log=serve_log, environment=orchestrator):
            wait_for(address, "/api/health", "healthy", serve_log)
            with running("worker.cli", "start", "--host", address, log=worker_log, environment=worker):
                wait_for(address, "/api/workers", "cpu.onnx", worker_log)
                yield address
        redis.stop()


def test_the_first_campaign_by_curl_ends_in_a_csv(host: str, tmp_path: Path) -> None:
    zoo.make("squeezenet", tmp_path / "recipes" / "models", lambda _: None)
    done = subprocess.run(
        [ROOT / "examples" / "first_campaign.sh"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "FLEETMARK_HOST": host, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"status":"healthy"' in done.stdout
    [file] = tmp_path.glob("campaign-*_results.csv")
    rows = pd.read_csv(file)
    assert list(rows["Status"]) == ["Complete", "Complete"], list(rows["Error"])
    assert list(rows["Inferences"]) == [150, 150]
    assert (rows["InferenceMsMedian"] > 0).all()
    assert (rows["InferenceMsMedianCiLow"] <= rows["InferenceMsMedianCiHigh"]).all()
    campaign = file.name.removesuffix("_results.csv")
    states = {
        one["device_name"]: one["status"] for one in httpx.get(f"{host}/api/workers", trust_env=False, verify=False).json()["workers"]
    }
    assert states["a-device-of-mine"] == "gone", "the device that the example makes up does not stay"
    wait_for(host, f"/api/campaigns/{campaign}?jobs=false", '"reported_at":"', tmp_path / "serve.log")
    listed = httpx.get(f"{host}/api/results/files", trust_env=False, verify=False).json()["files"][0]["filename"]
    assert re.fullmatch(rf"{campaign}_\d{{8}}_\d{{6}}_results\.csv", listed)
    assert (tmp_path / "outputs" / campaign / "plots" / "medians.png").is_file()


def test_the_example_says_what_to_do_without_a_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "examples" / "first_campaign.sh"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "run 'make demo' once" in done.stderr
