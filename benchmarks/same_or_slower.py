"""Tests how often equal models are called different (A/A), and how often a model with 5 % more work is detected (A/B).

    python -m benchmarks.same_or_slower [--pairs 20] [--repeats 10] [--inferences 30]

The model is a chain of equal matrix products: 40 of them (A), the same 40 again (A), or 42 (B). A comparison runs `--repeats` fresh
processes of each model in turn. It decides by Wilcoxon's signed-rank test (two-sided, 5 %) on the ratios of the medians of neighbouring
processes. A regression gate may do the same with the per-repeat values of a result. For comparison, the benchmark also shows a wrong
method: a Mann-Whitney test on single inferences, which treats the calls of one process as independent.

The exit code is 1 if there are more false alarms than 5 % explain (an exact binomial test at 1 %), or if the 5 % are detected in fewer than
90 % of the pairs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy import stats

from benchmarks.one_repeat import series_ms, supervising
from worker.supervisor import Supervisor

SIZE = 192
PRODUCTS = {"A": 40, "A again": 40, "B": 42}
LEVEL = 0.05
FOUND = 0.9


@dataclass
class Decisions:
    """Counts the decisions about the pairs so far."""

    by_repeats: int = 0
    by_inferences: int = 0
    pairs: int = 0

    def line(self, what: str) -> str:
        return f"{what}: {self.by_repeats} of {self.pairs} by repeats; {self.by_inferences} by single inferences, which is no test"


def chain(path: Path, products: int) -> Path:
    """Write a model of `products` successive matrix products to `path`. The matrix is orthogonal, so the numbers stay near 1."""
    random = np.random.default_rng(3)
    square, _ = np.linalg.qr(random.standard_normal((SIZE, SIZE)))
    weights = numpy_helper.from_array(square.astype(np.float32), "w")
    names = ["x", *(f"h{number}" for number in range(1, products)), "y"]
    nodes = [helper.make_node("MatMul", [before, "w"], [after]) for before, after in itertools.pairwise(names)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZE, SIZE]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def differ_by_repeats(first: list[NDArray[np.float64]], second: list[NDArray[np.float64]]) -> bool:
    ratios = [float(np.log(np.median(one) / np.median(other))) for one, other in zip(first, second, strict=True)]
    return float(stats.wilcoxon(ratios, method="exact").pvalue) < LEVEL


def differ_by_inferences(first: list[NDArray[np.float64]], second: list[NDArray[np.float64]]) -> bool:
    return float(stats.mannwhitneyu(np.concatenate(first), np.concatenate(second)).pvalue) < LEVEL


def compare(
    supervisor: Supervisor, first: Path, second: Path, repeats: int, inferences: int
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    taken: dict[Path, list[NDArray[np.float64]]] = {first: [], second: []}
    for turn in range(repeats):
        for model in (first, second) if turn % 2 == 0 else (second, first):
            taken[model].append(series_ms(supervisor, model, inferences))
    return taken[first], taken[second]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, help="comparisons of each kind")
    parser.add_argument("--repeats", type=int, default=10, help="fresh processes of each model in a comparison; at least 6")
    parser.add_argument("--inferences", type=int, default=30)
    given = parser.parse_args()
    if given.repeats < 6:
        raise SystemExit("with fewer than 6 repeats the signed-rank test cannot come below 5 %, whatever it is given")
    same, slower, ratios = Decisions(), Decisions(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {kind: chain(folder / f"{kind.replace(' ', '-')}.onnx", products) for kind, products in PRODUCTS.items()}
        with supervising(folder, spawn=False) as supervisor:
            for _ in range(given.pairs):
                for kind, decisions in (("A again", same), ("B", slower)):
                    first, second = compare(supervisor, models["A"], models[kind], given.repeats, given.inferences)
                    decisions.pairs += 1
                    decisions.by_repeats += differ_by_repeats(first, second)
                    decisions.by_inferences += differ_by_inferences(first, second)
                    if kind == "B":
                        ratios.append(float(np.median([np.median(one) for one in second]) / np.median([np.median(one) for one in first])))
    print(f"load of this machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    print(same.line("equal models called different"))
    print(slower.line("5 % more work found"))
    print(f"B / A: {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    alarms = float(stats.binomtest(same.by_repeats, same.pairs, LEVEL, alternative="greater").pvalue)
    sys.exit(1 if alarms < 0.01 or slower.by_repeats < FOUND * slower.pairs else 0)


if __name__ == "__main__":
    main()
