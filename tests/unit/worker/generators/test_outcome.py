"""Tests the figures of a language model against a schedule: each of them must be exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.figures import Outcome
from shared.kinds.generation_figures import FIGURES
from shared.series import TIMED_SPANS, Record
from worker.generators.fake import KnownClock
from worker.generators.outcome import outcome_of
from worker.kinds.generation import GenerationMeasure
from worker.measured.request import RunRequest

DECODING = {"temperature": 0.0, "top_k": None, "top_p": None, "attention": None}
GOLDEN = {"load_s": 0.25, "first_s": [0.040], "next_s": [0.010, 0.020], "after_s": 0.002, "watched_s": 0.001}


def record_of(folder: Path, tokens: int = 5, requests: int = 4, load_only: bool = False, **schedule: Any) -> Record:
    model = folder / "config.json"
    model.write_text(json.dumps({**GOLDEN, **schedule}))
    spec = {"prompts": {"input_tokens": 100, "output_tokens": tokens, "requests": requests}, "decoding": DECODING}
    request = RunRequest(
        "generation", "fake", {**spec, "options": {"batch_size": 3}}, "", {"model": str(model)}, warmup_max_s=1, load_only=load_only
    )
    return GenerationMeasure(KnownClock()).run(request, lambda _phase: None)


def values(outcome: Outcome) -> dict[str, float | None]:
    return {one.name: one.value for one in outcome.figures}


def test_every_figure_of_a_known_schedule_is_exact(tmp_path: Path) -> None:
    outcome = outcome_of([record_of(tmp_path) for _ in range(3)], [], "")
    found = values(outcome)
    assert list(found) == list(FIGURES)
    whole_call_s = 0.040 + 0.010 + 0.020 + 0.010 + 0.020 + 0.002
    expected = {
        "tokens_per_s": 3 * 5 / whole_call_s,
        "ttft_ms": 41,
        "itl_ms": 16,  # the median of 11, 21, 11, 21
        "tpot_ms": (11 + 21 + 11 + 21) / 4,
        "latency_ms": whole_call_s * 1e3,
        "decode_tokens_per_s": 3 * 4 / 0.064,
        "prefill_tokens_per_s": 3 * 100 / 0.042,
        "streaming_cost_percent": 100 * 0.005 / whole_call_s,
        "load_ms": 250,
        "cold_import_ms": 0,
        "cold_weights_ms": 250,
        "cold_first_token_ms": 41,
    }
    for name, known in expected.items():
        assert found[name] == pytest.approx(known, rel=1e-12), name
    assert outcome.headline == "tokens_per_s"
    assert outcome.detail["shape"] == {"batch_size": 3, "input_tokens": 100, "output_tokens": 5, "requests": 4}


def test_what_the_sample_is_too_small_for_is_null_with_the_reason(tmp_path: Path) -> None:
    outcome = outcome_of([record_of(tmp_path)], [], "")
    said = {one.name: one.missing for one in outcome.figures if one.value is None}
    assert said["ttft_p99_ms"] == "needs 662 samples, has 4"
    assert said["itl_p99_ms"] == "needs 662 samples, has 16"
    assert said["cold_tokenizer_ms"] == "there is no tokenizer beside this model"
    assert said["generation_peak_gpu_mb"] == "the job did not run on a GPU"


def test_percentiles_are_those_of_all_repeats_together(tmp_path: Path) -> None:
    slow = record_of(tmp_path, tokens=101, requests=10, next_s=[*[0.010] * 99, 0.500])
    outcome = outcome_of([slow, slow], [], "")
    itl = outcome.figure("itl_p99_ms")
    assert itl is not None
    assert itl.value == pytest.approx(11 + 490 * 0.01)
    assert (itl.n, itl.repeats) == (2_000, ())


def test_one_token_has_no_speed_after_the_first(tmp_path: Path) -> None:
    found = outcome_of([record_of(tmp_path, tokens=1)], [], "")
    for name in ("itl_ms", "itl_p99_ms", "tpot_ms", "decode_tokens_per_s"):
        figure = found.figure(name)
        assert figure is not None
        assert (figure.value, figure.missing) == (None, "a call that writes one token has no token after the first")
    assert values(found)["ttft_ms"] == 41
    assert "itl" not in found.distributions


def test_a_repeat_counts_as_one_value_and_further_loads_count_for_loading_alone(tmp_path: Path) -> None:
    records = [record_of(tmp_path, first_s=[seconds]) for seconds in (0.04, 0.05, 0.07)]
    load = record_of(tmp_path, load_only=True, load_s=1.0)
    outcome = outcome_of(records, [load], "it was enough")
    ttft, weights = outcome.figure("ttft_ms"), outcome.figure("cold_weights_ms")
    assert ttft is not None
    assert ttft.repeats == pytest.approx((41, 51, 71))
    assert ttft.value == pytest.approx(51)
    assert ttft.n == 12
    assert weights is not None
    assert weights.repeats == pytest.approx((250, 250, 250, 1000))
    assert outcome.distributions["load"].n == 4
    assert outcome.detail["stopped_because"] == "it was enough"


def test_a_result_whose_runtime_compiled_while_it_was_measured_is_not_steady(tmp_path: Path) -> None:
    warmups = 3 + 3  # whole calls, and those with one new token
    steady, compiled = (record_of(tmp_path, compiles_at=[0, warmups - 1, *more]) for more in ([], [warmups, warmups + 3]))
    assert outcome_of([steady, steady], [], "").detail["steadiness"] == "unknown", "8 calls are too few to say more"
    detail = outcome_of([steady, compiled], [], "").detail
    assert detail["steadiness"] == "not steady"
    assert detail["not_steady_because"].startswith("recompiled: ")
    assert "0, 2 times" in detail["not_steady_because"]


def test_enough_calls_say_whether_they_were_steady(tmp_path: Path) -> None:
    assert outcome_of([record_of(tmp_path, requests=60)] * 2, [], "").detail["steadiness"] == "steady"
    slower = [0.040 + 0.002 * call for call in range(250)]
    assert outcome_of([record_of(tmp_path, requests=60, first_s=slower)] * 2, [], "").detail["steadiness"] == "not steady"


def test_compiling_before_any_call_is_a_stage_of_the_cold_start(tmp_path: Path) -> None:
    assert values(outcome_of([record_of(tmp_path, compile_s=1.5)], [], ""))["cold_compile_ms"] == pytest.approx(1_500)


def test_the_blocks_of_plain_calls_are_told_for_the_energy(tmp_path: Path) -> None:
    spans = record_of(tmp_path, requests=7).facts[TIMED_SPANS]
    assert [units for _, _, units in spans] == [5, 2]
    assert [seconds for _, seconds, _ in spans] == pytest.approx([5 * 0.102, 2 * 0.102])
    streamed, prefill = 0.107, 0.042
    assert [begin for begin, _, _ in spans] == pytest.approx([5 * streamed, 5 * (streamed + 0.102 + prefill) + 2 * prefill])
