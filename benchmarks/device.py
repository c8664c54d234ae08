"""Compares our figures of the device with those of programs that people trust, in turns, in the same run on the same machine.

    python -m benchmarks.device [--turns 12] [--rounds 6]

- copy, add and triad against `benchmarks/device.c`, which has the loops of STREAM, compiled with `gcc -O3 -fopenmp`, with one thread and
  with all; and copy against `mbw`, reading against `sysbench memory`, where they are installed
- the latency of memory against a walk along pointers in the same C program
- numpy's matrix product against a direct call of the `cblas_dgemm` and `cblas_sgemm` of the library that numpy has loaded

Both sides run in short turns, and the order changes from turn to turn. What other programs do can only make a turn slower, so the best of
all turns is compared, as STREAM does. The median of the ratios of the turns stands beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from worker.hardware.blas import read_blas
from worker.hardware.caches import read_last_level_cache
from worker.hardware.cores import usable_cores
from worker.hardware_tests.base import Share
from worker.hardware_tests.chase import LINE, chase
from worker.hardware_tests.cpu_bandwidth import BYTES, CACHES, SMALLEST_ARRAY, _measure

SOURCE = Path(__file__).with_suffix(".c")
TARGET = 0.05
Side = Callable[[], dict[str, list[float]]]


def compiled(folder: Path) -> Path | None:
    """Return the C program, or None without a compiler."""
    compiler = next((path for name in ("gcc", "cc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        return None
    program = folder / "device"
    subprocess.run([compiler, "-O3", "-fopenmp", str(SOURCE), "-o", str(program)], check=True)
    return program


def said_by(*command: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        name, value = line.split()
        found.setdefault(name, []).append(float(value))
    return found


def in_turns(ours: Side, theirs: Side, turns: int) -> tuple[list[dict[str, list[float]]], list[dict[str, list[float]]]]:
    mine, others = [], []
    for turn in range(turns):
        if turn % 2:
            others.append(theirs())
            mine.append(ours())
        else:
            mine.append(ours())
            others.append(theirs())
    return mine, others


def show(what: str, unit: str, ours: list[list[float]], theirs: list[list[float]], best: Callable[[list[float]], float]) -> float:
    """Print one comparison, and return the ratio of the best values."""
    mine, other = best([best(turn) for turn in ours]), best([best(turn) for turn in theirs])
    ratios = [best(one) / best(two) for one, two in zip(ours, theirs, strict=True)]
    ratio = mine / other
    mark = "within" if abs(ratio - 1) <= TARGET else "NOT within"
    print(
        f"{what}: ours {mine:.4g} {unit}, theirs {other:.4g} {unit}, ratio of the best {ratio:.3f} ({mark} 5 %), "
        f"median of the turns' ratios {median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return ratio


def bandwidth(program: Path, threads: int, turns: int, rounds: int) -> None:
    elements = max(CACHES * read_last_level_cache().size_bytes, SMALLEST_ARRAY) // 8

    def ours() -> dict[str, list[float]]:
        return _measure(threads, elements, Share(0), with_torch=False, least_rounds=rounds + 1)

    mine, others = in_turns(ours, lambda: said_by(str(program), "stream", str(elements), str(threads), str(rounds)), turns)
    for name in BYTES:
        show(f"{name}, {threads} thread(s)", "GB/s", [turn[name] for turn in mine], [turn[name] for turn in others], max)


def latency(program: Path, turns: int) -> None:
    nodes = max(CACHES * read_last_level_cache().size_bytes, 2**26) // LINE
    mine, others = in_turns(
        lambda: {"chase": list(chase(nodes, Share(1)).steps_ns)}, lambda: said_by(str(program), "chase", str(nodes)), turns
    )
    show("a load from memory", "ns", [turn["chase"] for turn in mine], [turn["chase"] for turn in others], min)


def products(turns: int) -> None:
    blas = read_blas()
    print(f"BLAS: {blas.name} {blas.version}, kernels of {blas.core}, {blas.threads} threads")
    for kind, letter, size in ((np.float64, "d", 2_048), (np.float32, "s", 2_048)):
        gemm = direct(letter)
        if gemm is None:
            print(f"{letter}gemm: the BLAS of numpy has no function that can be called directly here")
            continue
        a, b = np.random.default_rng(1).standard_normal((2, size, size)).astype(kind)
        ours, theirs = np.empty((2, size, size), dtype=kind)
        np.matmul(a, b, out=ours)
        gemm(a, b, theirs)
        assert np.array_equal(ours, theirs), "both sides must compute the same"

        mine, others = in_turns(rate(np.matmul, a, b, ours), rate(gemm, a, b, theirs), 4 * turns)
        show(f"{letter}gemm of {size}", "GFLOP/s", [turn["rate"] for turn in mine], [turn["rate"] for turn in others], max)


def rate(product: Callable[..., object], a: Any, b: Any, out: Any) -> Side:
    def side() -> dict[str, list[float]]:
        begin = time.perf_counter()
        product(a, b, out)
        return {"rate": [2e-9 * len(a) ** 3 / (time.perf_counter() - begin)]}

    return side


def direct(letter: str) -> Callable[[Any, Any, Any], None] | None:
    """Return a call of the library's own product of square matrices, without numpy in between."""
    file = next(iter(sorted((Path(np.__file__).parents[1] / "numpy.libs").glob("*openblas*"))), None)
    function = None if file is None else getattr(ctypes.CDLL(str(file)), f"scipy_cblas_{letter}gemm64_", None)
    if function is None:
        return None
    real = ctypes.c_double if letter == "d" else ctypes.c_float
    function.restype = None
    function.argtypes = [
        *[ctypes.c_int] * 3, *[ctypes.c_int64] * 3, real, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, real,
        ctypes.c_void_p, ctypes.c_int64,
    ]  # fmt: skip

    def gemm(a: Any, b: Any, out: Any) -> None:
        n = len(a)
        function(101, 111, 111, n, n, n, 1.0, a.ctypes.data, n, b.ctypes.data, n, 0.0, out.ctypes.data, n)  # row-major, not transposed

    return gemm


