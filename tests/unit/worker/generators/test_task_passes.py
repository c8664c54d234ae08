"""Tests the passes of a task and their figures with a clock that is known, so that every figure is exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelInvalid
from shared.figures import Outcome
from shared.kinds.generation import GenerationSpec
from shared.kinds.generation_task import TaskSection, task_spec
from shared.series import Record
from worker.generators.base import Ending, Written
from worker.generators.fake import FakeGenerator, KnownClock
from worker.generators.task_passes import TaskPasses
from worker.kinds.base import Repeat
from worker.kinds.generation import GenerationMeasure
from worker.measured.request import RunRequest

ANSWERS = ["abc", "abcde", "", "a", "abcdefg", "ab"]  # 4, 6, 1, 2, 8 and 3 tokens, with the one that ends each
TOKENS = 24


def measured(folder: Path, repeat: int = 0, **schedule: Any) -> Record:
    model = folder / "config.json"
    known = {"load_s": 0.5, "first_s": [0.02], "next_s": [0.001], "watched_s": 0.001, "after_s": 0.004, "answers": ANSWERS}
    model.write_text(json.dumps(known | schedule))
    spec = GenerationSpec(
        task=task_spec(TaskSection(name="json_arithmetic", documents=6), dataset=None, prompt=None, max_tokens=20, evaluate=())
    )
    request = RunRequest("generation", "fake", spec.model_dump(mode="json"), str(folder / "record"), {"model": str(model)}, repeat=repeat)
    return GenerationMeasure(KnownClock()).run(request, lambda _phase: None)


def derived(*records: Record) -> Outcome:
    outcome = GenerationMeasure().derive(None, [Repeat(one, 0.0) for one in records], [], "").outcome  # type: ignore[arg-type]
    assert outcome is not None
    return outcome


def test_every_figure_of_a_known_schedule_is_exact(tmp_path: Path) -> None:
    outcome = derived(measured(tmp_path))
    found = {one.name: one.value for one in outcome.figures}
    plain_s = 6 * (0.02 + 0.004) + (TOKENS - 6) * 0.001
    assert found["tokens_per_s"] == pytest.approx(TOKENS / plain_s)
    assert found["ttft_ms"] == pytest.approx(21)
    assert found["itl_ms"] == pytest.approx(2)
    assert found["tpot_ms"] == pytest.approx(2)
    assert found["decode_tokens_per_s"] == pytest.approx(500)
    assert found["latency_ms"] == pytest.approx((26 + 27) / 2), "of 3 and 4 tokens, without looking"
    assert found["prefill_tokens_per_s"] is None
    assert outcome.distributions["itl"].n == TOKENS - 6, "no time from the end of one call to the beginning of the next"
    assert outcome.distributions["tpot"].n == 5, "a call of one token has none"
    assert outcome.detail["shape"] == {"batch_size": 1, "input_tokens": outcome.detail["input_tokens"]["median"], "output_tokens": 4}


def test_answers_of_one_token_have_no_speed_after_the_first(tmp_path: Path) -> None:
    outcome = derived(measured(tmp_path, answers=[""]))
    assert {one.name for one in outcome.figures if one.missing == "a call that writes one token has no token after the first"} == {
        *("itl_ms", "itl_p99_ms", "tpot_ms", "decode_tokens_per_s"),
    }


def test_repeats_that_wrote_something_else_are_counted(tmp_path: Path) -> None:
    first, second = measured(tmp_path), measured(tmp_path, repeat=1, answers=["abc", "abcdE", *ANSWERS[2:]])
    assert derived(first, second).detail["differing_documents"] == 1
    assert "outputs" not in second.facts, "the answers of the first repeat are those that are kept"


def test_a_stop_rule_looks_at_the_tokens_per_second_of_the_plain_pass(tmp_path: Path) -> None:
    record = measured(tmp_path)
    assert GenerationMeasure().stop_value(record) == pytest.approx(derived(record).figures[0].value)


@pytest.mark.parametrize(
    ("ids", "shown", "said"), [([], 0, "wrote 0 tokens where 1 to 5"), ([1] * 6, 6, "wrote 6"), ([1, 2], 1, "showed 1")]
)
def test_a_runtime_that_miscounts_fails_the_job(ids: list[int], shown: int, said: str) -> None:
    class Miscounting(FakeGenerator):
        def write(self, batch: int, ending: Ending, visible: Any = None) -> Written:
            for _ in range(shown if visible is not None else 0):
                visible()
            return Written(ids, "stop")

    with pytest.raises(ModelInvalid, match=said):
        TaskPasses(Miscounting(), Ending(5), 1, KnownClock()).warm_up(1, 0, 1)
