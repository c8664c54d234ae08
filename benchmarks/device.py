"""Compares our figures of the device with those of programs that people trust, in turns, in the same run on the same machine.

    python -m benchmarks.device [--turns 12] [--rounds 6]

- copy, add and triad against `benchmarks/device.c`, which has the loops of STREAM, compiled with `gcc -O3 -fopenmp`: by the CPU time of one
  thread, on the same arrays in this process; and by the wall clock, with one thread and with all
- the latency of memory against a walk along pointers in the same C program
- numpy's matrix product against a direct call of the `cblas_dgemm` and `cblas_sgemm` of the library that numpy has loaded
- copy against `mbw`, reading and writing against `sysbench memory`, where they are installed; they count in another way and have no target

Both sides run in short turns, and the order changes from turn to turn. Each line has the median of the ratios of the turns (ours divided by
theirs) with its 95 % interval, the target and the verdict: `reached` if the whole interval is within 5 %, `MISSED` if it is outside, and
`undecided` if other work on the machine makes the turns differ too much. The exit code is 1 if a target was missed.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ratios import MISSED, line, verdict
from worker.hardware.blas import read_blas
from worker.hardware.caches import read_last_level_cache
from worker.hardware.cores import usable_cores
from worker.hardware_tests.base import Share
from worker.hardware_tests.chase import LINE, chase
from worker.hardware_tests.cpu_bandwidth import BYTES, CACHES, SCALAR, SMALLEST_ARRAY, _arrays, _kernels, _measure

SOURCE = Path(__file__).with_suffix(".c")
TARGET = 0.05
Side = Callable[[], dict[str, list[float]]]


def compiled(folder: Path) -> tuple[Path, Path] | None:
    """Return the C program, and its kernels as a library, or None without a compiler."""
    compiler = next((path for name in ("gcc", "cc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        return None
    program, library = folder / "device", folder / "device.so"
    for options in (["-o", str(program)], ["-shared", "-fPIC", "-o", str(library)]):
        subprocess.run([compiler, "-O3", "-fopenmp", str(SOURCE), *options], check=True)
    return program, library


def said_by(*command: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for said in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        name, value = said.split()
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


def show(what: str, unit: str, ours: list[list[float]], theirs: list[list[float]], best: Callable[[list[float]], float]) -> bool:
    """Print one comparison, and return whether it missed the target."""
    mine, other = best([best(turn) for turn in ours]), best([best(turn) for turn in theirs])
    ratios = [best(one) / best(two) for one, two in zip(ours, theirs, strict=True)]
    print(line(what, ratios, 1 - TARGET, 1 + TARGET, f"best: ours {mine:.4g}, theirs {other:.4g} {unit}"), flush=True)
    return verdict(ratios, 1 - TARGET, 1 + TARGET) == MISSED


def cpu_time(library: Path, turns: int) -> bool:
    """Compare the kernels by the CPU time of one thread, which other work disturbs less. Return whether one missed the target."""
    of_c = ctypes.CDLL(str(library))
    pointer, count = ctypes.c_void_p, ctypes.c_long
    of_c.copy.argtypes, of_c.add.argtypes = [pointer] * 2 + [count], [pointer] * 3 + [count]
    of_c.triad.argtypes = [pointer] * 3 + [ctypes.c_double, count]
    elements = elements_of_an_array()
    a, b, c = arrays = _arrays(elements)
    kernels = _kernels(*arrays, with_torch=False)
    at_a, at_b, at_c = (array.ctypes.data for array in (a, b, c))
    theirs: dict[str, Callable[[], object]] = {
        "copy": lambda: of_c.copy(at_c, at_a, elements),
        "add": lambda: of_c.add(at_c, at_a, at_b, elements),
        "triad": lambda: of_c.triad(at_a, at_b, at_c, SCALAR, elements),
    }
    missed = False
    for name, ours in kernels.items():
        mine, others = in_turns(by_cpu_time(ours, name, elements), by_cpu_time(theirs[name], name, elements), 8 * turns)
        missed |= show(f"{name}, 1 thread, CPU time", "GB/s", [one[name] for one in mine], [one[name] for one in others], max)
    return missed


def by_cpu_time(kernel: Callable[[], object], name: str, elements: int) -> Side:
    def side() -> dict[str, list[float]]:
        begin = time.thread_time_ns()
        kernel()
        return {name: [BYTES[name] * elements / (time.thread_time_ns() - begin)]}

    return side


def elements_of_an_array() -> int:
    return max(CACHES * read_last_level_cache().size_bytes, SMALLEST_ARRAY) // 8


def bandwidth(program: Path, threads: int, turns: int, rounds: int) -> bool:
    elements = elements_of_an_array()

    def ours() -> dict[str, list[float]]:
        return _measure(threads, elements, Share(0), with_torch=False, least_rounds=rounds + 1)

    mine, others = in_turns(ours, lambda: said_by(str(program), "stream", str(elements), str(threads), str(rounds)), turns)
    what = "1 thread" if threads == 1 else f"{threads} threads"
    missed = False
    for name in BYTES:
        missed |= show(f"{name}, {what}", "GB/s", [one[name] for one in mine], [one[name] for one in others], max)
    return missed


def latency(program: Path, turns: int) -> bool:
    nodes = max(CACHES * read_last_level_cache().size_bytes, 2**26) // LINE
    mine, others = in_turns(
        lambda: {"chase": list(chase(nodes, Share(1)).steps_ns)}, lambda: said_by(str(program), "chase", str(nodes)), turns
    )
    return show("a load from memory", "ns", [turn["chase"] for turn in mine], [turn["chase"] for turn in others], min)


def products(turns: int) -> bool:
    blas, missed = read_blas(), False
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
        missed |= show(f"{letter}gemm of {size}", "GFLOP/s", [turn["rate"] for turn in mine], [turn["rate"] for turn in others], max)
    return missed


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=6, help="of one turn of the bandwidth comparison")
    arguments = parser.parse_args()
    print("load before:", Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "unknown")
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        found = compiled(Path(folder))
        if found is None:
            print("no C compiler is installed: bandwidth and latency cannot be compared with STREAM and a walk along pointers")
        else:
            program, library = found
            missed |= cpu_time(library, arguments.turns)
            for threads in sorted({1, usable_cores()}):
                missed |= bandwidth(program, threads, arguments.turns, arguments.rounds)
            missed |= latency(program, max(arguments.turns // 2, 6))
    missed |= products(arguments.turns)
    other_tools()
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