def other_tools() -> None:
    """Print what mbw and sysbench say. They count a copied byte once, so their figures are doubled where STREAM counts it twice."""
    if shutil.which("mbw"):
        text = subprocess.run(["mbw", "-q", "-a", "-t", "0", "-n", "20", "256"], capture_output=True, text=True, check=True).stdout
        rates = [float(rate) for rate in re.findall(r"Copy: ([\d.]+) MiB/s", text)]
        print(
            f"mbw, memcpy of 256 MiB, 1 thread: best {2 * max(rates) * 2**20 / 1e9:.2f} GB/s, median {2 * median(rates) * 2**20 / 1e9:.2f}"
        )
    else:
        print("mbw is not installed")
    if shutil.which("sysbench"):
        for operation in ("read", "write"):
            options = ["--memory-block-size=256M", "--memory-total-size=8G", f"--memory-oper={operation}", "--threads=1"]
            text = subprocess.run(["sysbench", "memory", *options, "run"], capture_output=True, text=True, check=True).stdout
            rate = re.search(r"\(([\d.]+) MiB/sec\)", text)
            print(f"sysbench memory, {operation}, 1 thread: {float(rate.group(1)) * 2**20 / 1e9 if rate else float('nan'):.2f} GB/s")
    else:
        print("sysbench is not installed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=6, help="of one turn of the bandwidth comparison")
    arguments = parser.parse_args()
    print("load before:", Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "unknown")
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(Path(folder))
        if program is None:
            print("no C compiler is installed: bandwidth and latency cannot be compared with STREAM and a walk along pointers")
        else:
            for threads in sorted({1, usable_cores()}):
                bandwidth(program, threads, arguments.turns, arguments.rounds)
            latency(program, max(arguments.turns // 3, 2))
    products(arguments.turns)
    other_tools()


if __name__ == "__main__":
    main()
