"""Tests the passes of a language model against a generator whose schedule is known, on a clock that only waiting moves."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelInvalid
from worker.generators.base import Settings
from worker.generators.fake import FakeGenerator, KnownClock
from worker.generators.passes import Passes, Shape, draw_prompts

MS = 1_000_000
SHAPE = Shape(batch_size=2, input_tokens=3, output_tokens=4, requests=7)


class Noting(FakeGenerator):
    """Notes each call: the batch, how many tokens, and whether somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, int, bool]] = []
        self.collecting: list[bool] = []

    def generate(self, batch: int, new_tokens: int, visible: Callable[[], None] | None = None) -> Sequence[int]:
        self.calls.append((batch, new_tokens, visible is not None))
        self.collecting.append(gc.isenabled())
        return super().generate(batch, new_tokens, visible)


def passes_of(folder: Path, shape: Shape = SHAPE, **schedule: Any) -> tuple[Passes, Noting]:
    model, clock, generator = folder / "config.json", KnownClock(), Noting()
    model.write_text(json.dumps({"first_s": [0.004], "next_s": [0.001, 0.002], **schedule}))
    generator.load(model, Settings(), "fake", clock)
    prompts = draw_prompts(shape, generator.vocabulary(), seed=1)
    generator.prepare(prompts)
    return Passes(generator, shape, len(prompts), clock), generator


def test_each_stamp_is_when_its_token_was_visible(tmp_path: Path) -> None:
    passes, _ = passes_of(tmp_path, after_s=0.0005, watched_s=0.0001)
    passes.measure()
    stamps = passes.stamps
    assert list(stamps.tokens) == [4_100_000, 5_200_000, 7_300_000, 8_400_000] * 7
    assert list(stamps.streamed) == [8_900_000] * 7
    assert list(stamps.plain) == [8_500_000] * 7, "nobody looks, so looking costs nothing"
    assert list(stamps.prefill) == [4_500_000] * 7
    assert stamps.wall_ns == sum(stamps.streamed) + sum(stamps.plain) + sum(stamps.prefill)


def test_blocks_of_the_three_passes_alternate_and_turn_round_each_time(tmp_path: Path) -> None:
    passes, generator = passes_of(tmp_path)
    passes.measure()
    kinds = ["streamed" if looked else "prefill" if tokens == 1 else "plain" for _, tokens, looked in generator.calls]
    assert kinds == ["streamed"] * 5 + ["plain"] * 5 + ["prefill"] * 5 + ["prefill"] * 2 + ["plain"] * 2 + ["streamed"] * 2
    assert [batch for batch, _, _ in generator.calls[:5]] == [0, 1, 2, 3, 4], "each call of a pass has a prompt of its own"
    assert [batch for batch, _, _ in generator.calls[-2:]] == [5, 6]


def test_the_garbage_collector_rests_while_it_is_measured_and_works_again_after_a_failure(tmp_path: Path) -> None:
    passes, generator = passes_of(tmp_path)
    passes.measure()
    assert not any(generator.collecting)
    failing, _ = passes_of(tmp_path, raises="no")
    with pytest.raises(ArithmeticError):
        failing.measure()
    assert gc.isenabled()


def test_there_are_three_whole_calls_of_each_shape_before_anything_is_measured(tmp_path: Path) -> None:
    passes, generator = passes_of(tmp_path, first_s=[0.040, 0.004])
    passes.warm_up(min_calls=0, min_s=0, max_s=0)
    assert [(tokens, looked) for _, tokens, looked in generator.calls] == [(4, True), (4, False), (4, True), *[(1, False)] * 3]
    assert passes.stamps.first_token == 40 * MS, "the first call of the process"
    assert [len(passes.stamps.warmup), len(passes.stamps.warmup_prefill), len(passes.stamps.tokens)] == [3, 3, 0]


@pytest.mark.parametrize(("min_calls", "min_s", "max_s", "made"), [(10, 0, 60, 10), (0, 0.1, 60, 13), (1000, 0, 0.05, 7)])
def test_warming_up_goes_on_as_long_as_it_was_asked_to(tmp_path: Path, min_calls: int, min_s: float, max_s: float, made: int) -> None:
    passes, _ = passes_of(tmp_path)  # a call takes 8 ms
    passes.warm_up(min_calls, min_s, max_s)
    assert len(passes.stamps.warmup) == made


def test_a_wrong_number_of_tokens_fails_the_job(tmp_path: Path) -> None:
    passes, _ = passes_of(tmp_path, loses=1)
    with pytest.raises(ModelInvalid, match=r"wrote 3, 3 tokens where exactly 4 were asked of 2 sequences"):
        passes.measure()


def test_tokens_that_nobody_saw_fail_the_job(tmp_path: Path) -> None:
    class Blind(Noting):
        def generate(self, batch: int, new_tokens: int, visible: Callable[[], None] | None = None) -> Sequence[int]:
            return super().generate(batch, new_tokens)

    generator, clock = Blind(), KnownClock()
    (tmp_path / "config.json").write_text("{}")
    generator.load(tmp_path / "config.json", Settings(), "fake", clock)
    generator.prepare([[[1, 2, 3], [4, 5, 6]]])
    with pytest.raises(ModelInvalid, match="showed 0 tokens of a call that wrote 4"):
        Passes(generator, SHAPE, 1, clock).measure()


def test_prompts_are_drawn_by_their_seed_from_the_whole_vocabulary() -> None:
    prompts = draw_prompts(SHAPE, 50, seed=1)
    assert [len(prompts), len(prompts[0]), len(prompts[0][0])] == [7, 2, 3]
    assert draw_prompts(SHAPE, 50, seed=1) == prompts
    assert draw_prompts(SHAPE, 50, seed=2) != prompts
    assert len({tuple(one) for batch in prompts for one in batch}) == 14, "no prompt is there twice"
    drawn = {token for batch in draw_prompts(Shape(8, 200, 1, 1), 10, seed=3) for one in batch for token in one}
    assert drawn == set(range(10))


def test_very_long_prompts_are_used_more_than_once() -> None:
    assert len(draw_prompts(Shape(1, 1_500_000, 1, 9), 50, seed=1)) == 2
