"""Drives Redis with memtier_benchmark, on the keys of our own driver.

memtier_benchmark tells nothing of single requests. Its JSON holds how many percent of the SETs and of the GETs took at most so long, at
ever finer steps; from these we make the distribution.
"""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from shared.errors import EngineUnavailable, JobCancelled
from worker.tools.base import Ended, EndsEarly, News, Steps, ToolPhase, ToolRun
from worker.tools.program import find_program, run_program, version_of
from worker.tools.redis_target import target_of

NAME = "memtier_benchmark"
PREFIX, FIRST = "fleetmark:", 10**12  # our driver's keys: the number of the first one has 13 digits, and the tool writes it as it is
OPERATIONS: Mapping[str, tuple[str, str]] = {"get": ("Gets", "GET"), "set": ("Sets", "SET")}  # where the JSON has their figures and steps
PERCENTILES = "50,90,95,99,99.9"
PROGRESS = re.compile(r"\(avg:\s*(\d+)\) ops/sec, .*\(avg:\s*([\d.]+)\) msec")
REFUSED = re.compile(r"error response|(selection|authentication) failed")  # the tool goes on after it
ERROR = re.compile(r"error|refused|failed", re.IGNORECASE)
MOST_SHARE = 1_000_000  # of the numbers of a ratio


