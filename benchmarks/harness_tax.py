"""Measures how much time our code adds to each timed call, compared with a bare `session.run` in the same process and session.

    python -m benchmarks.harness_tax [--pairs 400] [--network squeezenet --network tiny-yolov2] [--calls 1] [--threads 1]

Both sides use the same session, input and threads, with the garbage collector off. They run in alternating blocks; the order within a pair
changes from pair to pair. One side is the product's own code (`OnnxEngine.bind`, `hot_loop.time_calls`). The other side is the simplest
possible loop. A ratio is the median of a block divided by the median of the other block of its pair.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from statistics import median

from cli import zoo
from shared.stats import describe
from worker.engines.base import Options
from worker.engines.inputs import make_inputs
from worker.engines.onnx import OnnxEngine
from worker.measured.hot_loop import time_calls

NETWORKS = ["squeezenet", zoo.TINY_YOLO]


def bare_loop(run: Callable[[], object], calls: int) -> list[int]:
    taken = []
    for _ in range(calls):
        before = time.perf_counter_ns()
        run()
        after = time.perf_counter_ns()
        taken.append(after - before)
    return taken


def compare(model: Path, pairs: int, calls: int, threads: int | None) -> list[float]:
    engine = OnnxEngine()
    engine.load(model, Options(threads=threads), "cpu.onnx")
    feeds = make_inputs(engine, Options(), model.parent).arrays
    ours = engine.bind(feeds)
    session = engine._session
    names = [output.name for output in session.get_outputs()]

    def bare() -> object:
        return session.run(names, feeds)

    def ours_block() -> float:
        samples = array("q", bytes(8 * calls))
        time_calls(ours, samples)
        return median(samples)

    def bare_block() -> float:
        return median(bare_loop(bare, calls))

    for _ in range(10):
        ours()
        bare()
    gc.collect()
    gc.freeze()
    gc.disable()
    ratios = []
    for pair in range(pairs):
        if pair % 2:
            other, mine = bare_block(), ours_block()
        else:
            mine, other = ours_block(), bare_block()
        ratios.append(mine / other)
    gc.enable()
    gc.unfreeze()
    engine.unload()
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--network", action="append", choices=zoo.NAMES)
    parser.add_argument("--calls", type=int, default=1, help="a block; one, so that what else the machine does falls on both sides")
    parser.add_argument("--threads", type=int, help="of the session; the runtime's own choice by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.network or NETWORKS:
            model = zoo.make(name, Path(folder), lambda _text: None)
            calls = arguments.calls
            result = describe(compare(model, arguments.pairs, calls, arguments.threads))
            interval = result.median_ci_within
            shown = f"95 % interval {interval.low:.4f} to {interval.high:.4f}" if interval else "no interval: fewer than 6 pairs"
            print(f"{name}: median ratio ours / bare {result.median:.4f}, {shown}; {result.n} pairs of blocks of {calls} call(s)")


if __name__ == "__main__":
    main()
