"""Measures how the cost of the control plane grows with workers and jobs, for a very large fleet, with real Redis and PostgreSQL.

    python -m benchmarks.fleet [--most-workers 1000] [--most-jobs 10000] [--real-workers 50]

Simulated workers (see `simulated_workers`) run a campaign while clients call the API continuously. Then a tenth of the workers is killed at
once, and the time until this is noticed is measured. The fleet grows from 100 to 1 000 workers with 3 162 jobs, and from 1 000 to 10 000
jobs with 1 000 workers. The exponent of a log-log fit says how each figure grows (1 means in proportion; the limit is 1.1). Afterwards,
connections and commands of real idle workers are counted.

The simulated workers share the machine with the control plane. So the processor time per job is given for each process as well: it says
what the control plane costs, whatever else runs.

The exit code is 1 if the watch repairs something although nothing was lost, if an exponent or the time to notice is above its limit, if
the largest fleet completes jobs at less than 0.8 of the rate of the smallest fleet, or if a list of all workers or all queues takes too
long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.control_plane_processes import Processes, control_plane, used_s
from shared.percentiles import PERCENTILE_FLOORS
from shared.protocol import keys
from shared.web import web_client

CAPABILITY = "gpu.cuda.onnx"  # the real workers do not have this capability, so they stay idle
HEARTBEAT_S, TIMEOUT_S, SWEEP_S = 2.0, 10.0, 1.0
WORKERS = "simulated workers"
EXPONENT_LIMIT = 1.1
RATE_SHARE = 0.8  # the smallest allowed ratio of the jobs/s of the largest fleet to those of the smallest fleet
LISTS_MS = {"workers": 50.0, "queues": 30.0}  # limits of the median time for a list, in the largest fleet
REPAIRS = ("jobs_sent_again", "jobs_requeued", "attempts_unheld", "faults_found")  # nothing needs them before workers are killed
NOISE_SLACK_S = 1.0  # is added to the limit of the time to notice, because of polling and two busy cores


@dataclass
class Run:
    """Holds the measurements of one fleet."""

    workers: int
    jobs: int
    seconds: float = 0.0
    notice_s: float = 0.0
    needless: dict[str, int] = field(default_factory=dict)  # what the watch did again, although nothing was lost
    processor_ms: dict[str, float] = field(default_factory=dict)  # processor time per job, by process
    at_rest: dict[str, float] = field(default_factory=dict)  # share of a core before there were jobs: heartbeats and sweeps, by process
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    resident_mb: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Return the figures for the fit. Each is a cost, so it should not grow faster than the fleet."""
        figures = {"time to the end": self.seconds}
        figures |= {f"API p50, {name}": float(np.percentile(taken, 50)) for name, taken in self.latency_ms.items()}
        figures |= {f"memory of {name}": size for name, size in self.resident_mb.items()}
        return figures

    @property
    def control_plane_ms(self) -> float:
        """The processor time of the control plane per job, without the API, which answers as many calls as it can."""
        return sum(used for name, used in self.processor_ms.items() if name not in ("api", WORKERS))


class Simulated:
    """Holds two processes with simulated workers. The smaller one, with a tenth of the workers, can be killed."""

    def __init__(self, many: subprocess.Popen[str], tenth: subprocess.Popen[str]) -> None:
        self._all, self._tenth = (many, tenth), tenth

    def processor_s(self) -> float:
        """Return the processor time that both have used until now, in seconds."""
        return sum(used_s(psutil.Process(process.pid)) for process in self._all)

    def kill_a_tenth(self) -> None:
        self._tenth.kill()

    def check(self) -> None:
        if any(process.poll() is not None for process in self._all):
            raise SystemExit("simulated workers ended by themselves; what they said is above")


