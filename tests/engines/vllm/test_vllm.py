"""Tests the real vLLM, its build for the CPU, in the measured process. The truth comes from transformers and from vLLM's own times."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import psutil
import pytest
import torch
import transformers

from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.kinds.generation import GenerationSpec, PromptsSection
from shared.protocol.messages import Assignment
from shared.repetition import Warmup
from shared.workloads import Workload
from tests.engines.vllm.conftest import OPTIONS
from tests.measuring import CAMPAIGN, Stages, supervisor
from worker.generators.vllm_presence import why_not
from worker.generators.weights import weights_of
from worker.hardware import detect

PROMPT = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]]


class Recorded:
    """Stands between a generator and its engine, and keeps the tokens that the engine handed out."""

    def __init__(self, generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens: dict[str, list[int]] = {}
        step = generator._engine.step

        def recording() -> Any:
            outputs = step()
            for output in outputs:
                self.tokens.setdefault(output.request_id, []).extend(output.outputs[0].token_ids)
            return outputs

        monkeypatch.setattr(generator._engine, "step", recording)


def by_hand(folder: Path, tokens: int) -> list[list[int]]:
    """Return the likeliest tokens after each prompt, by transformers: one whole forward pass for each, without a cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor(PROMPT)
    with torch.no_grad():
        for _ in range(tokens):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    written: list[list[int]] = ids[:, len(PROMPT[0]) :].tolist()
    return written


def test_it_writes_what_transformers_finds_likeliest_in_both_passes(generator: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator.prepare([PROMPT])
    for visible in (None, lambda: None):
        with monkeypatch.context() as patched:
            recorded = Recorded(generator, patched)
            assert generator.generate(0, 7, visible) == [7, 7]
            assert list(recorded.tokens.values()) == by_hand(tiny, 7)


def test_stamps_agree_with_the_times_that_vllm_takes_itself(generator: Any) -> None:
    generator.prepare([PROMPT])
    differences = []
    for _ in range(9):
        seen: list[int] = []
        generator.generate(0, 12, lambda: seen.append(perf_counter_ns()))  # noqa: B023 - it is called before the next round
        ours_ms = (seen[-1] - seen[0]) / 1e6
        differences.append(abs(ours_ms - generator.facts().runtime["own_times_ms"]["first_to_last_token"]))
    assert median(differences) < 2, "vLLM stamps a token when its core hands it out, and we when the caller has it"


def test_the_engine_is_in_this_process_and_starts_no_other(generator: Any) -> None:
    generator.prepare([PROMPT])
    generator.generate(0, 2)
    assert generator._config.parallel_config.distributed_executor_backend == "uni"
    assert [one for one in psutil.Process(os.getpid()).children(recursive=True) if "vllm" in " ".join(one.cmdline()).lower()] == []


def test_the_same_prompt_again_meets_no_warm_cache(generator: Any) -> None:
    generator.prepare([PROMPT] * 3)
    for batch in range(3):
        generator.generate(batch, 2)  # it fails if a prompt was taken from a cache
    facts = generator.facts().runtime
    assert (facts["prefix_caching"], facts["dtype"], facts["threads"]["intra_op"], facts["longest"]) == (False, "float32", 1, 256)


def test_weights_are_counted_as_transformers_counts_them(generator: Any, tiny: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    assert weights_of(tiny, 4).count == sum(one.numel() for one in model.parameters())
    config, reads = model.config, generator.reads()
    assert reads.weights_bytes == 4 * (weights_of(tiny, 4).count - config.vocab_size * config.hidden_size)
    assert reads.kv_bytes_per_token == 2 * 2 * config.num_key_value_heads * config.head_dim * 4


def test_a_worker_offers_it_on_the_cpu_alone() -> None:
    hardware = detect()
    assert why_not("cpu.vllm", hardware) == ""
    assert "computes on cpu here, and gpu.cuda.vllm needs cuda" in why_not("gpu.cuda.vllm", hardware)


def test_a_whole_job_runs_in_processes_of_its_own(tiny: Path, tmp_path: Path) -> None:
    spec = GenerationSpec(prompts=PromptsSection(input_tokens=16, output_tokens=4, requests=3), options=EngineOptions(**OPTIONS))  # type: ignore[arg-type]
    model = ModelRef(source=tiny.as_uri(), name="tiny-llama")
    workload = Workload(spec=spec, inputs={"model": model}, repeats=1, warmup=Warmup(min_calls=1, min_s=0))
    assignment = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="cpu.vllm", workload=workload)
    with supervisor(tmp_path) as measurer:
        outcome = measurer.run(assignment, Stages())
    assert (outcome.status, outcome.error) == ("complete", "")
    assert outcome.figures is not None
    figures = {one.name: one for one in outcome.figures.figures}
    for name in ("tokens_per_s", "ttft_ms", "cold_import_ms", "cold_weights_ms", "cold_compile_ms", "generation_peak_mb"):
        assert (figures[name].value or 0) > 0, name
    assert figures["bandwidth_percent"].missing.startswith("not checked: this worker has not measured the memory")
    assert outcome.runtime["runtime"] == "vllm"
    assert json.loads(json.dumps(outcome.runtime))["executor"] == "uni"


def test_prompts_that_are_longer_than_the_room_that_the_recipe_asked_for_are_refused(tiny: Path, tmp_path: Path) -> None:
    spec = GenerationSpec(prompts=PromptsSection(input_tokens=300, output_tokens=4), options=EngineOptions(**OPTIONS))  # type: ignore[arg-type]
    workload = Workload(spec=spec, inputs={"model": ModelRef(source=tiny.as_uri(), name="tiny-llama")}, repeats=1)
    assignment = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="cpu.vllm", workload=workload)
    with supervisor(tmp_path) as measurer:
        outcome = measurer.run(assignment, Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "model_invalid")
    assert "this model takes 256: ask for fewer" in outcome.error
