"""Measures the resident memory and CPU time of an idle worker over a minute, separately for the worker and its guard.

    python -m benchmarks.worker_at_rest [--seconds 60]

The benchmark starts a real worker and a real Redis, waits until the worker has finished its start, and prints a table. The exit code is 1
above the limits for the worker process, which are 120 MB resident memory and 1 % of a core. Memory is VmRSS from psutil, and also PSS
(shared pages divided by the number of their users) if the kernel provides it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import redis

from shared.protocol import keys
from tests.servers import RedisServer, server_folder

LIMIT_MB, LIMIT_PERCENT = 120.0, 1.0
SETTLE_S = 10.0  # time for the guard's imports and the first heartbeats


@dataclass
class Cost:
    name: str
    rss_mb: float
    pss_mb: float | None
    cpu_percent: float
    threads: int


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _measure(processes: dict[str, psutil.Process], seconds: float) -> list[Cost]:
    before = {name: _cpu_s(process) for name, process in processes.items()}
    started = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - started
    costs: list[Cost] = []
    for name, process in processes.items():
        memory = process.memory_full_info()
        pss = getattr(memory, "pss", None)
        cpu = 100 * (_cpu_s(process) - before[name]) / elapsed
        costs.append(Cost(name, memory.rss / 2**20, pss / 2**20 if pss else None, cpu, process.num_threads()))
    return costs


def main() -> int:
    parser = argparse.ArgumentParser(description="memory and processor time of a worker at rest")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with server_folder() as folder:
        server = RedisServer(folder)
        server.start()
        environment = {
            **os.environ,
            "FLEETMARK_REDIS_URL": server.url,
            "FLEETMARK_WORKER_STATE_DIR": str(folder / "state"),
            "FLEETMARK_WORKER_CACHE_DIR": str(folder / "cache"),
            "FLEETMARK_LOG_LEVEL": "warning",
        }
        worker = subprocess.Popen([sys.executable, "-m", "worker.cli", "start", "--http-port", "0"], env=environment)
        client = redis.Redis.from_url(server.url)
        try:
            while client.hlen(keys.WORKERS) == 0:
                if worker.poll() is not None:
                    raise SystemExit(f"the worker ended with {worker.returncode}")
                time.sleep(0.1)
            time.sleep(SETTLE_S)
            process = psutil.Process(worker.pid)
            children = process.children(recursive=True)
            processes = {"worker": process, **{f"guard {number}": child for number, child in enumerate(children, start=1)}}
            costs = _measure(processes, seconds)
            connections = len(client.client_list()) - 1
        finally:
            worker.terminate()
            worker.wait(timeout=30)
            client.close()
            server.stop()
    print(f"{'process':<10} {'RSS MB':>8} {'PSS MB':>8} {'CPU %':>8} {'threads':>8}")
    for cost in costs:
        pss = f"{cost.pss_mb:8.1f}" if cost.pss_mb is not None else "       -"
        print(f"{cost.name:<10} {cost.rss_mb:8.1f} {pss} {cost.cpu_percent:8.2f} {cost.threads:8d}")
    print(f"connections to the broker: {connections}; over {seconds:g} s")
    well = costs[0].rss_mb <= LIMIT_MB and costs[0].cpu_percent <= LIMIT_PERCENT
    print(f"worker at rest: {'within' if well else 'ABOVE'} {LIMIT_MB:g} MB and {LIMIT_PERCENT:g} % of a core")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