@contextmanager
def simulated(plane: Processes, workers: int, job_s: float = 0.2) -> Iterator[Simulated]:
    """Start `workers` simulated workers and wait until they are registered. Each of their jobs takes `job_s` seconds."""
    with ExitStack() as stack:
        tenth = max(1, workers // 10)
        made = [_simulate(stack, plane, prefix, number, job_s) for prefix, number in (("many", workers - tenth), ("tenth", tenth))]
        for process in made:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "registered":
                raise SystemExit("the simulated workers did not come up")
        yield Simulated(*made)


def _simulate(stack: ExitStack, plane: Processes, prefix: str, number: int, job_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.simulated_workers", "--redis-url", plane.redis_url, "--capability", CAPABILITY]
    command += ["--workers", str(number), "--prefix", prefix, "--heartbeat-s", str(HEARTBEAT_S), "--job-s", str(job_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


class Asking:
    """Runs three threads that call the API continuously, and records the latencies."""

    def __init__(self, api: str, campaign_id: str) -> None:
        self.latency_ms: dict[str, list[float]] = {}
        self._api = api
        self._calls = {
            "the campaign": f"/campaigns/{campaign_id}",
            "its last jobs": f"/jobs?campaign={campaign_id}&limit=100",
            "campaigns": "/campaigns",
            "workers": "/workers",
            "queues": "/queue/status",
        }
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with web_client(self._api, timeout=60, direct=True) as client:
            while not self._stop.is_set():
                for name, url in self._calls.items():
                    start = time.perf_counter()
                    client.get(url).raise_for_status()
                    self.latency_ms.setdefault(name, []).append((time.perf_counter() - start) * 1000)
                    self._stop.wait(0.005)


def run(workers: int, jobs: int) -> Run:
    """Run one campaign with `jobs` jobs on a new control plane with `workers` workers, and return its measurements."""
    made = Run(workers, jobs)
    settings = {"heartbeat_s": str(HEARTBEAT_S), "heartbeat_timeout_s": str(TIMEOUT_S), "watch_sweep_s": str(SWEEP_S)}
    with control_plane(**settings) as plane, simulated(plane, workers) as fleet:
        rest, start = plane.processor_s(), time.perf_counter()
        time.sleep(TIMEOUT_S + 2 * SWEEP_S)  # a new leader marks no worker as faulty before this time
        seconds = time.perf_counter() - start
        made.at_rest = {name: (until - rest[name]) / seconds for name, until in plane.processor_s().items()}
        body = {"model_url": "https://models.example/squeezenet.onnx", "jobs": [{"compute_unit": CAPABILITY}] * jobs}
        used = plane.processor_s() | {WORKERS: fleet.processor_s()}
        start = time.perf_counter()
        with web_client(plane.api, timeout=60, direct=True) as client:
            campaign_id = client.post("/campaigns", content=json.dumps(body)).raise_for_status().json()["campaign_id"]
            with Asking(plane.api, campaign_id) as asking:
                while (campaign := client.get(f"/campaigns/{campaign_id}?jobs=false").json())["status"] == "running":
                    fleet.check()
                    time.sleep(0.2)
        made.seconds = time.perf_counter() - start
        until = plane.processor_s() | {WORKERS: fleet.processor_s()}
        made.processor_ms = {name: 1000 * (until[name] - before) / jobs for name, before in used.items()}
        if campaign["completed_jobs"] != jobs:
            raise SystemExit(f"only {campaign['completed_jobs']} of {jobs} jobs completed: {campaign['job_breakdown']}")
        with web_client(plane.api, timeout=60, direct=True) as client:
            repaired = client.get("/monitoring/stats").raise_for_status().json()["health_monitor"]
        made.needless = {name: repaired[name] for name in REPAIRS if repaired[name]}
        made.latency_ms, made.resident_mb = asking.latency_ms, plane.resident_mb()
        made.notice_s = _notice(plane, fleet, max(1, workers // 10))
    return made


def _notice(plane: Processes, fleet: Simulated, number: int) -> float:
    """Kill a tenth of the workers. Return the seconds until all of them are faulty."""
    fleet.kill_a_tenth()
    start = time.perf_counter()
    with web_client(plane.api, timeout=60, direct=True) as client:
        while client.get("/workers?status=faulty").json()["count"] < number:
            if time.perf_counter() - start > 10 * TIMEOUT_S:
                raise SystemExit(f"{number} killed workers are not all faulty after {10 * TIMEOUT_S:g} s")
            time.sleep(0.1)
    return time.perf_counter() - start


def exponents(runs: Sequence[Run], by: str) -> dict[str, float]:
    """Return, for each figure, the slope of a least-squares line through the logarithms of size and figure."""
    sizes = np.log([getattr(one, by) for one in runs])
    return {name: float(np.polyfit(sizes, np.log([one.figures()[name] for one in runs]), 1)[0]) for name in runs[0].figures()}


def real_workers_at_rest(number: int, seconds: float = 20.0) -> None:
    """Print the connections and commands per second of real idle workers, without those of the control plane."""
    with control_plane() as plane, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        alone = _commands_per_s(plane, seconds)
        connections = int(plane.redis.info("clients")["connected_clients"])
        for index in range(number):
            state = Path(folder, str(index))
            environment = plane.environment | {
                "FLEETMARK_WORKER_STATE_DIR": str(state),
                "FLEETMARK_WORKER_CACHE_DIR": str(state / "cache"),
                "FLEETMARK_WORKER_NAME": f"real-{index}",
            }
            worker = subprocess.Popen([sys.executable, "-m", "worker.cli", "start", "--http-port", "0"], env=environment)
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
        until = time.monotonic() + 20 * number
        while plane.redis.hlen(keys.WORKERS) < number:
            if time.monotonic() > until:
                raise SystemExit(f"only {plane.redis.hlen(keys.WORKERS)} of {number} real workers registered")
            time.sleep(0.5)
        time.sleep(10)  # until the last worker has finished its start
        each = (_commands_per_s(plane, seconds) - alone) / number
        held = (int(plane.redis.info("clients")["connected_clients"]) - connections) / number
        print(f"{number} real workers at rest: {held:.1f} connections and {each:.1f} commands/s each")
        print(f"  so a Redis with maxclients 10 000 holds about {10_000 / held:.0f} of them")


def _commands_per_s(plane: Processes, seconds: float) -> float:
    before = int(plane.redis.info("stats")["total_commands_processed"])
    time.sleep(seconds)
    return (int(plane.redis.info("stats")["total_commands_processed"]) - before - 1) / seconds


def show(one: Run) -> None:
    every = [taken for latencies in one.latency_ms.values() for taken in latencies]
    tail = f"p99 {np.percentile(every, 99):.1f} ms" if len(every) >= PERCENTILE_FLOORS["p99"][1] else "too few for a p99"
    print(f"{one.workers} workers, {one.jobs} jobs: {one.seconds:.1f} s to the end, {one.jobs / one.seconds:.0f} jobs/s")
    print(f"  API under it: p50 {np.median(every):.1f} ms, {tail} over {len(every)} calls", end="")
    print(f" ({', '.join(f'{name} {np.median(taken):.1f}' for name, taken in one.latency_ms.items())})")
    parts = ", ".join(f"{name} {used:.2f}" for name, used in one.processor_ms.items())
    if one.needless:
        print(f"  NEEDLESS REPAIRS: {', '.join(f'{name} {number}' for name, number in one.needless.items())}")
    print(f"  % of a core before there were jobs: {', '.join(f'{name} {100 * share:.1f}' for name, share in one.at_rest.items())}")
    print(f"  processor ms per job: control plane without API {one.control_plane_ms:.2f}; {parts}")
    print(f"  resident MB: {', '.join(f'{name} {size:.0f}' for name, size in one.resident_mb.items())}")
    print(f"  {max(1, one.workers // 10)} workers killed at once are all faulty after {one.notice_s:.1f} s", flush=True)


def keeps_its_rate(few: Run, many: Run) -> bool:
    """Print how the largest fleet compares with the smallest one. Return whether the rate and the lists are within their limits."""
    share = (many.jobs / many.seconds) / (few.jobs / few.seconds)
    print(f"{many.workers} workers end {share:.2f} of the jobs/s that {few.workers} do (at least {RATE_SHARE:g})")
    print(f"  processor ms per job of the control plane without API: {few.control_plane_ms:.2f} and {many.control_plane_ms:.2f}")
    print(f"  of the {WORKERS}, which share the machine: {few.processor_ms[WORKERS]:.2f} and {many.processor_ms[WORKERS]:.2f}")
    well = share >= RATE_SHARE
    for name, limit_ms in LISTS_MS.items():
        median = float(np.median(many.latency_ms[name]))
        print(f"a list of all {name} takes {median:.1f} ms at the median (at most {limit_ms:g})")
        well &= median <= limit_ms
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description="how the control plane grows with workers and with jobs")
    parser.add_argument("--most-workers", type=int, default=1_000)
    parser.add_argument("--most-jobs", type=int, default=10_000)
    parser.add_argument("--real-workers", type=int, default=50)
    options = parser.parse_args()
    middle_jobs, middle_workers = int(options.most_jobs / 10**0.5), int(options.most_workers / 10**0.5)
    by_workers = [(workers, middle_jobs) for workers in (options.most_workers // 10, middle_workers, options.most_workers)]
    by_jobs = [(options.most_workers, jobs) for jobs in (options.most_jobs // 10, middle_jobs, options.most_jobs)]
    runs: dict[tuple[int, int], Run] = {}
    for size in dict.fromkeys([*by_workers, *by_jobs]):
        runs[size] = run(*size)
        show(runs[size])
    well = not any(one.needless for one in runs.values())
    for by, fitted in (("workers", [runs[size] for size in by_workers]), ("jobs", [runs[size] for size in by_jobs])):
        print(f"growth with {by}, exponent of a log-log fit over {[getattr(one, by) for one in fitted]}:")
        for name, exponent in exponents(fitted, by).items():
            print(f"  {name:<28} {exponent:6.2f}{'' if exponent <= EXPONENT_LIMIT else f'  ABOVE {EXPONENT_LIMIT}'}")
            well &= exponent <= EXPONENT_LIMIT
    well &= keeps_its_rate(runs[by_workers[0]], runs[by_workers[-1]])
    limit = TIMEOUT_S + 2 * SWEEP_S + NOISE_SLACK_S
    worst = max(one.notice_s for one in runs.values())
    print(f"time to notice: at most {worst:.1f} s, {worst / limit:.2f} of timeout + 2 sweeps + {NOISE_SLACK_S:g} s")
    if options.real_workers:
        real_workers_at_rest(options.real_workers)
    return 0 if well and worst <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
