"""What a worker needs for a job that does nothing: one job after the other, from a real Redis, through a real worker process.

    python -m benchmarks.empty_jobs [--jobs 200]

Each job has one repeat of one inference that takes no time. What is left is ours: take, claim, fork, measure, grade the machine, keep
the result on disk, send it, acknowledge. Exits 1 above 40 ms a job (median of the time from one result to the next).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from shared.protocol.messages import Assignment, Result
from shared.workloads import ModelRef, Warmup, Workload
from tests.integration.worker_process import CAMPAIGN, eventually, fleet_at
from tests.servers import RedisServer, server_folder

LIMIT_MS = 40.0


def empty_job(schedule: Path, number: int) -> Assignment:
    workload = Workload(
        model=ModelRef(source=schedule.as_uri(), name=schedule.name),
        inferences=1,
        repeats=1,
        warmup=Warmup(min_calls=0, min_s=0.0, max_s=0.0),
    )
    return Assignment(job_id=f"{CAMPAIGN}-job-{number}", campaign_id=CAMPAIGN, attempt=1, capability="fake", workload=workload)


def bare_fork_ms(times: int = 50) -> float:
    """Return what this machine needs at this moment to fork a process and wait for its end: the part that nobody can save."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def run(jobs: int) -> list[Result]:
    """Send this many jobs at once to one worker. Returns their results in order."""
    with server_folder() as redis_folder, tempfile.TemporaryDirectory() as folder:
        server = RedisServer(redis_folder)
        server.start()
        schedule = Path(folder) / "schedule.json"
        schedule.write_text(json.dumps({"sleeps_s": [0.0]}))
        with fleet_at(server.url, Path(folder)) as fleet:
            worker = fleet.start(FLEETMARK_HEARTBEAT_S="5")
            fleet.registered(worker)
            results = []
            for number in range(jobs):
                fleet.send(empty_job(schedule, number + 1))
            for number in range(jobs):
                name = f"{CAMPAIGN}-job-{number + 1}"
                results.append(eventually(lambda name=name: fleet.reported("result", name), f"{name} ends"))  # type: ignore[misc]  # a default binds the name
        server.stop()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="what a job of no work costs a worker")
    parser.add_argument("--jobs", type=int, default=200)
    options = parser.parse_args()
    before = bare_fork_ms()
    results = run(options.jobs)
    failed = [result.error for result in results if result.status != "complete"]
    if failed:
        raise SystemExit(f"{len(failed)} jobs failed, the first one: {failed[0]}")
    gaps = [(after.ended_at - earlier.ended_at) * 1000 for earlier, after in itertools.pairwise(results[1:])]
    median = statistics.median(gaps)
    measuring = statistics.median(result.timings_s["measure"] * 1000 for result in results)
    load_1m = os.getloadavg()[0]
    print(f"{median:.1f} ms a job of no work, {1000 / median:.0f} jobs/s a worker (limit {LIMIT_MS:g} ms), over {len(gaps)} jobs")
    print(f"  of them {measuring:.1f} ms in the measured process and its start; a bare fork takes {before:.2f} ms; load {load_1m:.1f}")
    return 0 if median <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
