"""Compares our plain pass on vLLM with what `vllm bench latency` does, in turns, in one process.

    .venv-vllm/bin/python -m benchmarks.generation_vllm [--turns 40] [--batch 2] [--threads 1] [--model FOLDER]
    .venv-vllm/bin/python -m benchmarks.generation_vllm --command     vLLM's command itself before and after, in processes of its own

Both sides have an engine of their own in this process, with the same options, lengths, batch, type of weights and threads, and write no
text. The other side is vLLM's `LLM` with the call that `vllm bench latency` times. What other programs do can only make a turn slower, so
the median of the turns' ratios is compared. The CPU time of a call depends less on other programs, and stands beside it.

It needs vLLM, so `make bench` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter, perf_counter_ns, process_time
from typing import Any

from tools.tiny_llama import make
from worker.generators.base import Settings
from worker.generators.passes import Passes, Shape, draw_prompts
from worker.generators.registry import GENERATORS, resolve

LOW, HIGH = 0.97, 1.03
READ, WRITTEN, LONGEST, SHARE = 128, 32, 512, 0.1
Turn = Callable[[], object]


def ours(folder: Path, batch: int, threads: int) -> Turn:
    """Return a function that makes one call of our plain pass."""
    generator = resolve("cpu.vllm")()
    settings = Settings(
        batch_size=batch,
        compile="none",
        dtype="bfloat16",
        max_model_len=LONGEST,
        gpu_memory_utilization=SHARE,
        temperature=1.0,
        threads=threads,
    )
    generator.load(folder / "config.json", settings, "cpu.vllm", perf_counter_ns)
    shape = Shape(batch, READ, WRITTEN, 1)
    prompts = draw_prompts(shape, generator.vocabulary(), seed=1)
    generator.prepare(prompts)
    passes = Passes(generator, shape, len(prompts), perf_counter_ns)
    return lambda: passes.plain_block(range(1))


def of_vllm(folder: Path, batch: int) -> Turn:
    """Return a function that makes the call that `vllm bench latency` times."""
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    llm: Any = LLM(
        model=str(folder),
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=LONGEST,
        gpu_memory_utilization=3 * SHARE,  # of a process that holds our engine already
        max_num_seqs=batch,
        enable_prefix_caching=False,
        disable_log_stats=False,
    )
    sampling = SamplingParams(n=1, temperature=1.0, top_p=1.0, ignore_eos=True, max_tokens=WRITTEN, detokenize=False)
    draw = Random(2)
    prompts = [TokensPrompt(prompt_token_ids=draw.choices(range(2_000), k=READ)) for _ in range(batch)]
    return lambda: llm.generate(prompts, sampling_params=sampling, use_tqdm=False)


def of_command(folder: Path, batch: int, threads: int, calls: int, into: Path) -> list[float]:
    """Return the seconds of each call of `vllm bench latency`, with its engine in its process, as ours."""
    options = {
        "model": folder,
        "input-len": READ,
        "output-len": WRITTEN,
        "batch-size": batch,
        "num-iters-warmup": 3,
        "num-iters": calls,
        "dtype": "bfloat16",
        "max-model-len": LONGEST,
        "gpu-memory-utilization": SHARE,
        "max-num-seqs": batch,
        "output-json": into,
    }
    command = [str(Path(sys.executable).with_name("vllm")), "bench", "latency", *(f"--{name}={value}" for name, value in options.items())]
    environment = os.environ | dict(GENERATORS["cpu.vllm"].environment) | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "--enforce-eager", "--disable-detokenize"], env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"vllm bench latency failed:\n{done.stderr[-2000:]}")
    found: list[float] = json.loads(into.read_text())["latencies"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="threads of both sides; fewer are disturbed less on a busy machine")
    parser.add_argument("--command", action="store_true", help="run vLLM's command, too, once before and once after the turns")
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    batch, threads, turns = arguments.batch, arguments.threads, arguments.turns
    os.environ.update({"HF_HUB_OFFLINE": "1", **GENERATORS["cpu.vllm"].environment})
    with tempfile.TemporaryDirectory(prefix="fleetmark-vllm-") as made:
        folder = arguments.model or make(Path(made) / "tiny-llama", vocab_size=10_000)  # the prompts of the command have ids up to 9 999

        def run_command() -> list[float]:
            return of_command(folder, batch, threads, turns, Path(made) / "latency.json") if arguments.command else []

        by_command = run_command()
        sides = (ours(folder, batch, threads), of_vllm(folder, batch))
        walls: tuple[list[float], list[float]] = ([], [])
        cpus: tuple[list[float], list[float]] = ([], [])
        for turn in range(-3, turns):  # the first ones are warm-ups
            for index in (0, 1)[:: 1 if turn % 2 == 0 else -1]:
                wall, cpu = perf_counter(), process_time()
                sides[index]()
                if turn >= 0:
                    walls[index].append(perf_counter() - wall)
                    cpus[index].append(process_time() - cpu)
        by_command += run_command()
    ratios = [theirs / mine for mine, theirs in zip(*walls, strict=True)]
    middle, tokens = median(ratios), batch * WRITTEN
    print(
        f"tokens per second: ours {tokens / min(walls[0]):.1f}, LLM.generate {tokens / min(walls[1]):.1f} (best of {turns} turns, ratio "
        f"{min(walls[1]) / min(walls[0]):.4f}); median of the turns' ratios {middle:.4f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    mine, theirs = (1e3 * median(one) for one in cpus)
    print(f"CPU time of a call: ours {mine:.1f} ms, LLM.generate {theirs:.1f} ms, ratio {theirs / mine:.4f}")
    if by_command:
        ms = [1e3 * one for one in (median(walls[0]), min(walls[0]), median(by_command), min(by_command))]
        print(f"a call: ours {ms[0]:.1f} ms (best {ms[1]:.1f}), vllm bench latency {ms[2]:.1f} ms (best {ms[3]:.1f}), not in turns")
    within = LOW <= middle <= HIGH
    print(f"target {LOW} to {HIGH}: {'reached' if within else 'NOT reached'}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
