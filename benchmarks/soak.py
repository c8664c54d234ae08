"""Runs the same work for ten minutes, and checks that memory and other resources do not grow.

    python -m benchmarks.soak [--minutes 10] [--workers 20]

Simulated workers run one campaign of 50 jobs after another. Every five seconds the benchmark records resident memory, file descriptors and
threads of API, consumer, watch and Redis, and the connections and keys of Redis. The first third is a warm-up, in which pools and caches
fill. The rest is divided into ten windows. A line through the lowest values of the windows gives the growth per hour. The lowest values are
used because garbage collection makes memory go up and down, while a leak raises the minimum. The exit code is 1 if a figure grows by more
than its limit.

A job that has ended leaves one key, its tombstone, for `TOMBSTONE_S`. Tombstones are counted separately; there may not be more than jobs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict

import numpy as np

from benchmarks.control_plane_processes import Processes, control_plane
from benchmarks.fleet import CAPABILITY, Simulated, simulated
from shared.protocol import keys
from shared.web import web_client

JOBS = 50
JOB_S = 1.0
EVERY_S = 5.0
WARM_UP = 1 / 3
WINDOWS = 10
# What the fitted line may add over the measured time, as a share of the median and as a floor in the figure's own unit.
LIMITS = {"MB": (0.05, 4.0), "fds": (0.05, 3.0), "threads": (0.05, 2.0), "connections": (0.05, 3.0), "keys": (0.05, 10.0)}


def sample(plane: Processes) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in ("api", "consumer", "watch", "redis"):
        process = plane.parts[name]
        figures[f"{name} MB"] = process.memory_info().rss / 2**20
        figures[f"{name} fds"] = process.num_fds()
        figures[f"{name} threads"] = process.num_threads()
    figures["redis connections"] = int(plane.redis.info("clients")["connected_clients"])
    figures["postgres connections"] = len(plane.parts["postgres"].children())
    tombstones = sum(1 for _ in plane.redis.scan_iter(match=keys.ended("*"), count=1_000))
    figures["redis keys"] = plane.redis.dbsize() - tombstones
    figures["tombstones"] = tombstones
    return figures


def work(plane: Processes, fleet: Simulated, until: float) -> tuple[list[tuple[float, dict[str, float]]], int]:
    """Run one campaign after another until `until`. Return a list of (time, figures), and the number of jobs that ended."""
    seen: list[tuple[float, dict[str, float]]] = []
    ended = 0
    body = {"model_url": "https://models.example/squeezenet.onnx", "jobs": [{"compute_unit": CAPABILITY}] * JOBS}
    with web_client(plane.api, timeout=60, direct=True) as client:
        while time.monotonic() < until:
            campaign = client.post("/campaigns", json=body).raise_for_status().json()["campaign_id"]
            while client.get(f"/campaigns/{campaign}?jobs=false").json()["status"] == "running":
                fleet.check()
                time.sleep(0.1)
                if not seen or time.monotonic() - seen[-1][0] >= EVERY_S:
                    client.get("/workers").raise_for_status()
                    client.get(f"/campaigns/{campaign}/results").raise_for_status()
                    seen.append((time.monotonic(), sample(plane)))
            ended += JOBS
        time.sleep(EVERY_S)  # until the last answers are read and the last files are written
        seen.append((time.monotonic(), sample(plane)))
    return seen, ended


def grown(seen: list[tuple[float, dict[str, float]]]) -> bool:
    """Print the growth of each figure. Return whether one grew by more than its limit."""
    kept = seen[int(len(seen) * WARM_UP) :]
    windows = [window for window in np.array_split(np.arange(len(kept)), WINDOWS) if len(window)]
    times = np.array([np.mean([kept[index][0] for index in window]) for window in windows])
    series: dict[str, list[float]] = defaultdict(list)
    for _, figures in kept:
        for name, value in figures.items():
            series[name].append(value)
    any_grew = False
    for name, values in series.items():
        if name == "tombstones":
            continue
        floor_of = [min(values[index] for index in window) for window in windows]
        slope = float(np.polyfit(times, floor_of, 1)[0])
        added, median = slope * float(times[-1] - times[0]), float(np.median(values))
        share, floor = LIMITS[name.rpartition(" ")[2]]
        grew = added > max(share * median, floor)
        any_grew |= grew
        span = f"{min(values):8.1f} to {max(values):8.1f}"
        print(f"  {name:<22} {span}   fitted growth {added:+7.2f}   an hour {slope * 3600:+8.1f}{'   GROWS' if grew else ''}")
    return any_grew


def main() -> int:
    parser = argparse.ArgumentParser(description="whether anything grows under the same work")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=20)
    options = parser.parse_args()
    with control_plane() as plane, simulated(plane, options.workers, JOB_S) as fleet:
        seen, ended = work(plane, fleet, time.monotonic() + 60 * options.minutes)
        tombstones = int(seen[-1][1]["tombstones"])
    print(f"{options.minutes:g} minutes, {options.workers} simulated workers, {ended} jobs ended, {len(seen)} samples:")
    any_grew = grown(seen)
    print(f"  tombstones: {tombstones} for {ended} ended jobs")
    return 1 if any_grew or tombstones > ended else 0


if __name__ == "__main__":
    sys.exit(main())
