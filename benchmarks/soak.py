"""Ten minutes of the same work: nothing may grow.

    python -m benchmarks.soak [--minutes 10] [--workers 20]

Simulated workers take one campaign of 50 jobs after another. Every five seconds: resident memory, file descriptors and threads of
API, consumer, watch and Redis, connections and keys of Redis. The first third warms up (pools fill, caches); of the rest, the line
through the lowest value of each of ten windows says what an hour would add: a collector that runs now and then makes a saw of the
memory, a leak lifts its floor. Exits 1 when something grows by more than its limit.

A job that has ended leaves one key, its tombstone, for `TOMBSTONE_S`: those are counted apart, and have to equal the jobs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict

import httpx
import numpy as np

from benchmarks.control_plane_processes import Processes, control_plane
from benchmarks.fleet import CAPABILITY, Simulated, simulated
from shared.protocol import keys

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
    """Campaign after campaign; (time, figures) as they went, and how many jobs ended."""
    seen: list[tuple[float, dict[str, float]]] = []
    ended = 0
    body = {"model_url": "https://models.example/squeezenet.onnx", "jobs": [{"compute_unit": CAPABILITY}] * JOBS}
    with httpx.Client(base_url=plane.api, timeout=60) as client:
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
        time.sleep(EVERY_S)  # the last answers and files
        seen.append((time.monotonic(), sample(plane)))
    return seen, ended


def grown(seen: list[tuple[float, dict[str, float]]]) -> bool:
    """Print what each figure came to; whether one grew above its limit."""
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
