"""Compares our plain pass of a language model with a bare loop over `model.generate`, in turns, in one process.

    .venv-llm/bin/python -m benchmarks.generation [--turns 100] [--calls 1] [--threads 1] [--model FOLDER]

Both sides have a model of their own, read from the same files, the same prompts and the same number of new tokens. The bare loop is what
somebody writes who knows transformers: no code of ours is in it. What other programs do can only make a turn slower, so the median of the
turns' ratios is compared, and the ratio of the best turns stands beside it. Without `--model`, a tiny Llama is made on the spot.

Then a streamer that keeps its own times stands before ours: each of our stamps must be within 0.2 ms of the time at which transformers
gave the token to the streamer.

It needs transformers, so `make bench` leaves it out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from tests.streamer_times import streamer_times
from tools.tiny_llama import make
from worker.generators.base import Settings
from worker.generators.passes import Passes, Shape, draw_prompts
from worker.generators.registry import resolve

LOW, HIGH = 0.99, 1.01
MOST_DELAY_MS = 0.2
SHAPE = Shape(batch_size=1, input_tokens=128, output_tokens=32, requests=1)


def bare_loop(folder: Path, prompts: list[Any], tokens: int) -> Callable[[], float]:
    """Return a function that calls the model with each prompt once, and returns the nanoseconds."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    inputs = [torch.tensor(batch) for batch in prompts]
    masks = [torch.ones_like(ids) for ids in inputs]
    model.generation_config.eos_token_id = None

    def turn() -> float:
        begin = perf_counter_ns()
        with torch.no_grad():
            for ids, mask in zip(inputs, masks, strict=True):
                model.generate(ids, attention_mask=mask, min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
        return float(perf_counter_ns() - begin)

    return turn


def delays_of_stamps(generator: Any, shape: Shape, calls: int) -> list[float]:
    """Return by how many milliseconds each stamp is later than the time at which transformers gave the token to its streamer."""
    delays: list[float] = []
    with streamer_times(generator) as theirs:
        for _ in range(calls):
            theirs.clear()
            ours: list[int] = []
            generator.generate(0, shape.output_tokens, lambda: ours.append(perf_counter_ns()))  # noqa: B023 - called before the next round
            delays += [(our - their) / 1e6 for our, their in zip(ours, theirs[1:], strict=True)]  # the prompt comes first
    return delays


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--calls", type=int, default=SHAPE.requests)
    parser.add_argument("--threads", type=int, help="threads of both sides; fewer are disturbed less on a busy machine")
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetmark-generation-") as made:
        folder = arguments.model or make(Path(made) / "tiny-llama")
        shape = Shape(SHAPE.batch_size, SHAPE.input_tokens, SHAPE.output_tokens, arguments.calls)
        generator = resolve("cpu.torch")()
        generator.load(folder / "config.json", Settings(threads=arguments.threads), "cpu.torch", perf_counter_ns)
        prompts = draw_prompts(shape, generator.vocabulary(), seed=1)
        generator.prepare(prompts)
        theirs_of_turn = bare_loop(folder, prompts, shape.output_tokens)

        def ours_of_turn() -> float:
            passes = Passes(generator, shape, len(prompts), perf_counter_ns)
            passes.plain_block(range(shape.requests))
            return float(sum(passes.stamps.plain))

        for side in (ours_of_turn, theirs_of_turn):
            side()  # the first calls of each side are slower
        ours: list[float] = []
        theirs: list[float] = []
        for turn in range(arguments.turns):
            for side, taken in ((ours_of_turn, ours), (theirs_of_turn, theirs))[:: 1 if turn % 2 == 0 else -1]:
                taken.append(side())
        delays = sorted(delays_of_stamps(generator, shape, 10))
    tokens = shape.requests * shape.batch_size * shape.output_tokens
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    middle = median(ratios)
    print(
        f"tokens per second: ours {tokens / min(ours) * 1e9:.1f}, a bare loop {tokens / min(theirs) * 1e9:.1f} (best of {arguments.turns} "
        f"turns, ratio {min(theirs) / min(ours):.4f}); median of the turns' ratios {middle:.4f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    print(
        f"{len(delays)} stamps of the streamed pass are {median(delays):.4f} ms later than the streamer's own times (median; "
        f"99 % within {delays[len(delays) * 99 // 100]:.4f} ms, all within {delays[-1]:.4f} ms)"
    )
    within, prompt = LOW <= middle <= HIGH, median(delays) <= MOST_DELAY_MS
    print(
        f"target {LOW} to {HIGH}: {'reached' if within else 'NOT reached'}; stamps within {MOST_DELAY_MS} ms: {'yes' if prompt else 'NO'}"
    )
    return 0 if within and prompt else 1


if __name__ == "__main__":
    sys.exit(main())
