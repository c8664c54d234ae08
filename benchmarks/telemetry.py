"""Measures what sampling costs: the same work with and without samplers in turn, and the CPU time of the process that samples.

    python -m benchmarks.telemetry [--rounds 10] [--inferences 700]

Each round is one repeat of light SqueezeNet with samplers, one without (A), and one more without (B), in an order that rotates, each in a
fresh process of the same supervisor. Reported are the medians over the rounds of two ratios: with / A, and B / A, which is what the machine
itself does to equal work. The target is that the first is no further from 1 than the second. Then the process that samples runs for some
seconds beside nothing, and its CPU time is compared with its limit of 0.5 % of a core. Each line ends with its target and the verdict:
`reached`, `MISSED`, or `undecided` on a machine that does too different things to equal work. The exit code is 1 if a target was missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.job_overhead import squeezenet
from benchmarks.one_repeat import series_ms, supervising
from benchmarks.ratios import MISSED, REACHED, shown, verdict_beside_equal_work
from shared.clock import SystemClock
from worker.samplers.looks import read_looks
from worker.samplers.loop import sample
from worker.samplers.registry import default_samplers
from worker.samplers.request import SampleRequest
from worker.supervisor import TelemetryOptions

LIMIT_PERCENT = 0.5  # of one core
OFF = TelemetryOptions(hz=0)
Figure = Callable[[NDArray[np.float64]], float]


def main() -> int:
    parser = argparse.ArgumentParser(description="what sampling beside a measurement costs")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--inferences", type=int, default=700)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    missed = _ratios(asked.rounds, asked.inferences)
    missed |= _at_rest(asked.seconds)
    return int(missed)


def _ratios(rounds: int, inferences: int) -> bool:
    """Print the ratios of medians and of 99th percentiles, with and without samplers. Return whether one missed its target."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        with_samplers, first, second = (
            stack.enter_context(supervising(Path(name) / place, spawn=False, telemetry=options))
            for place, options in (("with", TelemetryOptions()), ("a", OFF), ("b", OFF))
        )
        sides = {"with": with_samplers, "A": first, "B": second}
        series_ms(with_samplers, squeezenet(), 100)  # not counted: the caches are cold
        seen: dict[str, list[NDArray[np.float64]]] = {side: [] for side in sides}
        names = list(sides)
        for number in range(rounds):
            for side in names[number % 3 :] + names[: number % 3]:
                seen[side].append(series_ms(sides[side], squeezenet(), inferences))
    figures: dict[str, Figure] = {"median": lambda values: float(np.median(values)), "p99": lambda values: float(np.percentile(values, 99))}
    missed = False
    for figure, of in figures.items():
        by_side = {side: np.array([of(values) for values in timed]) for side, timed in seen.items()}
        ratios, equal = ((by_side[side] / by_side["A"]).tolist() for side in ("with", "B"))
        found = verdict_beside_equal_work(ratios, equal)
        missed |= found == MISSED
        print(
            f"{figure:6} of {inferences} inferences, with samplers / without: ratio {shown(ratios)}; "
            f"target: no further from 1 than equal work, {shown(equal)}: {found}"
        )
    return missed


def _at_rest(seconds: float) -> bool:
    """Print the CPU time of sampling, without the start. Return whether it is above the target."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "looks"
        names = tuple(one for one in default_samplers() if one != "prometheus")
        request = SampleRequest(str(path), names, 0.1, os.getpid())
        ends, at_start = threading.Event(), [0.0]

        def announce(_: str) -> None:
            at_start[0] = time.process_time()
            threading.Timer(seconds, ends.set).start()

        sample(request, SystemClock(), ends.wait, announce)
        taken = time.process_time() - at_start[0]
        looks = read_looks(path)
    percent = 100 * taken / seconds
    print(
        f"sampling {len(looks.columns)} columns {len(looks.times)} times in {seconds:g} s took {percent:.3f} % of a core "
        f"({1e6 * taken / max(1, len(looks.times)):.0f} µs each); target at most {LIMIT_PERCENT} %: "
        f"{REACHED if percent <= LIMIT_PERCENT else MISSED}"
    )
    return percent > LIMIT_PERCENT


if __name__ == "__main__":
    sys.exit(main())
