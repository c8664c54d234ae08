"""Measures the time that a worker adds to a job without work, with one worker process, a real Redis and no orchestrator.

    python -m benchmarks.empty_jobs

The jobs have one repeat with one inference that does nothing. Each passes through all steps of the worker: take, claim, its own process,
noise, spool, result. The time per job is compared with the start of a bare Python process. Both are measured in turn on the same machine,
because both consist mostly of forks, files and thread switches. The limit is 3 bare starts per job. The required 40 ms
are between 3 and 4 bare starts, depending on the machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from orchestrator.dispatch.base import Dispatch
from orchestrator.dispatch.celery_queue import CeleryQueue
from tests.integration.worker_process import Fleet, Worker, fleet_at, sleeping_job
from tests.servers import RedisServer, server_folder

JOBS, ROUNDS, BARE_STARTS = 100, 5, 10
LIMIT = 3.0


def bare_start_ms() -> float:
    begin = time.perf_counter()
    for _ in range(BARE_STARTS):
        subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)
    return (time.perf_counter() - begin) / BARE_STARTS * 1_000


def job_ms(fleet: Fleet, queue: CeleryQueue, folder: Path, first: int) -> float:
    """Return the milliseconds per job, from when all jobs are in the queue until the last result has arrived."""
    jobs = [sleeping_job(folder, number, inferences=1) for number in range(first, first + JOBS)]
    (folder / "schedule.json").write_text(json.dumps({"sleeps_s": [0.0]}))
    queue.publish([Dispatch(job, "cpu.onnx", 9) for job in jobs])
    begin = time.perf_counter()
    last = fleet.report("result", jobs[-1].job_id)
    elapsed = time.perf_counter() - begin
    assert last.status == "complete", last.error
    for job in jobs:
        fleet.answer(fleet.report("result", job.job_id), "recorded")
    return elapsed / JOBS * 1_000


def cpu_s(worker: Worker) -> tuple[float, float]:
    """Return the CPU seconds of the worker, and of its guard together with the measured processes that have ended."""
    process = psutil.Process(worker.process.pid)
    own = process.cpu_times()
    guards = [guard.cpu_times() for guard in process.children()]
    return own.user + own.system, sum(sum(times[:4]) for times in guards)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, server_folder() as redis_folder:
        server = RedisServer(redis_folder, append_only=False)
        server.start()
        folder, queue = Path(name), CeleryQueue(server.url)
        try:
            with fleet_at(server.url, folder) as fleet:
                worker = fleet.start(FLEETMARK_LOG_LEVEL="warning", FLEETMARK_HEARTBEAT_S="5")
                fleet.registered(worker)
                job_ms(fleet, queue, folder, 1)  # not counted: the guard imports its modules now
                before = cpu_s(worker)
                pairs = [(job_ms(fleet, queue, folder, 1_000 * turn), bare_start_ms()) for turn in range(1, ROUNDS + 1)]
                after = cpu_s(worker)
                worker.end()
        finally:
            queue.close()
            server.stop()
    ratio = statistics.median(job / bare for job, bare in pairs)
    own, guard = ((late - early) / (JOBS * ROUNDS) * 1_000 for early, late in zip(before, after, strict=True))
    print(
        f"{JOBS} jobs of no work, {ROUNDS} rounds: {statistics.median(job for job, _ in pairs):.1f} ms a job "
        f"({min(job for job, _ in pairs):.1f}-{max(job for job, _ in pairs):.1f}), bare start "
        f"{statistics.median(bare for _, bare in pairs):.1f} ms: {ratio:.2f} bare starts a job (limit {LIMIT:g}); "
        f"CPU {own:.1f} ms in the worker, {guard:.1f} ms in guard and measured process"
    )


if __name__ == "__main__":
    main()
