"""Measures the time that the whole system adds to a job's own loads, warm-ups and inferences, over HTTP and a real Redis.

    python -m benchmarks.job_overhead

A campaign has 20 jobs (light SqueezeNet, 100 inferences) on one worker, with 1 or 5 repeats per job. The overhead per job is
(wall time - all timed loads - all warm-ups - all timed inferences) / jobs. Its limits are 0.05 s and 0.1 s. It includes the fork of each
process, the noise probe, heartbeats, the queues in both directions, the database and the files. The wall time is from the campaign's
`created_at` to its `ended_at`: asking for its state often would itself keep a core busy that the measured process needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np

from shared.web import web_client
from tests.servers import RedisServer, free_port, server_folder

JOBS = 20
INFERENCES = 100
LIMITS_S = {1: 0.05, 5: 0.1}
LOOK_S = 0.5


def squeezenet() -> Path:
    package = find_spec("onnx")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "backend" / "test" / "data" / "light" / "light_squeezenet.onnx"


@contextmanager
def system(folder: Path) -> Iterator[httpx.Client]:
    """Start Redis, an orchestrator with SQLite, and one worker. Yield a client of the orchestrator."""
    with server_folder() as redis_folder:
        redis = RedisServer(redis_folder)
        redis.start()
        host = f"http://127.0.0.1:{free_port()}"
        places = {"DATABASE_URL": f"sqlite:///{folder}/fleetmark.db", "OUTPUTS_DIR": folder / "outputs", "MODELS_DIR": folder / "models"}
        places |= {
            "REDIS_URL": redis.url,
            "WORKER_STATE_DIR": folder / "worker",
            "WORKER_LOCK_FILE": folder / "lock",
            "LOG_LEVEL": "warning",
        }
        environment = os.environ | {f"FLEETMARK_{name}": str(value) for name, value in places.items()}
        environment.pop("FLEETMARK_HOST", None)
        serve = [sys.executable, "-m", "orchestrator.cli", "serve", "--port", host.rpartition(":")[2]]
        work = [sys.executable, "-m", "worker.cli", "start", "--host", host, "--http-port", "0"]
        parts = [subprocess.Popen(command, env=environment) for command in (serve, work)]
        try:
            with web_client(host, timeout=60, direct=True) as client:
                wait_for_a_worker(client)
                yield client
        finally:
            for part in reversed(parts):
                part.terminate()
                part.wait()
            redis.stop()


def wait_for_a_worker(client: httpx.Client, patience_s: float = 60.0) -> None:
    """Return when a worker is registered.

    Raises:
        SystemExit: none is registered within `patience_s`. The message has the last answer of the orchestrator.
    """
    deadline = time.monotonic() + patience_s
    seen = "nothing"
    while time.monotonic() < deadline:
        try:
            answer = client.get("/api/workers")
            if answer.is_success and answer.json()["count"]:
                return
            seen = f"{answer.status_code} {answer.text:.200}"
        except httpx.HTTPError as error:
            seen = str(error)
        time.sleep(0.1)
    raise SystemExit(f"no worker registered within {patience_s:g} s; the orchestrator last answered: {seen}")


def run(client: httpx.Client, repeats: int) -> tuple[str, float]:
    """Submit a campaign, and wait for its end and its files. Return its id and the seconds from its acceptance to its end."""
    job = {"compute_unit": "cpu.onnx", "num_inference_runs": INFERENCES, "runs_per_job": repeats}
    campaign = client.post("/api/campaigns", json={"model_url": squeezenet().as_uri(), "jobs": [job] * JOBS}).json()["campaign_id"]
    while True:
        seen = client.get(f"/api/campaigns/{campaign}", params={"jobs": "false"}).json()
        if seen["reported_at"] is not None:
            assert seen["completed_jobs"] == JOBS, seen
            begin, end = (datetime.fromisoformat(seen[moment]) for moment in ("created_at", "ended_at"))
            return campaign, (end - begin).total_seconds()
        time.sleep(LOOK_S)


def timed_s(samples: Path) -> float:
    """Return the sum of all timings in a campaign (loads, warm-ups and inferences), in seconds."""
    total = 0
    for file in samples.glob("*.npz"):
        with np.load(file, allow_pickle=False) as arrays:
            total += sum(int(arrays[name].sum()) for name in arrays.files if name.endswith("_ns"))
    return total / 1e9


def main() -> None:
    with tempfile.TemporaryDirectory() as name, system(Path(name)) as client:
        run(client, 1)  # not counted: fetches the model and lets the guard import its modules
        for repeats, limit in LIMITS_S.items():
            campaign, wall = run(client, repeats)
            timed = timed_s(Path(name) / "outputs" / campaign / "samples")
            cost = (wall - timed) / JOBS
            print(
                f"{JOBS} jobs of {repeats} repeat(s): {wall:.1f} s, of them {timed:.1f} s timed: "
                f"{cost:.3f} s a job ({cost / limit:.2f} of the {limit} s limit)"
            )


if __name__ == "__main__":
    main()
