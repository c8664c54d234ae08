"""Tests whether the times of forked repeats vary as much as those of spawned ones, so that a fork may count as a fresh process.

    python -m benchmarks.forks_and_spawns [--zygotes 8] [--forks 8] [--inferences 100] [--network squeezenet]

A zygote is a process that has imported the engine. In each turn every zygote forks once, and one interpreter is spawned before or after
each fork, so that both see the same state of the machine. All repeats of a zygote share its memory layout. If this mattered, the means of
the zygotes would differ by more than the spread of single forks explains. The benchmark checks this in two ways. It compares the spread
between zygotes with the spread that independent forks would have. And it counts how many random regroupings of the same forks spread as
much between groups (a permutation test).

The exit code is 1 if the means of the zygotes differ by more than chance explains (below 1 %), or if forks differ by more than 2 % from the
spawns next to them with 99 % confidence. If the machine is too noisy to detect 2 %, the benchmark says so and does not fail.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.one_repeat import median_ms, supervising
from cli import zoo

REGROUPINGS = 10_000
LEVEL = 0.01
BIAS = 0.02
SURE = 2.6  # standard errors; this covers 99 % of a normal distribution


def measure(folder: Path, model: Path, zygotes: int, forks: int, inferences: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the medians of the forks and of the spawns next to them, in milliseconds. Rows are zygotes, columns are turns."""
    forked, spawned = np.empty((zygotes, forks)), np.empty((zygotes, forks))
    with ExitStack() as stack:
        spawning = stack.enter_context(supervising(folder / "spawns", spawn=True))
        forking = [stack.enter_context(supervising(folder / f"zygote-{number}", spawn=False)) for number in range(zygotes)]
        for turn in range(forks):
            for step in range(zygotes):
                zygote = (step + turn) % zygotes  # so that the first zygote of a turn changes
                for fork in (True, False) if step % 2 == 0 else (False, True):
                    taken = median_ms(forking[zygote] if fork else spawning, model, inferences)
                    (forked if fork else spawned)[zygote, turn] = taken
    return forked, spawned


def share_of_regroupings(values: NDArray[np.float64], seed: int = 1) -> float:
    """Return the share of random regroupings that spread between groups as much as the real groups. It is small if zygotes differ.

    Forks are exchanged only within their turn, so that a machine that becomes slower over time does not matter.
    """
    random = np.random.default_rng(seed)
    real = values.mean(axis=1).std(ddof=1)
    shuffled = random.permuted(np.broadcast_to(values, (REGROUPINGS, *values.shape)), axis=1)
    return float((shuffled.mean(axis=2).std(axis=1, ddof=1) >= real - 1e-12).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zygotes", type=int, default=8)
    parser.add_argument("--forks", type=int, default=8, help="of each zygote, and spawns beside them")
    parser.add_argument("--inferences", type=int, default=100)
    parser.add_argument("--network", default="squeezenet", choices=zoo.NAMES)
    given = parser.parse_args()
    if given.zygotes < 2 or given.forks < 2:
        raise SystemExit("a spread needs at least 2 zygotes and 2 forks of each")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = zoo.make(given.network, folder, lambda _text: None)
        forked, spawned = measure(folder, model, given.zygotes, given.forks, given.inferences)
    forks, spawns = np.log(forked), np.log(spawned)
    chance = share_of_regroupings(forks)
    beside = (forks - spawns).ravel()
    bias, doubt = float(beside.mean()), SURE * float(beside.std(ddof=1)) / math.sqrt(beside.size)
    within_turns = (forks - forks.mean(axis=0)).std() * np.sqrt(given.zygotes / (given.zygotes - 1))
    between, predicted = forks.mean(axis=1).std(ddof=1), within_turns / np.sqrt(given.forks)
    print(f"load of this machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    print(f"medians: forks {np.median(forked):.3f} ms, spawns {np.median(spawned):.3f} ms")
    print(
        f"a fork against the spawn beside it: ratio {math.exp(bias):.3f}, from {math.exp(bias - doubt):.3f} to {math.exp(bias + doubt):.3f}"
    )
    print(f"spread of one repeat: {forks.std(ddof=1):.2%} of {forks.size} forks, {spawns.std(ddof=1):.2%} of {spawns.size} spawns")
    print(f"spread between {given.zygotes} zygotes: {between:.2%}; if forks were independent, about {predicted:.2%}")
    print(f"regroupings by chance that spread as much: {chance:.1%}")
    if doubt > BIAS:
        print(f"this machine was too noisy to tell a difference of {BIAS:.0%}; take more zygotes and forks, or a quiet machine")
    sys.exit(1 if chance < LEVEL or abs(bias) - doubt > BIAS else 0)


if __name__ == "__main__":
    main()