class MemtierBenchmark:
    """Implements `worker.tools.base.Tool`."""

    operations = tuple(OPERATIONS)

    def __init__(self, address: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self._server = target_of(NAME, address, settings, secrets)
        self._settings = settings

    def version(self) -> str:
        return version_of(find_program(NAME))

    def words(self, phase: ToolPhase) -> list[str]:
        settings = self._settings
        digits = int(settings["key_size_bytes"]) - len(PREFIX)
        connections, threads = phase.in_flight, phase.processes
        if phase.count is None:
            amount = ["--test-time", str(math.ceil(phase.duration_s or 0.0))]
        else:
            amount = ["-n", str(max(1, round(phase.count / connections)))]
        return [
            *(find_program(NAME), "-h", self._server.host, "-p", str(self._server.port), "--select-db", self._server.database),
            *("-t", str(threads), "-c", str(connections // threads), *amount, "--pipeline", str(settings["pipeline"])),
            *(() if phase.rate is None else ("--rate-limiting", str(round(phase.rate / connections)))),
            *("--ratio", ratio_of(phase.operations), "-R", "-d", str(settings["value_size_bytes"])),
            *("--key-prefix", PREFIX + "0" * (digits - len(str(FIRST))), "--key-pattern", "R:R", "--distinct-client-seed"),
            *("--key-minimum", str(FIRST), "--key-maximum", str(FIRST + int(settings["num_keys"]) - 1)),
            *("--print-percentiles", PERCENTILES, "--json-out-file", str(phase.folder / f"{phase.name}.memtier.json")),
        ]

    def run(self, phase: ToolPhase, on_news: News, ends_early: EndsEarly) -> ToolRun:
        if phase.lead_s:
            *_, warmed = self._told(ToolPhase(**{**vars(phase), "count": None, "duration_s": phase.lead_s}), on_news, ends_early)
            if warmed.early:
                raise JobCancelled("memtier_benchmark was ended during its warm-up")
        words, told, ended = self._told(phase, on_news, ends_early)
        totals, runtime = told["Totals"], told["Runtime"]
        parts = {operation: (told[figures], told[steps]) for operation, (figures, steps) in OPERATIONS.items() if told[figures]["Count"]}
        if totals["Misses/sec"]:
            raise EngineUnavailable(
                f"memtier_benchmark found no value for {totals['Misses/sec']:g} keys per second and counts them like "
                "the others; the server has removed keys, so give it memory, or write `driver: fleetmark`, which counts failures"
            )
        count = sum(figures["Count"] for figures, _ in parts.values())
        mean_ms = sum(figures["Count"] * figures["Average Latency"] for figures, _ in parts.values()) / count
        lost = totals.get("Connection Errors", 0)
        return ToolRun(
            command=" ".join(words),
            printed={
                **{"requests per second": totals["Ops/sec"], "avg in ms": mean_ms, "max in ms": totals["Max Latency"]},
                **{f"{name} in ms": value for name, value in percentiles_of(totals).items()},
                **{f"{operation} per second": figures["Ops/sec"] for operation, (figures, _) in parts.items()},
            },
            began_at=runtime["Start time"] / 1e3,
            steps={operation: steps_of(figures, steps) for operation, (figures, steps) in parts.items()},
            window_s=count / totals["Ops/sec"],
            stopped=f"memtier_benchmark lost {lost} connections: {_why(ended)}" if lost else "",
            ended_early=ended.early,
        )

    def _told(self, phase: ToolPhase, on_news: News, ends_early: EndsEarly) -> tuple[list[str], dict[str, Any], Ended]:
        """Run the program, and return its command line and what its JSON says."""
        words = self.words(phase)
        refused: list[str] = []

        def hear(line: str) -> None:
            if REFUSED.search(line):
                refused.append(line.strip()[:500])
            elif found := PROGRESS.search(line):
                on_news(f"{float(found[1]):.4g} requests/s, mean {float(found[2]):.3g} ms")

        # It writes what it has measured when it is interrupted, as by Ctrl+C.
        ended = run_program(words, phase.folder, None, hear, lambda: bool(refused) or ends_early(), signal.SIGINT)
        if refused:
            raise EngineUnavailable(
                f"memtier_benchmark counts an error of the server like a value, so nothing is measured: {refused[0]}; remove the cause, or "
                "write `driver: fleetmark`, which counts errors as failures"
            )
        told = _read(Path(words[-1])).get("ALL STATS", {})
        if not told.get("Totals", {}).get("Count"):
            if ended.early:
                raise JobCancelled("memtier_benchmark was ended before it had measured anything")
            raise EngineUnavailable(f"memtier_benchmark measured nothing (exit code {ended.code}): {_why(ended)}")
        return words, told, ended


def ratio_of(operations: Mapping[str, float]) -> str:
    """Return the shares of SET and GET as the tool takes them, in the smallest whole numbers: it sends the one after the other in turns."""
    shares = [Fraction(operations.get(name, 0.0)).limit_denominator(MOST_SHARE) for name in ("set", "get")]
    scale = math.lcm(*(share.denominator for share in shares))
    whole = [int(share * scale) for share in shares]
    return ":".join(str(number // math.gcd(*whole)) for number in whole)


def percentiles_of(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the percentiles of the JSON, by names such as `p99.9`."""
    told = figures["Percentile Latencies"]
    return {f"p{float(name[1:]):g}": value for name, value in told.items() if name.startswith("p")}


def steps_of(figures: Mapping[str, Any], listed: Sequence[Mapping[str, float]]) -> Steps:
    """Return the distribution of one operation: a latency in ms, and how many requests took at most so long."""
    total = int(figures["Count"])
    found = [(step["<=msec"], step["percent"]) for step in listed]
    found += [(value, float(name[1:])) for name, value in percentiles_of(figures).items()]
    most: dict[float, int] = {}
    for latency, percent in found:
        # One more, because our percentile lies between two requests.
        count = min(total, math.ceil(percent / 100 * total) + 1) if percent else 0
        most[latency] = max(most.get(latency, 0), count)
    return tuple((latency, count) for latency, count in sorted(most.items()) if count)


def _read(path: Path) -> dict[str, Any]:
    try:
        # With nothing to tell, it writes figures that are no numbers, and which JSON does not know.
        found = json.loads(re.sub(r"(?<=: )-?nan", "null", path.read_text()))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _why(ended: Ended) -> str:
    """Return what the tool said first that is an error; it also writes its progress there."""
    return next((line.strip()[:500] for line in ended.errors if ERROR.search(line)), ended.last_words())
