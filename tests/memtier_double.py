"""Provides a double of the program memtier_benchmark, for machines where no package of it can be had.

It takes the options that the driver writes, and no others. It really sends commands to the server, one connection after the other, and
writes JSON in the form of memtier_benchmark 2.3. An error of the server goes to standard error and counts like a value, as it does there.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

NEWS_S = 0.2  # the program does it once per second
PERCENTS = (0.0, 50.0, 75.0, 90.0, 95.0, 98.75, 99.375, 100.0)


def install(folder: Path) -> None:
    """Put the program on a folder."""
    path = folder / "memtier_benchmark"
    path.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(Path(__file__))!r}, run_name='__main__')\n")
    path.chmod(0o755)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--version", action="version", version="memtier_benchmark v=2.3.0-double")
    for name in ("-h", "--ratio", "--key-prefix", "--key-pattern", "--print-percentiles", "--json-out-file"):
        parser.add_argument(name, required=True)
    for name in ("-p", "--select-db", "-t", "-c", "-d", "--pipeline", "--key-minimum", "--key-maximum"):
        parser.add_argument(name, type=int, required=True)
    for name in ("-n", "--test-time", "--rate-limiting"):
        parser.add_argument(name, type=int)
    for name in ("-R", "--distinct-client-seed"):
        parser.add_argument(name, action="store_true", required=True)
    return parser.parse_args()


def main() -> None:
    options, interrupted = parsed(), []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    connections = [Redis(options.h, options.p, options.select_db, protocol=2) for _ in range(options.t * options.c)]
    sets, gets = map(int, options.ratio.split(":"))
    turns = ["SET"] * sets + ["GET"] * gets
    took: dict[str, list[float]] = {"SET": [], "GET": []}
    misses, number, begin = 0, 0, time.perf_counter()
    most = None if options.n is None else options.n * len(connections)
    said = begin
    while not interrupted and (number < most if most is not None else time.perf_counter() - begin < options.test_time):
        command, connection = turns[number % len(turns)], connections[number % len(connections)]
        key = f"{options.key_prefix}{random.randint(options.key_minimum, options.key_maximum)}"
        sent = time.perf_counter()
        try:
            value = connection.get(key) if command == "GET" else connection.set(key, random.randbytes(options.d))
            misses += value is None
        except ResponseError as error:
            say(f"server {options.h}:{options.p} handle error response: -{error}")
        took[command].append((time.perf_counter() - sent) * 1e3)
        number += 1
        if (now := time.perf_counter()) - said > NEWS_S:
            said, rate = now, number / (now - begin)
            say(f"[RUN #1] {number} ops, {rate:.0f} (avg: {rate:.0f}) ops/sec, 0.00MB/sec (avg: 0.00MB/sec), 0.10 (avg: 0.10) msec latency")
    wall_s = time.perf_counter() - begin
    told = {"Sets": of(took["SET"], wall_s), "Gets": of(took["GET"], wall_s), "Totals": of(took["SET"] + took["GET"], wall_s)}
    told["Totals"] |= {"Misses/sec": misses / wall_s, "Average Latency": 0.0}
    ended = round(time.time() * 1e3)
    runtime = {"Start time": round(ended - wall_s * 1e3), "Finish time": ended, "Interrupted": str(bool(interrupted)).lower()}
    listed = {command: steps(values) for command, values in took.items()}
    Path(options.json_out_file).write_text(json.dumps({"ALL STATS": {"Runtime": runtime, **told, **listed}}))


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def of(values: list[float], wall_s: float) -> dict[str, Any]:
    ordered = sorted(values) or [0.0]
    named = {f"p{percent:.2f}": at(ordered, percent) for percent in (50, 90, 95, 99, 99.9)}
    return {
        **{"Count": len(values), "Ops/sec": len(values) / wall_s, "Misses/sec": 0.0, "Connection Errors": 0},
        **{"Average Latency": sum(ordered) / len(ordered), "Max Latency": ordered[-1]},
        "Percentile Latencies": {**named, "Histogram log format": {"Compressed Histogram": ""}},
    }


def steps(values: list[float]) -> list[dict[str, float]]:
    return [{"<=msec": at(sorted(values) or [0.0], percent), "percent": percent} for percent in PERCENTS]


def at(ordered: list[float], percent: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))], 3)


if __name__ == "__main__":
    main()
