"""Measures a real `vllm serve` with a tiny language model, by OpenAI's protocol."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.serving import measure, plausible, running, value
from tools.tiny_llama import make
from worker.services.vllm import VllmService


@pytest.mark.timeout(900)  # vLLM takes minutes to start on a busy machine
def test_a_stream_of_vllm_has_every_figure_and_exactly_the_tokens_that_were_asked_for(tmp_path: Path) -> None:
    model = make(tmp_path / "tiny-llama", num_hidden_layers=2)
    port, program = free_port(), str(Path(sys.executable).with_name("vllm"))
    options = ["--max-model-len", "512", "--max-num-seqs", "8", "--dtype", "bfloat16", "--enforce-eager"]
    with running([program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), *options], port, "/health") as address:
        before = VllmService().metrics({}, port)
        outcome = measure(address, tmp_path, concurrent=2, endpoint="completions", input_tokens=16, ignore_eos=True)
        after = VllmService().metrics({}, port)
    plausible(outcome)
    assert value(outcome, "output_tokens") == 16
    wrote = after["vllm:generation_tokens_total"] - before["vllm:generation_tokens_total"]
    assert wrote >= outcome.detail["tokens"]["output_tokens"] == 10 * 16
    assert after["vllm:prefix_cache_hits_total"] == before["vllm:prefix_cache_hits_total"]
