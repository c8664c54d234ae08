"""Tests the comparison of a language model's speed with the memory of its device. The truth is computed here by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from shared.figures import Outcome
from shared.kinds.generation_figures import OF_SPEED
from tests.unit.worker.generators.test_outcome import record_of
from worker.generators.base import Reads
from worker.generators.outcome import outcome_of
from worker.generators.reads import reads_of
from worker.generators.roofline import Peak, compared, peak_of
from worker.hardware_tests.last import LastFigures

WEIGHTS = 200_000_000  # bytes
KV = 10_000  # bytes of one token


def judged(folder: Path, peak: Peak, **schedule: Any) -> tuple[Outcome, str]:
    records = [record_of(folder, weights_bytes=WEIGHTS, kv_bytes_per_token=KV, watched_s=0.0, **schedule) for _ in range(2)]
    return compared(outcome_of(records, [], ""), records, peak)


def test_decoding_reads_the_weights_and_the_whole_context_in_each_step(tmp_path: Path) -> None:
    """Three sequences of 100 tokens; four steps of 10, 20, 10 and 20 ms find 101 to 104 tokens of each in the context."""
    outcome, void = judged(tmp_path, Peak(gb_per_s=50.0, measured_at="then"))
    by_hand = sum(WEIGHTS + 3 * tokens * KV for tokens in (101, 102, 103, 104)) / 0.060 / 1e9
    figure = outcome.figure("bandwidth_percent")
    assert figure is not None
    assert figure.value == pytest.approx(100 * by_hand / 50.0, rel=1e-12)
    assert (len(figure.repeats), void) == (2, "")
    assert outcome.detail["bandwidth"]["state"] == "checked"
    assert outcome.detail["bandwidth"]["gb_per_s"]["the plain pass"] == pytest.approx(
        (5 * WEIGHTS + 3 * 410 * KV) / 0.102 / 1e9, rel=1e-12
    ), "the prompt reads the weights once"
    assert outcome.detail["bandwidth"]["gb_per_s"]["the prefill pass"] == pytest.approx(WEIGHTS / 0.042 / 1e9, rel=1e-12)


@pytest.mark.parametrize(("share", "is_void"), [(1.04, False), (1.06, True)])
def test_a_speed_above_105_percent_of_the_memory_is_void(tmp_path: Path, share: float, is_void: bool) -> None:
    """A runtime that returns before its device is done would write each token in no time."""
    fastest = max(judged(tmp_path, Peak(gb_per_s=1e9))[0].detail["bandwidth"]["gb_per_s"].values())
    outcome, void = judged(tmp_path, Peak(gb_per_s=fastest / share, measured_at="2026-11-30T08:00:00+00:00"))
    known = {one.name: one for one in outcome.figures}
    for name in ("tokens_per_s", "ttft_ms", "itl_ms", "latency_ms"):
        assert (known[name].value is None) == is_void, name
    assert (known["load_ms"].value or 0) > 0, "loading is not a matter of decoding"
    assert outcome.detail["bandwidth"]["state"] == ("void" if is_void else "checked")
    if is_void:
        assert all(known[name].value is None and not known[name].repeats for name in OF_SPEED)
        assert known["tokens_per_s"].missing == void
        assert void.startswith("void: decoding would have read ")
        assert "returned before the device had done its work" in void
        assert list(outcome.distributions) == ["load"]


@pytest.mark.parametrize(
    ("peak", "said"),
    [
        (Peak(unknown="nobody measured it"), "nobody measured it"),
        (Peak(gb_per_s=1.0, cache_bytes=60_000_000), r"200 MB\) are not 4 times as large as the caches of the device \(60 MB\)"),
    ],
)
@pytest.mark.long
def test_what_cannot_be_checked_says_so_and_keeps_its_figures(tmp_path: Path, peak: Peak, said: str) -> None:
    outcome, void = judged(tmp_path, peak)
    figure = outcome.figure("bandwidth_percent")
    assert figure is not None
    assert re.match(f"not checked: .*{said}", figure.missing)
    assert (figure.value, void, outcome.detail["bandwidth"]["state"]) == (None, "", "not checked")
    assert (outcome.figure("tokens_per_s") or figure).value is not None


def last(capability: str, value: float | None, device: str = "", **facts: Any) -> LastFigures:
    return LastFigures(capability, device, f"at {value}", {"peak_gb_per_s": {"value": value}}, {"bandwidth": facts})


def test_the_peak_is_that_of_the_capabilitys_own_device() -> None:
    known = [
        last("hardware.cpu", 40.0, last_level_cache_bytes=32),
        last("hardware.cuda", 2_000.0, "GPU-1", l2_cache_bytes=50),
        last("hardware.cuda", 3_000.0, "GPU-2", l2_cache_bytes=60),
    ]
    assert peak_of(known, "cpu.vllm") == Peak(40.0, 32, "at 40.0")
    assert peak_of(known, "gpu.cuda.torch") == Peak(3_000.0, 60, "at 3000.0")
    assert peak_of(known, "gpu.mps.torch").unknown == "no hardware test measures the memory of gpu.mps.torch"
    assert peak_of([last("hardware.cpu", None)], "cpu.torch").unknown.startswith("this worker has not measured the memory of its device")


LLAMA = {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 256}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, Reads(900, 2 * 2 * 4 * 32 * 2)),
        ({"head_dim": 16}, Reads(900, 2 * 2 * 4 * 16 * 2)),
        ({"layer_types": ["full_attention", "full_attention"]}, Reads(900, 2 * 2 * 4 * 32 * 2)),
        ({"layer_types": ["full_attention", "sliding_attention"]}, Reads(900, 0)),
        ({"sliding_window": 4_096}, Reads(900, 0)),
        ({"sliding_window": 4_096, "use_sliding_window": False}, Reads(900, 2 * 2 * 4 * 32 * 2)),
        ({"kv_lora_rank": 512}, Reads(900, 0)),
    ],
)
def test_keys_and_values_count_only_where_every_layer_reads_all_of_them(more: dict[str, Any], expected: Reads) -> None:
    assert reads_of(LLAMA | more, 1_000, 100, 2) == expected


def test_a_model_with_experts_reads_a_part_of_its_weights() -> None:
    assert "a few of the model's experts" in reads_of(LLAMA | {"num_local_experts": 8}, 1_000, 0, 2).unknown
