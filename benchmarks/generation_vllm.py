"""Compares our plain pass on vLLM with `vllm bench latency`, in turns.

    .venv-vllm/bin/python -m benchmarks.generation_vllm [--rounds 3] [--calls 30] [--batch 2] [--processes] [--model FOLDER]

Each round runs two fresh processes, one after the other, and the next round turns their order round: vLLM's own benchmark, which loads
the model and calls `LLM.generate`, and our generator with our passes. Both have the same lengths of prompts and answers, batch, type of
weights, seed and number of threads, and write no text. Both have the engine in their process. With `--processes`, vLLM's benchmark has
vLLM's default: an engine in a process of its own. What other programs do can only make a call slower, so the median and the best calls of
all rounds are compared.

It needs vLLM, so `make bench` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter_ns

from tools.tiny_llama import make
from worker.generators.base import Settings
from worker.generators.passes import Passes, Shape, draw_prompts
from worker.generators.registry import resolve

LOW, HIGH = 0.97, 1.03
READ, WRITTEN, WARMUPS, LONGEST, SHARE = 128, 32, 5, 512, 0.1
ONCE = "--once"


def ours(folder: Path, calls: int, batch: int) -> list[float]:
    """Return the seconds of each call of our plain pass."""
    generator = resolve("cpu.vllm")()
    settings = Settings(
        batch_size=batch, compile="none", dtype="bfloat16", max_model_len=LONGEST, gpu_memory_utilization=SHARE, temperature=1.0
    )
    generator.load(folder / "config.json", settings, "cpu.vllm", perf_counter_ns)
    shape = Shape(batch, READ, WRITTEN, calls)
    prompts = draw_prompts(shape, generator.vocabulary(), seed=1)
    generator.prepare(prompts)
    passes = Passes(generator, shape, len(prompts), perf_counter_ns)
    passes.plain_block(range(WARMUPS))
    del passes.stamps.plain[:]
    passes.plain_block(range(calls))
    return [one / 1e9 for one in passes.stamps.plain]


def of_our_process(folder: Path, calls: int, batch: int, environment: dict[str, str]) -> list[float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.generation_vllm",
        ONCE,
        "--model",
        str(folder),
        "--calls",
        str(calls),
        "--batch",
        str(batch),
    ]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def of_vllm(folder: Path, calls: int, batch: int, environment: dict[str, str], into: Path) -> list[float]:
    """Return the seconds of each call of `vllm bench latency`."""
    options = {
        "model": folder,
        "input-len": READ,
        "output-len": WRITTEN,
        "batch-size": batch,
        "num-iters-warmup": WARMUPS,
        "num-iters": calls,
        "dtype": "bfloat16",
        "max-model-len": LONGEST,
        "gpu-memory-utilization": SHARE,
        "max-num-seqs": batch,
        "output-json": into,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [str(Path(sys.executable).with_name("vllm")), "bench", "latency", *flags, "--enforce-eager", "--disable-detokenize"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"vllm bench latency failed:\n{done.stderr[-2000:]}")
    found: list[float] = json.loads(into.read_text())["latencies"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="threads of both sides; fewer are disturbed less on a busy machine")
    parser.add_argument(
        "--processes", action="store_true", help="vLLM's benchmark has its engine in a process of its own, as vLLM does by default"
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument(ONCE, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    calls, batch = arguments.calls, arguments.batch
    if arguments.once:
        print(json.dumps(ours(arguments.model, calls, batch)))
        return 0
    common = os.environ | {
        "OMP_NUM_THREADS": str(arguments.threads),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    theirs_have = common | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1" if arguments.processes else "0"}
    found: dict[str, list[float]] = {"ours": [], "vllm bench latency": []}
    with tempfile.TemporaryDirectory(prefix="fleetmark-vllm-") as made:
        # The prompts of vLLM's benchmark have token ids up to 9 999.
        folder = arguments.model or make(Path(made) / "tiny-llama", vocab_size=10_000)
        for index in range(arguments.rounds):
            for side in list(found)[:: 1 if index % 2 == 0 else -1]:
                if side == "ours":
                    taken = of_our_process(folder, calls, batch, common)
                else:
                    taken = of_vllm(folder, calls, batch, theirs_have, Path(made) / "latency.json")
                print(
                    f"round {index + 1}: {side}: median {1e3 * median(taken):.2f} ms, best {1e3 * min(taken):.2f} ms of {len(taken)}",
                    flush=True,
                )
                found[side] += taken
    mine, other = found.values()
    ratio, best = median(other) / median(mine), min(other) / min(mine)
    tokens = batch * WRITTEN
    print(
        f"tokens per second by the medians: ours {tokens / median(mine):.1f}, vllm bench latency {tokens / median(other):.1f}; "
        f"ratio {ratio:.4f}, of the best calls {best:.4f}"
    )
    within = LOW <= ratio <= HIGH
    print(f"target {LOW} to {HIGH}: {'reached' if within else 'NOT reached'}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
